"""The ledger's automatic backups: one a day, the newest seven kept, and those before migrations."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import (
    InternalError,
    LedgerCorruptError,
    SchedulerError,
    ShuttingDownError,
)
from mahavishnu_sched_mcp.ledger.backup import Backup, copy_ledger, vouch_for
from mahavishnu_sched_mcp.ledger.database import RESTORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_KEPT = 7
PERIOD = timedelta(days=1)

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"^ledger-(\d{8}T\d{6}Z)\.db$")
_EARLIER = re.compile(r"^ledger-before-schema-\d+\.db$")
_FIRST_LOOK_SECONDS = 5.0
"""The handshake comes first."""
_LOOK_SECONDS = 600.0
_LAST_SECONDS = 0.1
"""A stop waits no longer; the thread ends with the process."""
_log = structlog.get_logger()


class Archive:
    """The folder of backups beside a ledger.

    Args:
        ledger: The ledger's file.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self.folder = ledger.parent / "backups"

    def is_due(self, *, at: datetime) -> bool:
        """Whether the newest daily backup is older than a day, or from the future."""
        newest = max((made for made, _ in self._daily()), default=None)
        return newest is None or not timedelta(0) <= at - newest < PERIOD

    def keep(self, *, at: datetime, stop: threading.Event | None = None) -> Backup | None:
        """Make the backup of this moment, then let the oldest daily ones go.

        Returns:
            The backup; None where another process is making one.

        Raises:
            LedgerCorruptError: the ledger is damaged; all older backups stay.
            StorageFullError: no room; all older backups stay.
            ShuttingDownError: `stop` was set.
        """
        with self._alone() as is_alone:
            if not is_alone:
                return None
            for left in self.folder.glob(".ledger-*.part*"):  # by a process that was ended over it
                left.unlink(missing_ok=True)
            name = f"ledger-{at.astimezone(UTC).strftime(_STAMP)}.db"
            made = copy_ledger(self._ledger, to=self.folder / name, stop=stop)
            for _, old in sorted(self._daily(), reverse=True)[MOST_KEPT:]:
                old.unlink()
            return made

    def keep_before_migration(self, version: int) -> None:
        """Keep the ledger as it is before it gets a newer schema; never rotated away.

        Args:
            version: The schema it has.

        Raises:
            SchedulerError: there can be no backup, so there shall be no migration.
        """
        self._make_folder()
        copy_ledger(self._ledger, to=self.folder / f"ledger-before-schema-{version + 1}.db")

    def newest_sound(self) -> Path | None:
        """Give the newest backup that can be restored; None where there is none."""
        earlier = [
            (datetime.fromtimestamp(file.stat().st_mtime, UTC), file)
            for file in self._files()
            if _EARLIER.match(file.name)
        ]
        for _, file in sorted([*self._daily(), *earlier], reverse=True):
            with suppress(SchedulerError):
                return vouch_for(file).file
        return None

    def advised(self, error: LedgerCorruptError) -> LedgerCorruptError:
        """Say beside a refusal which backup to restore: the path in the log, only its name here."""
        backup = self.newest_sound()
        _log.error(
            "ledger_refused",
            error=str(error),
            ledger=str(self._ledger),
            newest_backup=None if backup is None else str(backup),
        )
        hint = error.hint
        if hint.startswith(RESTORE) and backup is None:
            hint += " There is no automatic backup."
        elif hint.startswith(RESTORE) and backup is not None:
            hint += f" The newest sound one: `mahavishnu-sched-mcp restore {backup.name}`."
        message = f"{error.message} Nothing is written to it and nothing fires."
        return LedgerCorruptError(message, hint=hint)

    def _daily(self) -> list[tuple[datetime, Path]]:
        found = [(_NAME.match(file.name), file) for file in self._files()]
        return [
            (datetime.strptime(name[1], _STAMP).replace(tzinfo=UTC), file)
            for name, file in found
            if name is not None
        ]

    def _files(self) -> list[Path]:
        try:
            return [file for file in self.folder.iterdir() if file.is_file()]
        except OSError:
            return []

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            msg = f"The folder '{self.folder.name}' cannot be made: {error.strerror}."
            hint = "Take away what is in its place, or free some space."
            raise InternalError(msg, hint=hint) from error

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Let one process at a time make backups."""
        self._make_folder()
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)


class Archivist:
    """A thread that makes a backup whenever one is due, from a while after its start to its end.

    Args:
        on_failure: Told why no backup could be made.
    """

    def __init__(self, archive: Archive, *, on_failure: Callable[[SchedulerError], None]) -> None:
        self._archive = archive
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="ledger-archive", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; a copy that is being made is left. Idempotent."""
        self._stop.set()
        self._thread.join(_LAST_SECONDS)

    def _keep(self) -> None:
        pause = _FIRST_LOOK_SECONDS
        while not self._stop.wait(pause):
            pause = _LOOK_SECONDS
            now = datetime.now(UTC)  # file names are of the machine's clock, whatever jobs go by
            try:
                if self._archive.is_due(at=now):
                    made = self._archive.keep(at=now, stop=self._stop)
                    if made is not None:
                        _log.info("ledger_backed_up", file=made.file.name, jobs=made.jobs)
            except ShuttingDownError:
                return
            except SchedulerError as error:
                self._on_failure(error)
            except OSError as error:
                _log.warning("ledger_not_backed_up", error=error.strerror)
