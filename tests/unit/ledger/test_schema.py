"""Upgrades: a backup first, each script one transaction, once, and never half."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.cli import run
from mahavishnu_sched_mcp.errors import InternalError, LedgerCorruptError
from mahavishnu_sched_mcp.ledger import Ledger, schema
from mahavishnu_sched_mcp.ledger.backup import vouch_for
from mahavishnu_sched_mcp.ledger.database import connect, query, scalar
from mahavishnu_sched_mcp.ledger.schema import migrate, require_schema
from tests.factories import a_settings, an_app, an_interval

NEXT = """
create table extra (a integer primary key, b text not null);
insert into extra (b) select job_id from job;
alter table job add column colour text not null default 'red';
create index job_colour on job (colour);
"""

MIGRATING = """
import os, signal, sys
from pathlib import Path
from mahavishnu_sched_mcp.ledger import schema
from mahavishnu_sched_mcp.ledger.archive import Archive
from mahavishnu_sched_mcp.ledger.database import connect

path, script, deadly = Path(sys.argv[1]), Path(sys.argv[2]).read_text(), int(sys.argv[3])
made = schema.scripts()
schema.scripts = lambda: [*made, script]
connection = connect(path)
seen = 0

def count(cursor, sql, values):
    global seen
    seen += 1
    if seen == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return True

connection.exec_trace = count
version = schema.migrate(connection, before=Archive(path).keep_before_migration)
print(version, seen)
"""


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let this program be one that knows one more script; gives its number."""
    scripts = list(schema.scripts())
    monkeypatch.setattr(schema, "scripts", lambda: [*scripts, NEXT])
    return len(scripts) + 1


async def a_data_dir(path: Path) -> None:
    """Make a ledger with two jobs."""
    async with an_app(path) as app:
        for name in "ab":
            await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id=name)


def migrated(path: Path, script: Path, *, deadly: int = 0) -> subprocess.CompletedProcess[str]:
    """Migrate in a process of its own, which kills itself at its n-th statement."""
    words = [sys.executable, "-c", MIGRATING, str(path), str(script), str(deadly)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


async def test_a_migration_keeps_a_backup_and_the_jobs(tmp_path: Path, next_version: int) -> None:
    """The backup has the old schema, the ledger the new one, and both have every job."""
    older = schema.scripts()[:-1]
    with pytest.MonkeyPatch.context() as before:
        before.setattr(schema, "scripts", lambda: older)
        await a_data_dir(tmp_path)

    async with an_app(tmp_path) as app:
        jobs = (await app.scheduler.list_jobs()).rows

    backup = vouch_for(tmp_path / "backups" / f"ledger-before-schema-{next_version}.db")
    assert [job.job_id for job in jobs] == ["apscheduler:a", "apscheduler:b"]
    assert (backup.schema, backup.jobs) == (len(older), 2)
    connection = connect(tmp_path / "ledger.db", read_only=True)
    require_schema(connection)
    assert scalar(connection, "pragma user_version") == next_version
    assert scalar(connection, "select count(*) from extra") == 2
    connection.close()


async def test_a_ledger_that_is_up_to_date_gets_no_backup(tmp_path: Path) -> None:
    """Nothing is copied at an ordinary start."""
    await a_data_dir(tmp_path)
    async with an_app(tmp_path):
        pass

    assert not (tmp_path / "backups").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_kill_during_a_migration_leaves_the_old_schema_or_the_new(tmp_path: Path) -> None:
    """SIGKILL at each statement: all of the script or nothing, and the next start does it."""
    await a_data_dir(tmp_path / "data")
    script = tmp_path / "next.sql"
    script.write_text(NEXT)
    old = len(schema.scripts())
    statements = 0
    while True:
        statements += 1
        data = tmp_path / f"case-{statements}"
        subprocess.run(["cp", "-a", str(tmp_path / "data"), str(data)], check=True)  # noqa: ASYNC221 - nothing else goes on
        killed = migrated(data / "ledger.db", script, deadly=statements)
        if killed.returncode == 0:
            break
        found = state_of(data / "ledger.db")
        mended = migrated(data / "ledger.db", script)

        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert found in {(old, 2, False), (old + 1, 2, True)}
        assert mended.stdout.startswith(str(old + 1)), mended.stderr
        assert state_of(data / "ledger.db") == (old + 1, 2, True)

    assert statements > 8


def state_of(path: Path) -> tuple[int, int, bool]:
    """Give the version, the number of jobs, and whether the script's parts are there, all or none.

    Raises:
        AssertionError: some are there and some are not.
    """
    connection = connect(path)
    version = int(scalar(connection, "pragma user_version"))
    jobs = int(scalar(connection, "select count(*) from job"))
    parts = int(
        scalar(
            connection,
            """select (select count(*) from sqlite_schema where name in ('extra', 'job_colour'))
                    + (select count(*) from pragma_table_info('job') where name = 'colour')""",
        )
    )
    rows = query(connection, "select count(*) as n from extra")[0]["n"] if parts else 2
    connection.close()
    assert parts in {0, 3}
    assert rows == 2
    return version, jobs, parts == 3


@pytest.mark.slow
async def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    """The others wait, and find it done."""
    await a_data_dir(tmp_path)
    script = tmp_path / "next.sql"
    script.write_text(NEXT)
    words = [sys.executable, "-c", MIGRATING, str(tmp_path / "ledger.db"), str(script), "0"]

    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else goes on
        for _ in range(4)
    ]
    said = [process.communicate(timeout=25) for process in started]

    assert [process.returncode for process in started] == [0] * 4, said
    assert state_of(tmp_path / "ledger.db") == (len(schema.scripts()) + 1, 2, True)


