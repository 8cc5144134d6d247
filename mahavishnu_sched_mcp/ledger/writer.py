"""One thread that commits: many small changes share one transaction."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import structlog

from mahavishnu_sched_mcp.errors import (
    InternalError,
    LedgerCorruptError,
    SchedulerError,
    StorageFullError,
)
from mahavishnu_sched_mcp.ledger.checkpoint import Checkpointer
from mahavishnu_sched_mcp.ledger.database import no_room, translated_errors
from mahavishnu_sched_mcp.ledger.mark import count_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mahavishnu_sched_mcp.ledger.mark import Mark
    from mahavishnu_sched_mcp.ledger.reserve import Reserve

type Change = Callable[[apsw.Connection], Any]
type Answer = tuple[_Asked, Any, BaseException | None]

_WHOLE = (apsw.FullError, apsw.IOError, apsw.CorruptError, apsw.NotADBError)
"""After these the whole transaction is in doubt."""
_LONG_LOG_BYTES = 16 * 1024 * 1024
_LONGEST_LOG_PAGES = 8192
"""32 MiB."""
_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Asked:
    change: Change
    durable: bool
    essential: bool
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """Takes changes from any thread and commits them in the order they came.

    Each change runs in a savepoint of the group's transaction, so one that refuses takes
    nothing of the others with it. Answers are given only after the commit. Whatever the disk
    does, the thread goes on: a change that could not be committed is refused and left no trace.

    Args:
        connection: Used by this thread alone from now on.
        checkpoints: A second connection, for the checkpoints: their fsync must not stand in
            front of a claim.
        mark: Told of each acknowledged commit before its answer is given.
        reserve: Room for essential changes on a full disk.

    Attributes:
        damage: Why nothing is written any more, where the file was found damaged.
        is_full: Whether the disk had no room when it was last tried.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        checkpoints: apsw.Connection,
        *,
        mark: Mark | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        self.damage: LedgerCorruptError | None = None
        self.is_full = False
        self._connection = connection
        self._mark = mark
        self._reserve = reserve
        self._wake = threading.Condition()
        self._waiting: list[_Asked] = []
        self._is_closed = False
        self._checkpointer = Checkpointer(checkpoints)
        self._log = Path(connection.filename_wal)
        self._thread = threading.Thread(target=self._write, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, change: Change, *, durable: bool, essential: bool = False) -> Future[Any]:
        """Queue one change and give the future of its result.

        Args:
            change: Gets the connection inside a transaction; what it raises is the future's.
                It may be run again after a rollback, so it keeps nothing elsewhere.
            durable: Sync the disk before answering (`synchronous=FULL`); acknowledged changes
                need it, bookkeeping survives a kill without.
            essential: May use the room that is kept for a full disk.

        Raises:
            InternalError: the writer is closed.
        """
        asked = _Asked(change=change, durable=durable, essential=essential)
        with self._wake:
            if self._is_closed:
                msg = "The ledger is closed."
                raise InternalError(msg)
            self._waiting.append(asked)
            self._wake.notify()
        return asked.future

    def close(self, *, timeout: float = 5.0) -> bool:
        """Commit what waits, empty the log into the ledger, and stop. Idempotent.

        Returns:
            Whether both connections are closed; otherwise a thread still waits for the disk.
        """
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)
        is_done = not self._thread.is_alive()
        is_done &= self._checkpointer.close(
            timeout=max(0.0, deadline - time.monotonic()), is_sound=self.damage is None
        )
        if is_done:
            self._connection.close()
        return is_done

    @property
    def is_log_long(self) -> bool:
        """Whether the write-ahead log is longer than any reader of ours keeps it."""
        return self._checkpointer.log_pages > _LONGEST_LOG_PAGES

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._is_closed:
                    self._wake.wait()
                group, self._waiting = self._waiting, []
            if not group:
                return
            for asked, result, failure in self._answers(group):
                if failure is not None:
                    asked.future.set_exception(failure)
                else:
                    asked.future.set_result(result)
            self._checkpointer.ask()
            if self._is_log_in_haste():
                self._checkpointer.begin_anew()

    def _answers(self, group: list[_Asked]) -> list[Answer]:
        group = [asked for asked in group if asked.future.set_running_or_notify_cancel()]
        if not group:
            return []
        try:
            self._require_room()
            answers = self._commit(group)
        except StorageFullError as full:
            if not self.is_full:
                _log.warning("disk_full")
            self.is_full = True
            essential = [asked for asked in group if asked.essential]
            others = [asked for asked in group if not asked.essential]
            return [*self._insist(essential), *_refused(others, full)]
        except (SchedulerError, apsw.Error) as error:
            return _refused(group, self._known(error))
        self.is_full = False
        return answers

    def _insist(self, group: list[_Asked]) -> list[Answer]:
        """Commit essential changes on a full disk: first as it is, then with the reserve."""
        failure: Exception = no_room()
        if not group:
            return []
        for make_room in (None, self._give_back, self._checkpointer.recycle):
            if make_room is not None:
                make_room()
            try:
                return self._commit(group)
            except StorageFullError as full:
                failure = full
            except (SchedulerError, apsw.Error) as error:
                return _refused(group, self._known(error))
        return _refused(group, failure)

    def _commit(self, group: Sequence[_Asked]) -> list[Answer]:
        """Commit a group whole, or raise what SQLite said and leave nothing of it."""
        if self.damage is not None:
            raise self.damage
        is_durable = any(asked.durable for asked in group)
        before = self._connection.total_changes()
        commits = 0
        try:
            with self._checkpointer.turn, translated_errors():
                self._connection.execute(
                    f"pragma synchronous = {'full' if is_durable else 'normal'}"
                )
                self._connection.execute("begin immediate")
                answers = [self._apply(asked) for asked in group]
                if is_durable and self._connection.total_changes() > before:
                    commits = count_commit(self._connection)
                self._connection.execute("commit")
        except BaseException:
            self._abandon()
            raise
        if commits and self._mark is not None:
            self._mark.raise_to(commits)
        return answers

    def _apply(self, asked: _Asked) -> Answer:
        self._connection.execute("savepoint change")
        try:
            result = asked.change(self._connection)
        except _WHOLE:
            raise
        except Exception as error:  # noqa: BLE001 - a change's failure belongs to its caller alone
            self._connection.execute("rollback to change")
            self._connection.execute("release change")
            return asked, None, error
        self._connection.execute("release change")
        return asked, result, None

    def _abandon(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("rollback")
            except apsw.Error as error:
                _log.warning("rollback_failed", error=type(error).__name__)

    def _is_log_in_haste(self) -> bool:
        """Whether commits come faster than checkpoints."""
        try:
            return self._log.stat().st_size > _LONG_LOG_BYTES
        except OSError:
            return False

    def _require_room(self) -> None:
        """Refuse while the reserve is given back and there is no room to make it again."""
        if self._reserve is not None and not self._reserve.make():
            raise no_room()

    def _give_back(self) -> None:
        if self._reserve is not None:
            self._reserve.give_back()

    def _known(self, error: Exception) -> Exception:
        """Remember a damage: what follows is refused without touching the file again."""
        if isinstance(error, LedgerCorruptError) and self.damage is None:
            self.damage = error
            _log.error("ledger_damaged", error=error.message)
        return error


def _refused(group: Sequence[_Asked], error: BaseException) -> list[Answer]:
    return [(asked, None, error) for asked in group]
