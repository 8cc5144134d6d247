"""One process of a data dir fires; the others wait for its end.

The operating system's lock on `leader.lock` decides: it ends with its process, however that
ends. The ledger counts the terms.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.ledger import reports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.ledger import Ledger

_RETRY_SECONDS = 0.5
_log = structlog.get_logger()


class Leadership:
    """This process's claim to be the one that fires.

    Args:
        lock_path: The lock file in the data dir; it stays when the lock goes.
    """

    def __init__(self, lock_path: Path, *, ledger: Ledger, clock: Clock) -> None:
        self._lock_path = lock_path
        self._ledger = ledger
        self._clock = clock
        self._fd: int | None = None
        self._task: asyncio.Task[None] | None = None
        self.term = 0

    @property
    def is_leader(self) -> bool:
        """Whether this process may fire."""
        return self.term > 0

    def is_somebody_leading(self) -> bool:
        """Whether any process leads now, this one or another."""
        if self.is_leader:
            return True
        try:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    async def start(self, on_elected: Callable[[int], Awaitable[None]]) -> None:
        """Try once now, and go on trying in the background until elected.

        Args:
            on_elected: Awaited once with the new term, before anything fires.
        """
        if self._task is not None or self.is_leader:
            return
        if not await self._try(on_elected):
            self._task = asyncio.create_task(self._wait(on_elected), name="leadership")

    async def stop(self) -> None:
        """Give up the lead, so that another process takes over at once. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self.term = 0
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    async def _wait(self, on_elected: Callable[[int], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                if await self._try(on_elected):
                    return
            except SchedulerError as error:  # a full disk must not end the wait for the lead
                _log.warning("election_failed", code=error.code, error=error.message)
            except Exception:  # noqa: BLE001 - the waiter's loop guard: without it nobody leads
                _log.exception("election_broke")

    async def _try(self, on_elected: Callable[[int], Awaitable[None]]) -> bool:
        if self._fd is None:
            self._fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        now, pid, host = self._clock.now(), os.getpid(), socket.gethostname()
        term = await self._ledger.write(
            lambda db: reports.take_lead(db, pid=pid, host=host, at=now)
        )
        self.term = term
        _log.info("lead_taken", term=term)
        await on_elected(term)
        return True