async def test_without_a_backup_there_is_no_migration(tmp_path: Path, next_version: int) -> None:
    """Where the copy cannot be made, the ledger stays as it was."""
    connection = connect(tmp_path / "ledger.db")
    connection.execute(schema.scripts()[0])
    connection.execute("pragma user_version = 1")
    connection.close()
    (tmp_path / "backups").write_text("in the way")

    with pytest.raises(InternalError, match="folder 'backups'"):
        await Ledger(tmp_path / "ledger.db").open()

    connection = connect(tmp_path / "ledger.db", read_only=True)
    assert scalar(connection, "pragma user_version") == 1 < next_version
    connection.close()


@pytest.mark.parametrize("command", ["jobs", "status", "doctor", "backup", "restore"])
def test_an_older_program_refuses_a_newer_ledger(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command names both schemas, exits with 1 and leaves the file as it is."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    asyncio.run(a_data_dir(data))
    newest = len(schema.scripts())
    with apsw.Connection(str(data / "ledger.db")) as connection:
        connection.execute(f"pragma user_version = {newest + 1}")
    connection.close()
    (data / "ledger.mark").unlink()  # written by the newer program, whatever it holds
    if command == "restore":
        copy.write_bytes((data / "ledger.db").read_bytes())
    before = (data / "ledger.db").read_bytes()
    words = [str(copy)] if command in {"backup", "restore"} else ["--json"]

    code = run([command, *words, "--data-dir", str(data)])

    said = "".join(capsys.readouterr())
    assert code == 1
    assert f"schema {newest + 1}, this version knows {newest}" in said
    assert (data / "ledger.db").read_bytes() == before


async def test_a_server_of_an_older_version_refuses_calls(tmp_path: Path) -> None:
    """It serves, but nothing that needs the ledger."""
    await a_data_dir(tmp_path)
    with apsw.Connection(str(tmp_path / "ledger.db")) as connection:
        connection.execute("pragma user_version = 999")
    connection.close()
    (tmp_path / "ledger.mark").unlink()  # written by the newer program, whatever it holds
    app = MahavishnuApp(a_settings(tmp_path))

    await app.start_scheduler()
    with pytest.raises(LedgerCorruptError, match="schema 999"):
        await app.scheduler.list_jobs()
    await app.stop_scheduler()


@pytest.mark.parametrize(
    "damage",
    [
        "drop index run_fire",
        "drop table node",
        "pragma application_id = 7",
        "alter table job rename column note to nota",
    ],
)
def test_a_schema_that_is_not_as_it_was_made_is_refused(damage: str, tmp_path: Path) -> None:
    """A missing index would hide rows or let a fire run twice."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)
    require_schema(connection)

    connection.execute("pragma foreign_keys = off")
    connection.execute(damage)

    with pytest.raises(LedgerCorruptError):
        require_schema(connection)
    connection.close()


def test_tables_of_someone_else_are_no_concern(tmp_path: Path) -> None:
    """An operator may keep notes beside ours."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)

    connection.execute("create table mine (a)")

    require_schema(connection)
    connection.close()
