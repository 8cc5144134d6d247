"""Looks at a ledger before anything is written to it, and refuses one that is damaged or lost."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import LedgerCorruptError, SchedulerError
from mahavishnu_sched_mcp.ledger.database import RESTORE, connect, scalar, translated_errors
from mahavishnu_sched_mcp.ledger.mark import Mark, commits_of, seal_of
from mahavishnu_sched_mcp.ledger.schema import require_schema, version_of

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

_MOST_PAGES_IN_FULL = 2048
"""Ledgers up to this size have every index compared with its table at every start."""
_KEEP = (
    "To go on with what is left instead, run `mahavishnu-sched-mcp backup FILE`, then"
    " `mahavishnu-sched-mcp restore FILE`."
)


def mark_of(path: Path) -> Mark:
    """Give the mark beside a ledger."""
    return Mark(path.with_name("ledger.mark"))


def is_new(path: Path) -> bool:
    """Whether no ledger was ever made here, so that making one forgets nothing.

    Also where a process died while it made one: then there is no mark, and no table yet. Where
    there are backups there was a ledger.
    """
    if mark_of(path).is_there or any(path.with_name("backups").glob("ledger-*.db")):
        return False
    return not path.exists() or _is_empty(path) or _is_unbegun(path)


def inspect(path: Path) -> None:
    """Look at a ledger without writing to it.

    Raises:
        LedgerCorruptError: it is lost, damaged, cut short, another program's, or newer than
            this version.
    """
    mark = mark_of(path)
    known = mark.read()  # before the ledger: commits of others meanwhile only add
    _require_file(path)
    # Whoever opens it takes the seal off before it changes the file.
    if known.seal and seal_of(path) not in {known.seal, ""} and mark.read().seal:
        with closing(connect(path, read_only=True)) as connection:
            inspect_content(connection)  # where nothing can be read, there is nothing to go on with
        msg = "The ledger is damaged: its file is not as it was when it was closed."
        raise LedgerCorruptError(msg, hint=f"{RESTORE} {_KEEP}")
    with closing(connect(path, read_only=True)) as connection:
        inspect_content(connection)
        with translated_errors():
            found = commits_of(connection)
    if found < known.commits:
        lost = known.commits - found
        msg = f"The ledger has lost its newest {lost} acknowledged changes: its log was damaged."
        raise LedgerCorruptError(msg, hint=f"{RESTORE} {_KEEP}")


def inspect_content(connection: apsw.Connection, *, in_full: bool = False) -> None:
    """Look through all pages, tables and indexes, and at whose file it is.

    Args:
        in_full: Compare each index with its table, however large the ledger is.

    Raises:
        LedgerCorruptError: it is damaged, another program's, or newer than this version.
    """
    with translated_errors():
        require_schema(connection)
        is_small = int(scalar(connection, "pragma page_count")) <= _MOST_PAGES_IN_FULL
        look = "integrity_check" if in_full or is_small else "quick_check"
        report = scalar(connection, f"pragma {look}(1)")
    if report != "ok":
        msg = "The ledger is damaged."
        raise LedgerCorruptError(msg, hint=RESTORE)


def _require_file(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        msg = "The ledger is gone: one was made here, and its file is missing."
        raise LedgerCorruptError(msg, hint=RESTORE) from error
    except OSError as error:
        msg = f"The ledger cannot be reached: {error.strerror}."
        raise LedgerCorruptError(msg, hint="`mahavishnu-sched-mcp doctor` shows where.") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no file"
        msg = f"What is in the ledger's place is {kind}."
        raise LedgerCorruptError(msg, hint=RESTORE)
    if found.st_size == 0:
        msg = "The ledger is empty: one was made here, and its file has no content any more."
        raise LedgerCorruptError(msg, hint=RESTORE)
    if not os.access(path, os.R_OK | os.W_OK):
        msg = "The ledger may not be read and written by this user."
        raise LedgerCorruptError(msg, hint="`mahavishnu-sched-mcp doctor` shows where it is.")


def _is_empty(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _is_unbegun(path: Path) -> bool:
    try:
        with closing(connect(path, read_only=True)) as connection, translated_errors():
            tables = scalar(connection, "select count(*) from sqlite_schema")
            return not tables and version_of(connection) == 0
    except SchedulerError:
        return False  # `inspect` says what it is
