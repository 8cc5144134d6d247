"""What cache_cleanup does to a server's jobs and runs, and what it leaves alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.run import Run, RunState
from mahavishnu_sched_mcp.errors import JobNotFoundError, RunNotFoundError
from tests.factories import (
    MINUTE,
    NO_CHORES,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    a_cron,
    a_date,
    an_app,
    an_interval,
    ring,
    runs_of,
    settled,
)

JOB = "apscheduler:a"
CLEANUP = "apscheduler:system.cache-cleanup"
DAY = timedelta(days=1)


async def fire(app: MahavishnuApp, clock: ManualClock, *, times: int, job_id: str = JOB) -> None:
    """Let a job of one minute fire, each run after the other."""
    for _ in range(times):
        await ring(app, clock)
        await settled(app, job_id)


async def clean(app: MahavishnuApp) -> Run:
    """Run the cleanup now, and give its run."""
    await app.scheduler.schedule_internal_task("cache_cleanup", trigger=a_cron("0 0 1 1 *"), id="c")
    run = await app.scheduler.run_job_now("apscheduler:c", wait_seconds=10)
    assert run.state is RunState.SUCCEEDED, run
    return run


async def test_the_cleanup_runs_by_itself_and_says_what_it_freed(tmp_path: Path) -> None:
    """Every internal_tasks.cache_cleanup_seconds; by kind, with the ledger's size around it."""
    clock = ManualClock()
    chores = NO_CHORES | {"cache_cleanup_seconds": 600}
    rules = {"runs_per_job": 3}
    async with an_app(tmp_path, clock=clock, internal_tasks=chores, retention=rules) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await fire(app, clock, times=9)
        await ring(app, clock)
        (run,) = await settled(app, CLEANUP)
        await settled(app, JOB)
        kept = await runs_of(app, JOB)
        counts = (await app.scheduler.get_job(JOB)).job.counts

    freed = json.loads(run.output.text)
    assert run.state is RunState.SUCCEEDED
    assert freed["removed"]["runs"] == freed["removed"]["attempts"] >= 6
    assert set(freed["removed"]) >= {"jobs", "nodes", "idempotency_keys", "metric_samples"}
    assert freed["ledger"]["before"].keys() == {"bytes", "free_bytes", "freelist_count"}
    assert freed["ledger"]["after"]["bytes"] == freed["ledger"]["before"]["bytes"]
    assert len(kept) in {3, 4}  # the tenth run may have ended after the cleanup
    assert counts.succeeded == 10


async def test_the_cleanup_can_be_switched_off(tmp_path: Path) -> None:
    """Null ends it, as every chore."""
    chores = NO_CHORES | {"cache_cleanup_seconds": None}
    async with an_app(tmp_path, clock=ManualClock(), internal_tasks=chores) as app:
        with pytest.raises(JobNotFoundError):
            await app.scheduler.get_job(CLEANUP)


