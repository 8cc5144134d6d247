"""Candidates for the lead of one data dir, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mahavishnu_sched_mcp.leadership import Leadership, Terms
from mahavishnu_sched_mcp.ledger import Ledger
from tests.factories import ManualClock

TERMS = Terms(lasts=8.0, renew_every=2.0, margin=2.0)


class Ticks:
    """A monotonic clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Give the seconds."""
        return self.now


class Candidate(Leadership):
    """One process's claim, with its own hold on the ledger.

    It does nothing by itself: a test says when it looks and when it renews. So one that is left
    alone is a stopped process.
    """

    async def look(self) -> bool:
        """Take the lead where it is free."""
        return await self._try()

    def die(self) -> None:
        """Let go of what the operating system takes back at the end of a process."""
        self._lock.release()

    @property
    def has_lock(self) -> bool:
        """Whether the lock file is its own."""
        return self._lock.is_held


type Candidates = Callable[[], Candidate]


@asynccontextmanager
async def standing(
    folder: Path, *, count: int, ticks: Ticks, terms: Terms = TERMS
) -> AsyncIterator[list[Candidate]]:
    """Make so many candidates, each with a hold on the ledger of its own."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            ledger = Ledger(folder / "ledger.db")
            await ledger.open()
            stack.push_async_callback(ledger.close)
            candidate = Candidate(
                folder / "leader.lock",
                ledger=ledger,
                clock=ManualClock(),
                terms=terms,
                monotonic=ticks,
            )
            stack.push_async_callback(candidate.stop)
            made.append(candidate)
        yield made
