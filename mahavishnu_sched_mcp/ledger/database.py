"""Opens the ledger's file, checks it, and brings its schema up to date."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import apsw

from mahavishnu_sched_mcp.errors import InternalError, LedgerCorruptError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

type Row = dict[str, Any]

_BUSY_TIMEOUT_MS = 5000
_OLDEST_SAFE_SQLITE = 3051003
"""SQLite 3.51.3: older ones can corrupt a WAL when two connections commit and checkpoint."""


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open one connection with the ledger's pragmas; rows come as dictionaries.

    Args:
        path: The ledger's file; made with mode 0600 where it is missing.
        read_only: Refuse writes on this connection.

    Raises:
        LedgerCorruptError: the file is not a database, or is damaged.
        StorageFullError: there is no room to open it.
    """
    require_safe_sqlite()
    if not read_only and not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with translated_errors():
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.row_trace = _as_dictionary
        connection.execute("pragma foreign_keys = on")
        if read_only:
            connection.execute("pragma query_only = on")
        else:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma wal_autocheckpoint = 0")
    return connection


def migrate(connection: apsw.Connection) -> int:
    """Apply the migrations the file does not have yet, each in one transaction.

    Returns:
        The schema's version afterwards.

    Raises:
        LedgerCorruptError: the file is damaged, or was written by a newer version.
    """
    scripts = _scripts()
    check(connection)
    with translated_errors():
        connection.execute("begin immediate")
        try:
            version = int(connection.execute("pragma user_version").get)
            _require_known(version, newest=len(scripts))
            for number, script in enumerate(scripts[version:], start=version + 1):
                connection.execute(script)
                connection.execute(f"pragma user_version = {number}")
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
    return len(scripts)


def check(connection: apsw.Connection) -> None:
    """Look through the whole file for damage.

    Raises:
        LedgerCorruptError: it is damaged.
    """
    with translated_errors():
        report = scalar(connection, "pragma quick_check(1)")
    if report != "ok":
        msg = "The ledger is damaged."
        hint = "Nothing was changed. Put a backup of ledger.db in its place."
        raise LedgerCorruptError(msg, hint=hint)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        StorageFullError: no room.
        LedgerCorruptError: damaged, or no database at all.
        InternalError: anything else SQLite refuses.
    """
    try:
        yield
    except apsw.FullError as error:
        msg = "The disk has no room for the ledger; nothing was changed."
        raise StorageFullError(msg, hint="Free some space and try again.") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        msg = "The ledger is damaged; nothing was changed."
        raise LedgerCorruptError(
            msg, hint="Put a backup of ledger.db in its place and start again."
        ) from error
    except (apsw.BusyError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        msg = f"The ledger cannot be used now ({type(error).__name__})."
        raise InternalError(msg, hint="Try again; get_status shows how the ledger is.") from error


def query(
    db: apsw.Connection, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[Row]:
    """Run one statement and give all its rows."""
    return cast("list[Row]", db.execute(sql, values).fetchall())


def scalar(db: apsw.Connection, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> Any:
    """Run one statement and give its only value; None where it has no row."""
    return db.execute(sql, values).get


def require_safe_sqlite() -> None:
    """Refuse a SQLite library that can corrupt the ledger.

    Raises:
        InternalError: the bundled SQLite is older than 3.51.3.
    """
    if apsw.SQLITE_VERSION_NUMBER < _OLDEST_SAFE_SQLITE:
        msg = f"SQLite {apsw.sqlite_lib_version()} is older than 3.51.3."
        raise InternalError(msg, hint="Install apsw 3.51.3 or newer.")


def _require_known(version: int, *, newest: int) -> None:
    if version > newest:
        msg = f"The ledger has schema {version}, this version knows {newest}."
        raise LedgerCorruptError(msg, hint="Install the newer version that wrote it.")


def _scripts() -> list[str]:
    folder = resources.files("mahavishnu_sched_mcp.ledger") / "migrations"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def _as_dictionary(cursor: apsw.Cursor, row: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.get_description(), row, strict=True)}