async def test_old_runs_are_gone_for_every_tool(tmp_path: Path) -> None:
    """`list_runs` counts what is kept, `get_run` knows it no more."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock, retention={"runs_days": 2}) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await fire(app, clock, times=2)
        old, last = await runs_of(app, JOB)
        await app.scheduler.pause_job(JOB)
        clock.shift(3 * DAY)
        await clean(app)
        page = await app.scheduler.list_runs(job_id=JOB)
        job = (await app.scheduler.get_job(JOB)).job
        with pytest.raises(RunNotFoundError):
            await app.scheduler.get_run(old.run_id)

    assert (page.total, [run.run_id for run in page.rows]) == (1, [last.run_id])
    assert job.last_run is not None
    assert (job.last_run.run_id, job.counts.succeeded) == (last.run_id, 2)


@pytest.mark.parametrize("change", ["update", "replace", "pause and resume"])
async def test_no_fire_is_made_twice_when_the_clock_is_set_back(
    change: str, tmp_path: Path
) -> None:
    """Not even where its record was removed and a change counts from the earlier hour."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock, retention={"runs_per_job": 1}) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")
        await fire(app, clock, times=4)
        removed = [run.scheduled_for for run in (await runs_of(app, JOB))[:3]]
        clock.shift(timedelta(seconds=20))  # what has just ended stays for a moment
        await clean(app)
        kept = await runs_of(app, JOB)
        clock._now = TWO_O_CLOCK
        if change == "update":
            await app.scheduler.update_job(
                JOB, trigger=an_interval(60, start_at=removed[0].isoformat())
            )
        elif change == "replace":
            again = an_interval(60, start_at=removed[0].isoformat())
            await create("greet", trigger=again, params={"times": 2}, id="a", replace=True)
        else:
            await app.scheduler.pause_job(JOB)
            await app.scheduler.resume_job(JOB)
        rearmed = (await app.scheduler.get_job(JOB)).job
        await fire(app, clock, times=5)
        runs = await runs_of(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert len(kept) == 1
    newest = TWO_O_CLOCK + 4 * MINUTE
    assert rearmed.next_run_at == (newest + MINUTE if "pause" in change else removed[0])
    assert [run.scheduled_for for run in runs] == [TWO_O_CLOCK + n * MINUTE for n in (4, 5)]
    assert job.counts.succeeded == 5


async def test_a_cancelled_job_is_found_until_retention_removes_it(tmp_path: Path) -> None:
    """Then its id is as good as new, and its runs have ids of their own."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock, retention={"runs_days": 2}) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")
        await fire(app, clock, times=1)
        (old,) = await runs_of(app, JOB)
        await app.scheduler.cancel_job(JOB)
        await clean(app)
        clock.shift(1.5 * DAY)
        await clean(app)
        found = (await app.scheduler.get_job(JOB)).job.state
        clock.shift(DAY)
        await clean(app)
        with pytest.raises(JobNotFoundError):
            await app.scheduler.get_job(JOB)
        clock._now = TWO_O_CLOCK  # the same instants once more
        made = await create("greet", trigger=an_interval(60), id="a")
        await fire(app, clock, times=1)
        (new,) = await runs_of(app, JOB)

    assert (found, made.outcome) == ("cancelled", "created")
    assert (made.job.fired, made.job.counts.succeeded) == (0, 0)
    assert new.scheduled_for == old.scheduled_for
    assert new.run_id != old.run_id


async def test_a_repeated_call_finds_its_work_for_a_week(tmp_path: Path) -> None:
    """A key holds the job and the run it names, whatever retention says."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock, retention={"runs_days": 0.5}) as app:
        create = app.scheduler.schedule_internal_task
        first = await create("greet", trigger=a_date(60), id="a", idempotency_key="k")
        await fire(app, clock, times=1)
        await clean(app)
        clock.shift(6 * DAY)
        await clean(app)
        repeated = await create("greet", trigger=a_date(60), id="a", idempotency_key="k")
        clock.shift(2 * DAY)
        await clean(app)
        anew = await create("greet", trigger=a_date(60), id="a", idempotency_key="k")

    assert (repeated.outcome, repeated.job.serial) == ("existed", first.job.serial)
    assert (anew.outcome, anew.job.serial == first.job.serial) == ("created", False)


async def test_claims_go_on_while_the_cleanup_works(tmp_path: Path) -> None:
    """A job that fires meanwhile runs, and a run in progress ends as it would."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock, retention={"runs_per_job": 1}) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")
        await create("wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="w")
        await fire(app, clock, times=3)
        clock.shift(timedelta(seconds=20))
        await clean(app)
        await fire(app, clock, times=1)
        gate.open()
        waited = [run.state for run in await settled(app, "apscheduler:w")]
        runs = await runs_of(app, JOB)

    assert RunState.SUCCEEDED in waited
    assert [run.scheduled_for for run in runs] == [TWO_O_CLOCK + n * MINUTE for n in (3, 4)]
