"""Copies of the ledger: made beside writers, looked through, put back, never in place of more."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.errors import (
    InvalidArgumentsError,
    InvalidStateError,
    LedgerCorruptError,
    ShuttingDownError,
)
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.ledger.archive import Archive
from mahavishnu_sched_mcp.ledger.backup import back_up, copy_ledger, vouch_for
from mahavishnu_sched_mcp.ledger.database import connect, scalar
from mahavishnu_sched_mcp.ledger.restoration import restore
from tests.factories import (
    MINUTE,
    ManualClock,
    an_app,
    an_interval,
    eventually,
    ledger_of,
    ring,
    settled,
)

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

HOLDING = """
import asyncio, sys
from pathlib import Path
from mahavishnu_sched_mcp.ledger import Ledger

async def hold():
    ledger = Ledger(Path(sys.argv[1]))
    await ledger.open()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await ledger.close()

asyncio.run(hold())
"""


async def a_ledger(path: Path, *names: str) -> Path:
    """Make a ledger with jobs of these names, and give its file."""
    async with an_app(path) as app:
        for name in names or ("a",):
            await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id=name)
    return path / "ledger.db"


def spoil(file: Path) -> None:
    """Overwrite a page of a file with noise."""
    with file.open("r+b") as opened:
        opened.seek(2 * 4096)
        opened.write(b"\xa5" * 8192)


def sizes_in(folder: Path) -> dict[str, int]:
    """Give the files of a folder with their sizes."""
    return {file.name: file.stat().st_size for file in folder.iterdir()}


async def test_a_backup_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    """Commits go on during the copy; the copy holds those from before it, and is sound."""
    ledger = Ledger(tmp_path / "ledger.db")
    await ledger.open()
    await ledger.write(lambda db: db.execute("create table note (n)").fetchall())
    for _ in range(20):  # enough for the copy to take many steps
        await ledger.write(
            lambda db: db.execute(
                "insert into note with recursive c (n) as"
                " (select 1 union all select n + 1 from c where n < 100)"
                " select zeroblob(4000) from c"
            ).fetchall()
        )
    copying = asyncio.create_task(asyncio.to_thread(back_up, ledger._path, to=tmp_path / "copy.db"))
    written = 0
    while not copying.done():
        await ledger.write(lambda db: db.execute("insert into note values (1)").fetchall())
        written += 1
    backup = await copying
    await ledger.close()

    assert written > 3
    assert vouch_for(backup.file) == backup
    assert stat.S_IMODE(backup.file.stat().st_mode) == 0o600


async def test_a_backup_is_one_file(tmp_path: Path) -> None:
    """Nothing has to be kept beside it, and nothing is left of the making."""
    ledger = await a_ledger(tmp_path / "data")
    (tmp_path / "out").mkdir()

    backup = back_up(ledger, to=tmp_path / "out" / "copy.db")

    assert sizes_in(tmp_path / "out").keys() == {"copy.db"}
    assert backup.jobs == 1


async def test_a_file_that_is_there_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    """The refusal says how."""
    ledger = await a_ledger(tmp_path / "data")
    target = tmp_path / "copy.db"
    target.write_text("precious")

    with pytest.raises(InvalidArgumentsError, match="--force"):
        back_up(ledger, to=target)
    kept = target.read_text()
    back_up(ledger, to=target, replace=True)

    assert kept == "precious"
    assert vouch_for(target).jobs == 1


@pytest.mark.parametrize("name", ["ledger.db", "ledger.mark", "missing/copy.db", "."])
async def test_a_backup_is_refused_where_it_would_do_harm(name: str, tmp_path: Path) -> None:
    """Not over the ledger's own files, not into nothing."""
    ledger = await a_ledger(tmp_path)
    before = ledger.read_bytes()

    with pytest.raises(InvalidArgumentsError):
        back_up(ledger, to=tmp_path / name, replace=True)

    assert ledger.read_bytes() == before


async def test_a_damaged_ledger_gets_no_backup_and_takes_none_away(tmp_path: Path) -> None:
    """The good copy of before stays."""
    ledger = await a_ledger(tmp_path / "data")
    good = back_up(ledger, to=tmp_path / "copy.db")
    spoil(ledger)

    with pytest.raises(LedgerCorruptError, match="damaged"):
        back_up(ledger, to=tmp_path / "copy.db", replace=True)

    assert vouch_for(tmp_path / "copy.db") == good


