"""Copies a ledger whole while others write to it, and vouches for the copy."""

from __future__ import annotations

import os
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from mahavishnu_sched_mcp.errors import (
    InternalError,
    InvalidArgumentsError,
    LedgerCorruptError,
    SchedulerError,
    ShuttingDownError,
)
from mahavishnu_sched_mcp.ledger.database import close_last, connect, scalar, translated_errors
from mahavishnu_sched_mcp.ledger.hold import Hold
from mahavishnu_sched_mcp.ledger.inspection import inspect_content, is_new
from mahavishnu_sched_mcp.ledger.mark import commits_of, sync_folder
from mahavishnu_sched_mcp.ledger.schema import version_of

if TYPE_CHECKING:
    from pathlib import Path

_PAGES = 256
_PAUSE_SECONDS = 0.001
"""Between two steps others get the processor and the disk."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A sound copy of a ledger, in one file.

    Attributes:
        schema: The version of its tables.
        commits: How many acknowledged commits it knows of.
        jobs: How many jobs it holds, ended ones too.
        runs: How many runs.
    """

    file: Path
    schema: int
    commits: int
    jobs: int
    runs: int


def back_up(ledger: Path, *, to: Path, replace: bool = False) -> Backup:
    """Write a copy of a ledger to a file of the operator's, beside running servers.

    Args:
        replace: Overwrite a file that is there.

    Raises:
        InvalidArgumentsError: there is nothing to copy, or no place to copy it to.
        LedgerCorruptError: the ledger is damaged: there is no copy, and what was there stays.
        StorageFullError: no room for the copy.
    """
    if is_new(ledger):
        msg = "No ledger yet: nothing was ever scheduled here."
        raise InvalidArgumentsError(msg, hint="Check --data-dir.")
    _require_place(to, ledger=ledger, replace=replace)
    hold = Hold(ledger.parent)
    hold.take()
    try:
        if not ledger.is_file():
            msg = "The ledger is gone: one was made here, and its file is missing."
            raise LedgerCorruptError(msg, hint="See `mahavishnu-sched-mcp restore`.")
        return copy_ledger(ledger, to=to)
    finally:
        hold.release()


def copy_ledger(ledger: Path, *, to: Path, stop: threading.Event | None = None) -> Backup:
    """Copy a ledger, look through the copy, and only then give it its name.

    All pages are of one moment, however many commits are made meanwhile.

    Args:
        to: In a folder that is there; replaced where it exists.
        stop: Ends the copying between two steps.

    Raises:
        LedgerCorruptError: the copy is not sound; it is removed, and what was there stays.
        ShuttingDownError: `stop` was set.
        StorageFullError: no room.
    """
    beside = to.with_name(f".{to.name}.part")
    _remove(beside)
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _copy_pages(ledger, beside, stop=stop or threading.Event())
        made = vouch_for(beside)
        _sync(beside)
        beside.replace(to)
    except OSError as error:
        if isinstance(error, SchedulerError):
            raise
        msg = f"The copy cannot be written: {error.strerror}."
        raise InternalError(msg, hint="Choose another place, or free some space.") from error
    finally:
        _remove(beside)
    sync_folder(to.parent)
    return Backup(file=to, schema=made.schema, commits=made.commits, jobs=made.jobs, runs=made.runs)


def vouch_for(file: Path) -> Backup:
    """Look through a copy in full, and say what is in it.

    Raises:
        LedgerCorruptError: it is damaged, no ledger, or of a newer version.
    """
    had_log = file.with_name(f"{file.name}-wal").exists()
    connection = connect(file, read_only=True)
    try:
        inspect_content(connection, in_full=True)
        with translated_errors():
            return Backup(
                file=file,
                schema=version_of(connection),
                commits=commits_of(connection),
                jobs=int(scalar(connection, "select count(*) from job")),
                runs=int(scalar(connection, "select count(*) from run")),
            )
    finally:
        if had_log:
            connection.close()
        else:  # what SQLite made beside a file of the operator's goes with us
            close_last(connection)


def _copy_pages(ledger: Path, target: Path, *, stop: threading.Event) -> None:
    with (
        translated_errors(),
        closing(connect(ledger, read_only=True)) as source,
        closing(apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)) as copy,
    ):
        # One transaction around all steps: else every commit of others starts them anew.
        source.execute("begin")
        source.execute("select count(*) from sqlite_schema").fetchall()
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES)
                if stop.wait(_PAUSE_SECONDS):
                    msg = "The server stops; the copy was left."
                    raise ShuttingDownError(msg)
        source.execute("rollback")
        copy.execute("pragma journal_mode = delete")  # one file that needs no other beside it


def _require_place(to: Path, *, ledger: Path, replace: bool) -> None:
    if to.parent.resolve() == ledger.parent.resolve() and to.name.startswith(ledger.stem):
        msg = f"'{to.name}' in the data dir is a name of the ledger's own."
        raise InvalidArgumentsError(msg, hint="Choose another place.")
    if not to.parent.is_dir():
        msg = f"There is no folder '{to.parent}'."
        raise InvalidArgumentsError(msg, hint="Make it first, or choose another place.")
    if to.is_symlink() or (to.exists() and not to.is_file()):
        msg = f"'{to}' is no plain file."
        raise InvalidArgumentsError(msg, hint="Choose another name.")
    if to.exists() and not replace:
        msg = f"'{to}' is there already."
        raise InvalidArgumentsError(msg, hint="Choose another name, or overwrite it with --force.")


def _sync(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(file: Path) -> None:
    for name in (file.name, f"{file.name}-journal", f"{file.name}-wal", f"{file.name}-shm"):
        with suppress(FileNotFoundError):
            file.with_name(name).unlink()
