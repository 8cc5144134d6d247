"""The ledger's file: made, kept, brought up to date, or refused."""

from __future__ import annotations

import stat
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.errors import (
    InternalError,
    LedgerCorruptError,
    SchedulerError,
    StorageFullError,
)
from mahavishnu_sched_mcp.ledger import Ledger, schema
from mahavishnu_sched_mcp.ledger.database import connect, query, scalar, translated_errors
from mahavishnu_sched_mcp.ledger.schema import migrate


def test_a_new_ledger_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file has mode 0600 and keeps a write-ahead log."""
    path = tmp_path / "ledger.db"

    connection = connect(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert scalar(connection, "pragma journal_mode") == "wal"
    assert scalar(connection, "pragma foreign_keys") == 1
    connection.close()


def test_migrations_bring_the_schema_up_and_run_once(tmp_path: Path) -> None:
    """A second time nothing changes, and the leader's row is still one."""
    connection = connect(tmp_path / "ledger.db")

    first = migrate(connection)
    before = query(connection, "select * from sqlite_schema")
    second = migrate(connection)

    assert first == second == scalar(connection, "pragma user_version") >= 1
    assert query(connection, "select * from sqlite_schema") == before
    assert query(connection, "select term from leader") == [{"term": 0}]
    connection.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """Reads happen on connections that refuse everything else."""
    writer = connect(tmp_path / "ledger.db")
    migrate(writer)
    reader = connect(tmp_path / "ledger.db", read_only=True)

    with pytest.raises(InternalError, match="cannot be used now"), translated_errors():
        reader.execute("update leader set term = 1")

    reader.close()
    writer.close()


def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version and tables are those of before."""
    connection = connect(tmp_path / "ledger.db")
    version = migrate(connection)
    before = query(connection, "select * from sqlite_schema")
    scripts = schema.scripts()
    monkeypatch.setattr(schema, "scripts", lambda: [*scripts, "create table x (a); nonsense"])

    with pytest.raises(apsw.SQLError):
        migrate(connection)

    assert scalar(connection, "pragma user_version") == version
    assert query(connection, "select * from sqlite_schema") == before
    assert not connection.in_transaction
    connection.close()


async def test_a_ledger_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    """The refusal names both schemas."""
    path = tmp_path / "ledger.db"
    connection = connect(path)
    newest = migrate(connection)
    connection.execute(f"pragma user_version = {newest + 1}")
    connection.close()

    with pytest.raises(LedgerCorruptError, match=f"schema {newest + 1}, this version knows"):
        await Ledger(path).open()


async def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    """The refusal says how to mend it, and the file stays."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are the accounts of the household\n" * 100)
    before = path.read_bytes()

    with pytest.raises(LedgerCorruptError, match="damaged") as refused:
        await Ledger(path).open()

    assert "backup" in refused.value.hint
    assert path.read_bytes() == before


async def test_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    """A page overwritten with noise is found at the start."""
    path = tmp_path / "ledger.db"
    connection = connect(path)
    migrate(connection)
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    size = int(scalar(connection, "pragma page_size"))
    connection.close()
    with path.open("r+b") as file:
        file.seek(size * 2)
        file.write(b"\xa5" * size * 2)

    with pytest.raises(LedgerCorruptError, match="damaged"):
        await Ledger(path).open()


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (apsw.FullError(), StorageFullError),
        (apsw.CorruptError(), LedgerCorruptError),
        (apsw.NotADBError(), LedgerCorruptError),
        (apsw.BusyError(), InternalError),
        (apsw.IOError(), InternalError),
    ],
)
def test_sqlites_errors_become_ours(raised: apsw.Error, expected: type[SchedulerError]) -> None:
    """Each with its cause and a mend, and without a path."""
    with pytest.raises(expected) as refused, translated_errors():
        raise raised

    assert refused.value.__cause__ is raised
    assert refused.value.hint


def test_an_unsafe_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.51.3 a checkpoint beside a commit may corrupt the log."""
    monkeypatch.setattr(apsw, "SQLITE_VERSION_NUMBER", 3_051_002)

    with pytest.raises(InternalError, match=r"older than 3\.51\.3"):
        connect(tmp_path / "ledger.db")

    assert not (tmp_path / "ledger.db").exists()
