"""A fixed day in the life of the engine, told to a journal step by step.

A program of its own, so that it can be killed: `python -m tests.faults.scenario DATA JOURNAL`.
The clock is moved by hand, so every time it is the same day.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.server.views import job_view
from tests.factories import (
    MINUTE,
    ManualClock,
    a_cron,
    a_date,
    an_app,
    an_interval,
    eventually,
    policies,
    ring,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.app import MahavishnuApp
    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler

type Facts = dict[str, Any]
type Act = Callable[[MahavishnuScheduler], Awaitable[Any]]

_TRIES = 3
_MOVING = {"next_run_at", "last_run", "counts"}
ONLY = {"prefect_deployments_enabled": False}


@dataclass(frozen=True)
class Journal:
    """What was asked and what was acknowledged, each line written before the next step.

    Attributes:
        path: Outside the data dir.
    """

    path: Path

    def write(self, **line: Any) -> None:
        """Append one line with one write."""
        out = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(out, json.dumps(line).encode() + b"\n")
        os.close(out)

    def read(self) -> list[dict[str, Any]]:
        """Give every line."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]


async def facts_of(app: MahavishnuApp) -> Facts:
    """Give of every job what only a call changes."""
    found: Facts = {}
    for state in (None, JobState.COMPLETED, JobState.CANCELLED):
        page = await app.scheduler.list_jobs(state=state, limit=200)
        for job in page.rows:
            shown = {key: value for key, value in job_view(job).items() if key not in _MOVING}
            if shown["state"] in {"pending", "active", "completed"}:
                shown["state"] = "going"  # on from here by itself
            found[job.job_id] = shown
    return found


async def perform(data_dir: Path, journal: Journal) -> None:
    """Live the day; a step that is refused is asked for again, as a client would."""
    clock = ManualClock()
    journal.write(at=clock.now().isoformat())
    async with an_app(data_dir, clock=clock, schedulers=ONLY) as app:
        for name, act in STEPS:
            if isinstance(act, timedelta):
                journal.write(at=(clock.now() + act).isoformat())
                await _let_fire(app, clock, by=act)
                continue
            journal.write(begun=name)
            journal.write(done=name, run_id=await _insist(app, act), facts=await facts_of(app))
    journal.write(over=True)


async def all_over(app: MahavishnuApp, *, within: float = 15) -> None:
    """Wait until no run waits or goes on."""

    async def is_quiet() -> bool:
        for state in (RunState.PENDING, RunState.RUNNING):
            if (await app.scheduler.list_runs(state=state)).total:
                return False
        return True

    await eventually(is_quiet, description="every run is over", within=within)


async def _insist(app: MahavishnuApp, act: Act) -> str | None:
    for _ in range(_TRIES - 1):
        try:
            return getattr(await act(app.scheduler), "run_id", None)
        except SchedulerError:
            continue
    return getattr(await act(app.scheduler), "run_id", None)


async def _let_fire(app: MahavishnuApp, clock: ManualClock, *, by: timedelta) -> None:
    await ring(app, clock, by=by)
    await all_over(app)


async def _replay_failed(scheduler: MahavishnuScheduler) -> Any:
    page = await scheduler.list_runs(job_id="apscheduler:failing", state=RunState.FAILED)
    oldest = min(page.rows, key=lambda run: run.scheduled_for)
    return await scheduler.replay_run(oldest.run_id, idempotency_key="replay")


STEPS: list[tuple[str, Act | timedelta]] = [
    (
        "make steady",
        lambda it: it.schedule_internal_task(
            "greet", trigger=an_interval(60), id="steady", idempotency_key="steady"
        ),
    ),
    (
        "make changed",
        lambda it: it.schedule_internal_task("greet", trigger=an_interval(60), id="changed"),
    ),
    (
        "make minutely",
        lambda it: it.schedule_internal_task(
            "greet", trigger=a_cron("* * * * *"), id="minutely", tags=["cron"]
        ),
    ),
    (
        "make failing",
        lambda it: it.schedule_internal_task(
            "fail", trigger=an_interval(60), id="failing", policies=policies(on_interrupt="hold")
        ),
    ),
    ("first minute", MINUTE),
    ("run steady", lambda it: it.run_job_now("apscheduler:steady", idempotency_key="now")),
    (
        "enqueue",
        lambda it: it.enqueue_workflow("greeting", id="order", idempotency_key="order"),
    ),
    ("second minute", MINUTE),
    (
        "retime changed",
        lambda it: it.update_job("apscheduler:changed", trigger=an_interval(90), note="slower"),
    ),
    ("pause steady", lambda it: it.pause_job("apscheduler:steady")),
    ("a pause", 3 * MINUTE),
    ("resume steady", lambda it: it.resume_job("apscheduler:steady")),
    ("reword", lambda it: it.update_job("apscheduler:minutely", params={"name": "again"})),
    ("another minute", MINUTE),
    ("pause changed", lambda it: it.pause_job("apscheduler:changed", note="held")),
    ("replay", _replay_failed),
    ("cancel failing", lambda it: it.cancel_job("apscheduler:failing")),
    ("a long sleep", 120 * MINUTE),
    (
        "make once",
        lambda it: it.schedule_internal_task("greet", trigger=a_date(30), id="once"),
    ),
    ("last minute", MINUTE),
    ("resume changed", lambda it: it.resume_job("apscheduler:changed")),
    ("cancel steady", lambda it: it.cancel_job("apscheduler:steady")),
]

SCHEDULED = ("steady", "changed", "minutely", "failing", "once")
"""The jobs that have fires to account for."""

if __name__ == "__main__":
    asyncio.run(perform(Path(sys.argv[1]), Journal(Path(sys.argv[2]))))
