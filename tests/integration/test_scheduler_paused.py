"""A pause is accounted for, however it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.server.views import job_view, run_view
from tests.factories import MINUTE, ManualClock, an_app, an_interval, ring, runs_of, settled
from tests.faults.reference import Span, discrepancies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler

TICK = "apscheduler:tick"
ENDS: dict[str, Callable[[MahavishnuScheduler], Awaitable[Any]]] = {
    "resumed": lambda it: it.resume_job(TICK),
    "given another trigger": lambda it: it.update_job(TICK, trigger=an_interval(90)),
    "replaced": lambda it: it.schedule_internal_task(
        "greet", trigger=an_interval(90), id="tick", replace=True
    ),
    "cancelled": lambda it: it.cancel_job(TICK),
}


@pytest.mark.parametrize("how", ENDS)
async def test_the_fires_of_a_pause_are_on_record(tmp_path: Path, how: str) -> None:
    """A paused job that is resumed, changed, replaced or cancelled leaves no fire unrecorded."""
    clock = ManualClock()
    made = clock.now()
    async with an_app(tmp_path / "data", clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(), id="tick")
        await ring(app, clock)
        await settled(app, TICK)
        await app.scheduler.pause_job(TICK)
        clock.shift(5 * MINUTE + timedelta(seconds=10))

        await ENDS[how](app.scheduler)

        first = {"type": "interval", "seconds": 60, "start_at": (made + MINUTE).isoformat()}
        spans = [Span(first, after=made, surely_until=clock.now(), maybe_until=clock.now())]
        job = job_view((await app.scheduler.get_job(TICK)).job)
        runs = [run_view(run) for run in await runs_of(app, TICK)]
        assert discrepancies(job, runs, spans) == []