async def test_a_copy_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """A server that ends does not wait for its backup."""
    ledger = await a_ledger(tmp_path / "data")
    stop = threading.Event()
    stop.set()

    with pytest.raises(ShuttingDownError):
        copy_ledger(ledger, to=tmp_path / "copy.db", stop=stop)

    assert sizes_in(tmp_path).keys() == {"data"}


async def test_a_restore_brings_the_jobs_back_and_keeps_what_was_there(tmp_path: Path) -> None:
    """The present ledger is renamed, and can be restored in its turn."""
    ledger = await a_ledger(tmp_path / "data", "a")
    back_up(ledger, to=tmp_path / "copy.db")
    await a_ledger(tmp_path / "data", "b")

    done = restore(ledger, backup=tmp_path / "copy.db")
    async with an_app(tmp_path / "data") as app:
        restored = (await app.scheduler.list_jobs()).rows
    again = restore(ledger, backup=done.put_aside[0])

    assert [job.job_id for job in restored] == ["apscheduler:a"]
    assert done.backup.jobs == 1
    assert again.backup.jobs == 2
    assert all(file.exists() for file in done.put_aside)
    assert all("damaged.db" in file.name for file in done.put_aside)


async def test_a_restore_is_known_by_the_name_of_an_automatic_backup(tmp_path: Path) -> None:
    """The refusal of a damaged ledger names it, and that name is enough."""
    ledger = await a_ledger(tmp_path)
    Archive(ledger).keep(at=NOON)
    spoil(ledger)
    with pytest.raises(LedgerCorruptError) as refused:
        await Ledger(ledger).open()
    name = "ledger-20261201T120000Z.db"

    restore(ledger, backup=Path(name))
    async with an_app(tmp_path) as app:
        jobs = (await app.scheduler.list_jobs()).rows

    assert f"restore {name}`" in refused.value.hint
    assert "/" not in str(refused.value)
    assert [job.job_id for job in jobs] == ["apscheduler:a"]


@pytest.mark.parametrize("content", [b"", b"no database" * 999, None])
async def test_a_backup_that_is_not_sound_is_not_restored(
    content: bytes | None, tmp_path: Path
) -> None:
    """The ledger stays as it is."""
    ledger = await a_ledger(tmp_path / "data")
    backup = back_up(ledger, to=tmp_path / "copy.db").file
    if content is None:
        spoil(backup)
    else:
        backup.write_bytes(content)
    before = ledger.read_bytes()

    with pytest.raises(LedgerCorruptError, match=r"'copy\.db' cannot be restored"):
        restore(ledger, backup=backup)

    assert ledger.read_bytes() == before
    assert not [name for name in sizes_in(tmp_path / "data") if "restored" in name]


async def test_a_restore_waits_for_nobody_and_names_who_is_in_the_way(tmp_path: Path) -> None:
    """While a process has the ledger open it is refused; after its end it is done."""
    ledger = await a_ledger(tmp_path / "data")
    backup = back_up(ledger, to=tmp_path / "copy.db").file
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLDING,
        str(ledger),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout is not None
    assert (await asyncio.wait_for(holder.stdout.readline(), 20)).strip() == b"open"

    with pytest.raises(InvalidStateError, match=rf"process {holder.pid} on {os.uname().nodename}"):
        restore(ledger, backup=backup)
    await holder.communicate()
    done = restore(ledger, backup=backup)

    assert done.backup.jobs == 1


