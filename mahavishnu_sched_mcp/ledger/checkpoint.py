"""Moves what is committed from the write-ahead log into the ledger, in a thread of its own."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import apsw
import structlog

from mahavishnu_sched_mcp.ledger.database import close_last, query

_PAUSE_SECONDS = 0.25
_LONG_LOG_PAGES = 2048
"""8 MiB: from here on writers wait a moment, so that the log can begin anew."""
_TURN_PAUSE_SECONDS = 2.0
_BUSY_TIMEOUT_MS = 50
_log = structlog.get_logger()


class Checkpointer:
    """Keeps the log short.

    Under steady load a checkpoint never catches up with the commits, and the log would grow for
    ever: past a length it takes the writer's turn for the rest. A reader that stays in one
    transaction keeps the log growing as long as it stays.

    Args:
        connection: Used by this thread alone from now on.

    Attributes:
        turn: Held by the writer during a commit.
        log_pages: How long the log was at the last look.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.turn = threading.Lock()
        self.log_pages = 0
        self._connection = connection
        self._connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        self._is_in_use = threading.Lock()
        self._is_asked = threading.Event()
        self._is_closed = threading.Event()
        self._is_failing = False
        self._next_turn = 0.0
        self._thread = threading.Thread(target=self._work, name="ledger-checkpoint", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Something was committed."""
        self._is_asked.set()

    def recycle(self) -> None:
        """Empty the log now, so that what it occupies can be written again; for the writer."""
        with self._is_in_use:
            self._run("restart")

    def begin_anew(self) -> None:
        """Take the writer's turn for what is left, unless a reader was in the way just now."""
        if time.monotonic() < self._next_turn:
            return
        with self.turn, self._is_in_use:
            if not self._run("restart"):
                self._next_turn = time.monotonic() + _TURN_PAUSE_SECONDS

    def close(self, *, timeout: float, is_sound: bool) -> bool:
        """End the thread and empty the log for good. Idempotent.

        Args:
            is_sound: False leaves the log as it is: a damaged ledger is not written to.

        Returns:
            Whether the connection is closed; otherwise the thread still waits for the disk.
        """
        self._is_closed.set()
        self._is_asked.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if is_sound:
            with suppress(apsw.ConnectionClosedError):
                self._run("truncate")
                close_last(self._connection)
        self._connection.close()
        return True

    def _work(self) -> None:
        while True:
            self._is_asked.wait()
            if self._is_closed.is_set():
                return
            self._is_asked.clear()
            with self._is_in_use:
                is_whole = self._run("passive")
            if not is_whole and self.log_pages > _LONG_LOG_PAGES:
                self.begin_anew()
            if self._is_failing:
                self._is_asked.set()
            self._is_closed.wait(_PAUSE_SECONDS)

    def _run(self, mode: str) -> bool:
        """Make one checkpoint, and say whether all of the log is in the ledger now."""
        try:
            (seen,) = query(self._connection, f"pragma wal_checkpoint({mode})")
        except apsw.ConnectionClosedError:
            raise
        except apsw.Error as error:
            if not self._is_failing:
                _log.warning("checkpoint_failed", error=type(error).__name__)
            self._is_failing = True
            return False
        self._is_failing = False
        self.log_pages = max(0, seen["log"])
        return not seen["busy"] and self.log_pages == seen["checkpointed"]
