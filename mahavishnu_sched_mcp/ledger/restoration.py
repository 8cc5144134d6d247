"""Puts a backup in the ledger's place; what was there is renamed, never deleted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import (
    InternalError,
    InvalidArgumentsError,
    LedgerCorruptError,
    SchedulerError,
)
from mahavishnu_sched_mcp.ledger.archive import Archive
from mahavishnu_sched_mcp.ledger.backup import Backup, copy_ledger
from mahavishnu_sched_mcp.ledger.hold import held_alone
from mahavishnu_sched_mcp.ledger.inspection import mark_of
from mahavishnu_sched_mcp.ledger.mark import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

_PIECES = ("", "-wal", "-shm")
"""SQLite's three files, the ledger itself first: without it nothing reads the others."""


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """What `restore` did.

    Attributes:
        backup: What is in the ledger's place now.
        put_aside: What was there, under its new names.
    """

    backup: Backup
    put_aside: tuple[Path, ...]


def restore(ledger: Path, *, backup: Path) -> Restoration:
    """Put a backup in the ledger's place while no process has the ledger open.

    Args:
        backup: A file, or the name of one in the folder of automatic backups.

    Raises:
        InvalidArgumentsError: there is no such file.
        LedgerCorruptError: the backup is damaged, no ledger, or of a newer version; nothing
            was changed.
        InvalidStateError: the ledger is in use; names the processes.
        StorageFullError: no room for a second copy; nothing was changed.
    """
    source = _found(backup, ledger=ledger)
    try:
        with held_alone(ledger.parent):
            return _replace(ledger, source)
    except OSError as error:
        if isinstance(error, SchedulerError):
            raise
        msg = f"The data dir cannot be changed: {error.strerror}."
        raise InternalError(msg, hint="`mahavishnu-sched-mcp doctor` shows where it is.") from error


def _replace(ledger: Path, source: Path) -> Restoration:
    arrived = ledger.with_name("ledger.restored.db")
    made = _copied(source, to=arrived)
    mark = mark_of(ledger)
    # From here to the end a ledger that is not there counts as lost, never as new.
    mark.make(0)
    put_aside = _put_aside(ledger)
    arrived.replace(ledger)
    sync_folder(ledger.parent)
    mark.make(made.commits)
    return Restoration(backup=replace(made, file=source), put_aside=put_aside)


def _found(backup: Path, *, ledger: Path) -> Path:
    archive = Archive(ledger)
    for file in (backup, archive.folder / backup.name):
        if file.is_file() and file.resolve() != ledger.resolve():
            return file
    newest = archive.newest_sound()
    hint = "There are no automatic backups." if newest is None else f"The newest is {newest.name}."
    msg = f"There is no backup '{backup}'."
    raise InvalidArgumentsError(msg, hint=hint)


def _copied(source: Path, *, to: Path) -> Backup:
    """Copy the backup, which stays as it is, also beside it."""
    strange = [source.with_name(f"{source.name}{piece}") for piece in _PIECES[1:]]
    strange = [file for file in strange if not file.exists()]
    try:
        return copy_ledger(source, to=to)
    except LedgerCorruptError as error:
        what = error.message.replace("The ledger", "It", 1)
        msg = f"'{source.name}' cannot be restored. {what}"
        hint = "The ledger was not touched. Take another backup, or install the version it is of."
        raise LedgerCorruptError(msg, hint=hint) from error
    finally:
        for file in strange:
            file.unlink(missing_ok=True)


def _put_aside(ledger: Path) -> tuple[Path, ...]:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    moved = []
    for piece in _PIECES:
        present = ledger.with_name(f"{ledger.name}{piece}")
        if present.exists() or present.is_symlink():
            aside = ledger.with_name(f"{ledger.stem}-{stamp}.damaged.db{piece}")
            present.rename(aside)
            moved.append(aside)
    return tuple(moved)
