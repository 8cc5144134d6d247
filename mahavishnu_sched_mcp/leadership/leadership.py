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
from typing import TYPE_CHECKING, NamedTuple

import structlog

from mahavishnu_sched_mcp.errors import InternalError, SchedulerError
from mahavishnu_sched_mcp.leadership.lock_file import LockFile
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


class Terms(NamedTuple):
    """How long a lease lasts: so long, and a look, after its last renewal a leader is replaced.

    Attributes:
        lasts: Seconds from a renewal to its end.
        renew_every: Seconds between renewals.
        margin: Seconds before the end from which on the leader itself starts nothing any more.
    """

    lasts: float = 8.0
    renew_every: float = 2.0
    margin: float = 2.0


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
        self._holder = Holder(os.getpid(), socket.gethostname(), _boot_id())
        self._task: asyncio.Task[None] | None = None
        self._deposed = asyncio.Event()
        self._trusted_until = 0.0
        self._unled_since: float | None = None
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
        found = self._ledger.read(lease.read)
        is_live = found.is_live(boot=self._holder.boot, now_ms=self._now_ms())
        return is_live and (not found.holds_lock or self._lock.is_held_by_another())

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
            if mine == self.term:
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
            on_deposed: Awaited when another process has taken the lead.
        """
        if self._task is not None:
            return
        await self._stand(on_elected)
        self._task = asyncio.create_task(self._live(on_elected, on_deposed), name="leadership")

    async def stop(self) -> None:
        """Give up the lead, so that another process takes over at once. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.is_leader:
            with contextlib.suppress(SchedulerError):  # then it runs out by itself
                await self.write(lease.give_up)
        self.term = 0
        self._lock.release()

    async def _live(
        self,
        on_elected: Callable[[int], Awaitable[None]],
        on_deposed: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        while True:
            try:
                if self.is_leader:
                    await self._keep()
                    await on_deposed()
                else:
                    await asyncio.sleep(_RETRY_SECONDS)
                    await self._stand(on_elected)
            except SchedulerError as error:  # a full disk must not end the wait for the lead
                _log.warning("election_failed", code=error.code, error=error.message)
            except Exception:  # noqa: BLE001 - the waiter's loop guard: without it nobody leads
                _log.exception("election_broke")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _stand(self, on_elected: Callable[[int], Awaitable[None]]) -> None:
        """Take the lead where it is free; a leader that cannot begin does not stay one."""
        if await self._try():
            try:
                await on_elected(self.term)
            except BaseException:
                self.term = 0
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

    async def _try(self) -> bool:
        """Take the lead where nobody has it."""
        has_lock = self._lock.take()
        now = self._monotonic()
        found = self._ledger.read(lease.read)
        if not self._is_free(found, has_lock=has_lock, now=now):
            # The leader took it from a stopped one and waits for the lock: it is the leader's.
            self._lock.release()
            return False
        expires_ms = int((now + self._terms.lasts) * 1e3)
        at = self._clock.now()
        term = await self._ledger.write(
            lambda db: lease.take(
                db,
                self._holder,
                after=found.term,
                expires_ms=expires_ms,
                holds_lock=has_lock,
                at=at,
            )
        )
        if term is None:
            self._lock.release()
            return False
        self._trusted_until = now + self._terms.lasts - self._terms.margin
        self._deposed.clear()
        self._unled_since = None
        self.term = term
        _log.info("lead_taken", term=term, has_lock=has_lock)
        return True

    def _is_free(self, found: lease.Lease, *, has_lock: bool, now: float) -> bool:
        is_live = found.is_live(boot=self._holder.boot, now_ms=int(now * 1e3))
        if has_lock:
            return not is_live or found.holds_lock  # who held the lock is dead
        if is_live:
            self._unled_since = None
            return False
        if found.expires_ms and found.holder.boot == self._holder.boot:
            return True  # stopped, with the lock in its hand
        # Whoever holds the lock is about to write its name, or was stopped just then.
        self._unled_since = now if self._unled_since is None else self._unled_since
        return now - self._unled_since >= self._terms.lasts

    def _now_ms(self) -> int:
        return int(self._monotonic() * 1e3)


def _boot_id() -> str:
    """Tell this start of the machine from others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
