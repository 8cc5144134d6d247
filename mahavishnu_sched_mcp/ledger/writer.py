"""One thread that commits: many small changes share one transaction."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import apsw
import structlog

from mahavishnu_sched_mcp.errors import InternalError, SchedulerError
from mahavishnu_sched_mcp.ledger.database import translated_errors

if TYPE_CHECKING:
    from collections.abc import Callable

type Change = Callable[[apsw.Connection], Any]

_CHECKPOINT_PAUSE_SECONDS = 0.25
_log = structlog.get_logger()


class Writer:
    """Takes changes from any thread and commits them in the order they came.

    Each change runs in a savepoint of the group's transaction, so one that refuses takes
    nothing of the others with it. Answers are given only after the commit.

    Args:
        connection: Used by this thread alone from now on.
        checkpoints: A second connection, for the checkpoints: their fsync must not stand in
            front of a claim.
    """

    def __init__(self, connection: apsw.Connection, checkpoints: apsw.Connection) -> None:
        self._connection = connection
        self._checkpoints = checkpoints
        self._wake = threading.Condition()
        self._waiting: list[tuple[Change, bool, Future[Any]]] = []
        self._is_closed = False
        self._dirty = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, name="ledger-writer", daemon=True),
            threading.Thread(target=self._checkpoint, name="ledger-checkpoint", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, change: Change, *, durable: bool) -> Future[Any]:
        """Queue one change and give the future of its result.

        Args:
            change: Gets the connection inside a transaction; what it raises is the future's.
            durable: Sync the disk before answering (`synchronous=FULL`); acknowledged changes
                need it, bookkeeping survives a kill without.

        Raises:
            InternalError: the writer is closed.
        """
        future: Future[Any] = Future()
        with self._wake:
            if self._is_closed:
                msg = "The ledger is closed."
                raise InternalError(msg)
            self._waiting.append((change, durable, future))
            self._wake.notify()
        return future

    def close(self, *, timeout: float = 5.0) -> None:
        """Commit what waits, then stop; changes that come later are refused. Idempotent."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._dirty.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._is_closed:
                    self._wake.wait()
                group, self._waiting = self._waiting, []
            if not group:
                return
            self._commit(group)
            self._dirty.set()

    def _commit(self, group: list[tuple[Change, bool, Future[Any]]]) -> None:
        group = [item for item in group if item[2].set_running_or_notify_cancel()]
        level = "full" if any(durable for _, durable, _ in group) else "normal"
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with translated_errors():
                self._connection.execute(f"pragma synchronous = {level}")
                self._connection.execute("begin immediate")
                answers = [(future, *self._apply(change)) for change, _, future in group]
                self._connection.execute("commit")
        except (SchedulerError, apsw.Error) as error:  # whatever it is, the thread goes on
            self._abandon()
            answers = [(future, None, error) for _, _, future in group]
        for future, result, failure in answers:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(result)

    def _apply(self, change: Change) -> tuple[Any, BaseException | None]:
        self._connection.execute("savepoint change")
        try:
            result = change(self._connection)
        except (apsw.FullError, apsw.IOError, apsw.CorruptError, apsw.NotADBError):
            raise  # the whole transaction is in doubt
        except Exception as error:  # noqa: BLE001 - a change's failure belongs to its caller alone
            self._connection.execute("rollback to change")
            self._connection.execute("release change")
            return None, error
        self._connection.execute("release change")
        return result, None

    def _abandon(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("rollback")
            except apsw.Error as error:
                _log.warning("rollback_failed", error=type(error).__name__)

    def _checkpoint(self) -> None:
        while not self._is_closed:
            self._dirty.wait()
            self._dirty.clear()
            try:
                self._checkpoints.execute("pragma wal_checkpoint(passive)").fetchall()
            except apsw.Error as error:
                _log.warning("checkpoint_failed", error=type(error).__name__)
            time.sleep(_CHECKPOINT_PAUSE_SECONDS)
