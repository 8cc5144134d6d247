"""Several servers on one data dir: one fires, all of them answer."""

from __future__ import annotations

from pathlib import Path

from mahavishnu_sched_mcp.domain.engine import EngineState
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from tests.factories import (
    MINUTE,
    NO_CHORES,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    an_app,
    an_interval,
    eventually,
    ring,
    runs_of,
    settled,
)

JOB = "apscheduler:a"


async def test_one_of_two_leads(tmp_path: Path) -> None:
    """Both say who; the follower knows the engines from the ledger."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as one, an_app(tmp_path, clock=clock) as two:
        leader, follower = await one.scheduler.status(), await two.scheduler.status()

    assert (one.scheduler.is_leader, leader.leader["is_this_process"]) == (False, True)
    assert follower.leader["is_this_process"] is False
    assert leader.leader["term"] == follower.leader["term"] == 1
    assert follower.engines["apscheduler"]["state"] == EngineState.READY
    assert follower.engines["prefect"]["state"] == EngineState.IDLE


async def test_a_follower_has_every_write(tmp_path: Path) -> None:
    """What it writes is carried out by the leader, and answered as there."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as one, an_app(tmp_path, clock=clock) as two:
        made = await two.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await two.scheduler.update_job(JOB, params={"name": "Ada"})
        await eventually(lambda: _armed(one) == 1, description="the leader has armed the job")
        await ring(one, clock)
        runs = await settled(two, JOB)
        extra = await two.scheduler.run_job_now(JOB, wait_seconds=5)
        queued = await two.scheduler.enqueue_workflow("greeting")
        assert queued.run_id is not None
        walked = await two.scheduler.get_run(queued.run_id, wait_seconds=5)
        cancelled = await two.scheduler.cancel_job(JOB)
        listed = await one.scheduler.list_jobs(state=JobState.CANCELLED)

    assert made.outcome == "created"
    assert [run.output.text for run in runs] == ["hello Ada"]
    assert extra.state is walked.state is RunState.SUCCEEDED
    assert cancelled.state is JobState.CANCELLED
    assert [job.job_id for job in listed.rows] == [JOB]


async def test_a_follower_can_cancel_a_run_of_the_leader(tmp_path: Path) -> None:
    """The request travels through the ledger."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as one, an_app(tmp_path, clock=clock) as two:
        await one.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(one, clock)
        (run,) = await runs_of(two, JOB)
        cancelled = await two.scheduler.cancel_run(run.run_id)

    assert cancelled.state is RunState.CANCELLED


async def test_a_follower_fires_nothing(tmp_path: Path) -> None:
    """Its alarm clock stands, though time passes."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=ManualClock()) as one, an_app(tmp_path, clock=clock) as two:
        await two.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        clock.shift(10 * MINUTE)
        await eventually(lambda: _armed(one) == 1, description="the leader has armed the job")
        runs = await runs_of(two, JOB)

    assert runs == []
    assert _armed(two) == 0


async def test_a_follower_takes_over_when_the_leader_ends(tmp_path: Path) -> None:
    """The term rises, the jobs go on, and what the other left is accounted for."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as one, an_app(tmp_path, clock=clock) as two:
        await one.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await one.stop_scheduler(drain=0)
        clock.shift(3 * MINUTE)
        await eventually(lambda: two.scheduler.is_leader, description="the other leads")
        runs = await settled(two, JOB, count=2)
        status = await two.scheduler.status()

    assert status.leader["term"] == 2
    assert [(run.state, run.fires, run.scheduled_for) for run in runs] == [
        (RunState.MISSED, 2, TWO_O_CLOCK + MINUTE),
        (RunState.SUCCEEDED, 1, TWO_O_CLOCK + 3 * MINUTE),
    ]


async def test_the_leader_keeps_the_servers_own_jobs(tmp_path: Path) -> None:
    """Their period is the settings'; null ends one, and they stay out of the lists."""
    clock = ManualClock()
    both = NO_CHORES | {"health_check_seconds": 30, "metrics_collection_seconds": 60}
    async with an_app(tmp_path, clock=clock, internal_tasks=both) as app:
        hidden = await app.scheduler.list_jobs()
        shown = await app.scheduler.list_jobs(include_system=True)
        await ring(app, clock, by=MINUTE / 2)
        checked = (await app.scheduler.get_job("apscheduler:system.health-check")).job
        runs = await app.scheduler.list_runs()
        check = (await settled(app, "apscheduler:system.health-check"))[0]
    fewer = NO_CHORES | {"health_check_seconds": 45}
    async with an_app(tmp_path, clock=clock, internal_tasks=fewer) as app:
        later = (await app.scheduler.get_job("apscheduler:system.health-check")).job
        gone = (await app.scheduler.get_job("apscheduler:system.metrics-collection")).job
    async with an_app(tmp_path, clock=clock, internal_tasks=fewer) as app:
        same = (await app.scheduler.get_job("apscheduler:system.health-check")).job

    assert (hidden.total, shown.total, runs.total) == (0, 2, 0)
    assert checked.origin == "system"
    assert check.state is RunState.SUCCEEDED
    assert '"ledger"' in check.output.text
    assert later.definition.trigger_requested == {"type": "interval", "seconds": 45.0}
    assert gone.state is JobState.CANCELLED
    assert same.revision == later.revision


def _armed(app: object) -> int:
    return int(app.scheduler._parts.lead._dispatcher._alarm.armed)  # type: ignore[attr-defined]  # an app
