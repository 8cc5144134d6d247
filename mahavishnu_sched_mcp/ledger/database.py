"""Opens the ledger's file, and speaks SQLite: connections, queries, errors as ours."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
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
_LOG_BYTES = 8 * 1024 * 1024
"""The write-ahead log is cut back to this when it begins anew."""
_NO_ROOM = {apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE}
"""Quotas, file size limits and a full disk under the log's index; real I/O errors have others."""

RESTORE = "The operator puts a backup in its place with `mahavishnu-sched-mcp restore`."


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open one connection with the ledger's pragmas; rows come as dictionaries.

    Closing it leaves the write-ahead log as it is; see `close_last`.

    Args:
        path: The ledger's file; made with mode 0600 where it is missing.
        read_only: Refuse writes on this connection, and make no file.

    Raises:
        LedgerCorruptError: the file is not a database, or is damaged.
        StorageFullError: there is no room to open it.
        InternalError: it cannot be opened.
    """
    require_safe_sqlite()
    if not read_only and not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with translated_errors():
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            _prepare(connection, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    return connection


def close_last(connection: apsw.Connection) -> None:
    """Close a connection to a sound ledger; the last of all processes takes the log away."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    connection.close()


def _prepare(connection: apsw.Connection, *, read_only: bool) -> None:
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    connection.row_trace = _as_dictionary
    # A checkpoint writes: what looks at a damaged file must not do so by going away.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma temp_store = memory")  # a full /tmp is no concern of ours
    if read_only:
        connection.execute("pragma query_only = on")
    else:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute(f"pragma journal_size_limit = {_LOG_BYTES}")


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
        raise no_room() from error
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
        msg = "The ledger is damaged; nothing was changed."
        raise LedgerCorruptError(msg, hint=RESTORE) from error
    except (apsw.BusyError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        if getattr(error, "extendedresult", None) in _NO_ROOM:
            raise no_room() from error
        msg = f"The ledger cannot be used now ({type(error).__name__})."
        raise InternalError(msg, hint="Try again; get_status shows how the ledger is.") from error


def no_room() -> StorageFullError:
    """Say that the disk is full."""
    msg = "The disk has no room for the ledger; nothing was changed."
    return StorageFullError(msg, hint="Free some space and try again.")


def query(
    db: apsw.Connection, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[Row]:
    """Run one statement and give all its rows.

    Text that is none (damage has no check of its own) comes as bytes, so that the row can be told
    apart and hides no other.
    """
    try:
        return cast("list[Row]", db.execute(sql, values).fetchall())
    except UnicodeDecodeError:
        if not sql.lstrip().lower().startswith("select"):
            raise
        return _query_bytes(db, sql, values)


def scalar(db: apsw.Connection, sql: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> Any:
    """Run one statement and give its only value; None where it has no row."""
    return db.execute(sql, values).get


def _query_bytes(
    db: apsw.Connection, sql: str, values: Mapping[str, Any] | Sequence[Any]
) -> list[Row]:
    """Run a query again with its text taken as bytes, and decode what can be decoded."""
    columns: list[str] = []

    def note(cursor: apsw.Cursor, _: str, __: object) -> bool:
        columns.extend(column[0] for column in cursor.get_description())
        return False

    looking = db.cursor()
    looking.exec_trace = note
    with suppress(apsw.ExecTraceAbort):
        looking.execute(sql, values)
    taken = ", ".join(
        f"""case typeof("{name}") when 'text' then cast("{name}" as blob)
             else "{name}" end as "{name}", typeof("{name}") as "{name}:type\""""
        for name in dict.fromkeys(columns)
    )
    rows = db.execute(f"select {taken} from ({sql})", values).fetchall()  # noqa: S608 - our own queries
    return [
        {
            name: _decoded(row[name]) if row[f"{name}:type"] == "text" else row[name]
            for name in dict.fromkeys(columns)
        }
        for row in cast("list[Row]", rows)
    ]


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def require_safe_sqlite() -> None:
    """Refuse a SQLite library that can corrupt the ledger.

    Raises:
        InternalError: the bundled SQLite is older than 3.51.3.
    """
    if apsw.SQLITE_VERSION_NUMBER < _OLDEST_SAFE_SQLITE:
        msg = f"SQLite {apsw.sqlite_lib_version()} is older than 3.51.3."
        raise InternalError(msg, hint="Install apsw 3.51.3 or newer.")


def _as_dictionary(cursor: apsw.Cursor, row: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.get_description(), row, strict=True)}