async def test_after_a_restore_the_time_since_counts_as_missed(tmp_path: Path) -> None:
    """What ran since the backup is unknown: its fires follow missed_policy, each with a record."""
    clock = ManualClock()
    async with an_app(tmp_path / "data", clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await ledger_of(app).write(lambda db: scalar(db, "select 1"))
        back_up(ledger_of(app)._path, to=tmp_path / "copy.db")
        for _ in range(5):
            await ring(app, clock)
        before = await settled(app, "apscheduler:a", count=5)
    restore(tmp_path / "data" / "ledger.db", backup=tmp_path / "copy.db")

    async with an_app(tmp_path / "data", clock=clock) as app:
        await ring(app, clock, by=MINUTE / 2)
        after = await settled(app, "apscheduler:a", count=2)

    assert len(before) == 5
    assert sum(run.fires for run in after) == 5
    assert {run.state.value for run in after} == {"missed", "succeeded"}


async def test_one_backup_a_day_and_the_newest_seven_are_kept(tmp_path: Path) -> None:
    """What is not of that kind is never taken away."""
    mine = tmp_path / "backups" / "before-the-holidays.db"
    archive = Archive(await a_ledger(tmp_path))
    archive.keep_before_migration(1)
    mine.write_text("mine")

    moments = [NOON + hours * DAY / 2 for hours in range(20)]
    made = [archive.keep(at=now) if archive.is_due(at=now) else None for now in moments]

    names = sorted(sizes_in(tmp_path / "backups"))
    assert [backup is not None for backup in made] == [True, False] * 10
    assert names == [
        "before-the-holidays.db",
        *(f"ledger-202612{day:02}T120000Z.db" for day in range(4, 11)),
        "ledger-before-schema-2.db",
    ]


async def test_a_damaged_ledger_keeps_its_good_backups(tmp_path: Path) -> None:
    """A failed backup takes no other away."""
    ledger = await a_ledger(tmp_path)
    archive = Archive(ledger)
    for day in range(7):
        archive.keep(at=NOON + day * DAY)
    spoil(ledger)

    with pytest.raises(LedgerCorruptError):
        archive.keep(at=NOON + 7 * DAY)

    assert len(sizes_in(archive.folder)) == 7
    assert archive.newest_sound() == archive.folder / "ledger-20261207T120000Z.db"


async def test_what_a_killed_process_left_of_a_backup_is_cleared_away(tmp_path: Path) -> None:
    """The next backup does it."""
    archive = Archive(await a_ledger(tmp_path))
    archive.folder.mkdir()
    (archive.folder / ".ledger-20261130T120000Z.db.part").write_bytes(b"half")

    archive.keep(at=NOON)

    assert sizes_in(archive.folder).keys() == {"ledger-20261201T120000Z.db"}


async def test_the_newest_backup_that_is_sound_is_named(tmp_path: Path) -> None:
    """One that was damaged itself is passed over."""
    archive = Archive(await a_ledger(tmp_path))
    for day in range(2):
        archive.keep(at=NOON + day * DAY)
    spoil(archive.folder / "ledger-20261202T120000Z.db")

    assert archive.newest_sound() == archive.folder / "ledger-20261201T120000Z.db"


async def test_an_open_ledger_is_backed_up_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A while after the start, and without holding up the stop."""
    monkeypatch.setattr("mahavishnu_sched_mcp.ledger.archive._FIRST_LOOK_SECONDS", 0.0)
    async with an_app(tmp_path) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        archive = Archive(tmp_path / "ledger.db")
        await eventually(
            lambda: archive.newest_sound() is not None, description="a backup is made", within=20
        )

    found = archive.newest_sound()
    assert found is not None
    assert vouch_for(found).schema >= 1


async def test_what_is_left_of_a_cut_log_can_be_kept(tmp_path: Path) -> None:
    """A ledger that lost its newest changes is refused until the operator takes it as it is."""
    async with an_app(tmp_path / "data") as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        reader = connect(tmp_path / "data" / "ledger.db", read_only=True)
        reader.execute("begin")  # keeps what follows in the log
        reader.execute("select count(*) from job").fetchall()
        await app.scheduler.cancel_job("apscheduler:a")
        copy = ["cp", "-a", str(tmp_path / "data"), str(tmp_path / "killed")]
        await asyncio.to_thread(subprocess.run, copy, check=True)
        reader.close()
    ledger = tmp_path / "killed" / "ledger.db"
    (tmp_path / "killed" / "ledger.db-wal").write_bytes(b"")

    with pytest.raises(LedgerCorruptError, match="lost its newest") as refused:
        await Ledger(ledger).open()
    restore(ledger, backup=back_up(ledger, to=tmp_path / "left.db").file)
    async with an_app(tmp_path / "killed") as app:
        page = await app.scheduler.list_jobs(state=JobState.CANCELLED)

    assert "backup FILE" in refused.value.hint
    assert page.total == 0
