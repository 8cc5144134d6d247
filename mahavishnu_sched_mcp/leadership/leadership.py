"""One process of a data dir fires; the others wait for its end.

The ledger's lease row decides, by its rising term: every write of a leader says its term and is
refused, in the same transaction, once there is a newer one. So a leader that was stopped and goes
on writes nothing. The operating system's lock on `leader.lock` only shortens the wait: it ends
with its process, however that ends, and proves that the holder is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import InternalError, SchedulerError, StorageFullError
from mahavishnu_sched_mcp.leadership.lock_file import LockFile
from mahavishnu_sched_mcp.leadership.vacancy import Terms, Vacancy, boot_id, is_led
from mahavishnu_sched_mcp.ledger import lease
from mahavishnu_sched_mcp.ledger.lease import Holder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import apsw

    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.ledger import Ledger

_RETRY_SECONDS = 0.5
_log = structlog.get_logger()


class DeposedError(InternalError):
    """Another process leads by now: what this one wanted to write as leader was refused."""


class Leadership:
    """This process's claim to be the one that fires.

    Args:
        lock_path: The lock file in the data dir; it stays when the lock goes.
        terms: How long a lease lasts.
        monotonic: Seconds of a clock that all processes of the machine share and nobody sets.
    """

    def __init__(
        self,
        lock_path: Path,
        *,
        ledger: Ledger,
        clock: Clock,
        terms: Terms | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = LockFile(lock_path)
        self._ledger = ledger
        self._clock = clock
        self._terms = terms or Terms()
        self._monotonic = monotonic
        self._holder = Holder(os.getpid(), socket.gethostname(), boot_id())
        self._vacancy = Vacancy(lasts=self._terms.lasts, boot=self._holder.boot)
        self._task: asyncio.Task[None] | None = None
        self._on_deposed: Callable[[], Coroutine[None, None, None]] | None = None
        self._deposed = asyncio.Event()
        self._trusted_until = 0.0
        self.term = 0

    @property
    def is_leader(self) -> bool:
        """Whether this process may fire."""
        return self.term > 0

    @property
    def is_trusted(self) -> bool:
        """Whether the last renewal is so fresh that nobody else can lead."""
        return self.is_leader and self._monotonic() < self._trusted_until

    def is_somebody_leading(self) -> bool:
        """Whether any process leads now, this one or another."""
        if self.is_leader:
            return True
        return is_led(self._ledger.read(lease.read), self._lock, now=self._monotonic())

    def has_newest_term(self) -> bool:
        """Whether this process leads by the ledger, too: it may have been stopped and replaced."""
        return self.is_leader and self._ledger.read(lease.term) == self.term

    async def write[T](
        self,
        change: Callable[[apsw.Connection], T],
        *,
        durable: bool = True,
        essential: bool = False,
        term: int = 0,
    ) -> T:
        """Commit a change that only the leader may make.

        Args:
            change: Gets the connection inside a transaction.
            durable: See `Ledger.write`.
            essential: See `Ledger.write`.
            term: The term in which the work began; 0 takes the present one.

        Raises:
            DeposedError: this process does not lead, or not in that term any more; nothing was
                changed.
            SchedulerError: as `Ledger.write`.
        """
        mine = term or self.term

        def fenced(db: apsw.Connection) -> T:
            newest = lease.term(db)
            if mine == 0 or newest != mine:
                msg = f"Term {mine} is over: the ledger is in term {newest}."
                raise DeposedError(msg, hint="get_status shows who leads.")
            return change(db)

        try:
            return await self._ledger.write(fenced, durable=durable, essential=essential)
        except DeposedError:
            if mine and mine == self.term:
                self._deposed.set()
            raise

    async def renew(self) -> None:
        """Prolong the lease.

        Raises:
            DeposedError: another process leads.
            SchedulerError: the ledger takes no writes now; nobody else can take the lead either.
        """
        begun = self._monotonic()
        self._lock.take()  # one who took the lead from a stopped leader gets the lock at its end
        expires_ms, holds_lock = int((begun + self._terms.lasts) * 1e3), self._lock.is_held
        await self.write(
            lambda db: lease.renew(db, expires_ms=expires_ms, holds_lock=holds_lock), durable=False
        )
        self._trusted_until = begun + self._terms.lasts - self._terms.margin

    async def start(
        self,
        on_elected: Callable[[int], Awaitable[None]],
        on_deposed: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Try once now, and go on in the background: wait for the lead, keep it, wait again.

        Args:
            on_elected: Awaited with each new term, before anything fires.
            on_deposed: Awaited when another process has taken the lead, and where `on_elected`
                failed half-way.

        Raises:
            SchedulerError: the lead was free and this process could not begin. On a full disk
                it begins when there is room.
        """
        if self._task is not None:
            return
        self._on_deposed = on_deposed
        try:
            await self._stand(on_elected)
        except StorageFullError as error:
            _log.warning("election_failed", code=error.code, error=error.message)
        self._task = asyncio.create_task(self._live(on_elected), name="leadership")

    async def retire(self) -> None:
        """Stand for no election any more; a lead that there is is kept until `stop`. Idempotent.

        So nothing begins to lead while its process ends.
        """
        await self._end_task()
        if self.is_leader:
            self._task = asyncio.create_task(self._keep(), name="leadership")

    async def stop(self) -> None:
        """Give up the lead, so that another process takes over at once. Idempotent."""
        await self._end_task()
        await self._resign()

    async def _live(self, on_elected: Callable[[int], Awaitable[None]]) -> None:
        while True:
            try:
                if self.is_leader:
                    await self._keep()
                else:
                    await asyncio.sleep(_RETRY_SECONDS)
                    await self._stand(on_elected)
            except SchedulerError as error:  # a full disk must not end the wait for the lead
                _log.warning("election_failed", code=error.code, error=error.message)
            except Exception:  # noqa: BLE001 - the waiter's loop guard: without it nobody leads
                _log.exception("election_broke")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _end_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stand(self, on_elected: Callable[[int], Awaitable[None]]) -> None:
        """Take the lead where it is free; one that cannot begin leaves it to another process."""
        if not await self._try():
            return
        try:
            await on_elected(self.term)
        except BaseException:
            try:
                await self._step_down()
            finally:
                await self._resign()
            raise

    async def _keep(self) -> None:
        """Prolong the lease until another process has taken it; then stop to be the leader."""
        while not self._deposed.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._deposed.wait(), self._terms.renew_every)
            try:
                await self.renew()
            except DeposedError:
                break
            except SchedulerError as error:
                _log.warning("lease_not_renewed", code=error.code, error=error.message)
        _log.warning("lead_lost", term=self.term)
        self.term = 0
        self._deposed.clear()
        self._lock.release()
        await self._step_down()

    async def _step_down(self) -> None:
        if self._on_deposed is not None:
            await self._on_deposed()

    async def _resign(self) -> None:
        if self.is_leader:
            with contextlib.suppress(SchedulerError):  # then it runs out by itself
                await self.write(lease.give_up)
        self.term = 0
        self._deposed.clear()
        self._lock.release()

    async def _try(self) -> bool:
        """Take the lead where nobody has it."""
        has_lock = self._lock.take()
        now = self._monotonic()
        found = self._ledger.read(lease.read)
        if not self._vacancy.is_seen(found, has_lock=has_lock, now=now):
            # The leader took it from a stopped one and waits for the lock: it is the leader's.
            self._lock.release()
            return False
        taken = lease.Lease(
            found.term + 1,
            self._holder,
            int((now + self._terms.lasts) * 1e3),
            has_lock,
            self._clock.now(),
        )
        if not await self._ledger.write(lambda db: lease.take(db, taken, seen=found)):
            self._lock.release()
            return False
        self._trusted_until = now + self._terms.lasts - self._terms.margin
        self._deposed.clear()
        self._vacancy.fill()
        self.term = taken.term
        _log.info("lead_taken", term=self.term, has_lock=has_lock)
        return True
