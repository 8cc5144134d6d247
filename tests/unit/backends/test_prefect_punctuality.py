"""A flow run handed out early waits for its time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mahavishnu_sched_mcp.backends.prefect.punctuality import wait_until_due

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class SleepingClock:
    """A clock that moves by what is slept, each time a tenth short of it."""

    def __init__(self) -> None:
        self.instant = NOON

    def now(self) -> datetime:
        """Give the instant."""
        return self.instant

    def monotonic(self) -> float:
        """Give seconds since noon."""
        return (self.instant - NOON).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wake up somewhat early, as a wall clock that is set back makes it look."""
        self.instant += max(timedelta(seconds=seconds * 0.9), timedelta(milliseconds=1))


async def test_a_run_does_not_start_before_its_time() -> None:
    """Prefect hands a run out a moment early; it starts at its instant or after."""
    clock = SleepingClock()

    has_waited = await wait_until_due(NOON + 2.5 * SECOND, clock=clock, sleep=clock.sleep)

    assert has_waited
    assert NOON + 2.5 * SECOND <= clock.now() < NOON + 2.6 * SECOND


@pytest.mark.parametrize("due", [None, NOON, NOON - SECOND])
async def test_a_run_that_is_due_starts_at_once(due: datetime | None) -> None:
    """A late run waits for nothing more."""
    clock = SleepingClock()

    assert not await wait_until_due(due, clock=clock, sleep=clock.sleep)
    assert clock.now() == NOON


async def test_the_wait_can_be_cancelled() -> None:
    """A run cancelled before its time ends its wait."""
    waiting = asyncio.ensure_future(wait_until_due(NOON + SECOND, clock=SleepingClock()))
    await asyncio.sleep(0)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
