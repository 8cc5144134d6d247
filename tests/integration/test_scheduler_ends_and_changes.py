"""Fires around a change of their job: each belongs to the job as it was when it was due."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Run, RunState
from mahavishnu_sched_mcp.scheduler import change
from tests.doors import Door, a_house, keep_at
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    ManualClock,
    an_app,
    an_interval,
    ledger_of,
    policies,
    ring,
    runs_of,
    settled,
)

JOB = "apscheduler:a"


def at(minutes: float) -> datetime:
    """Give the instant so many minutes after the tests' start."""
    return TWO_O_CLOCK + minutes * MINUTE


def told(runs: list[Run]) -> list[tuple[str | None, int, datetime]]:
    """Say of each record its reason, for how many fires it stands, and for when."""
    return [(run.reason, run.fires, run.scheduled_for) for run in runs]


async def test_a_trigger_changed_in_a_pause_leaves_the_old_ones_fires(tmp_path: Path) -> None:
    """Up to the change the pause skipped the old trigger's fires, after it the new one's."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await app.scheduler.pause_job(JOB)
        clock.shift(3 * MINUTE)
        await app.scheduler.update_job(JOB, trigger=an_interval(600))
        clock.shift(20 * MINUTE)
        job = await app.scheduler.resume_job(JOB)
        runs = await runs_of(app, JOB)

    assert told(runs) == [("paused", 3, at(1)), ("paused", 2, at(13))]
    assert (job.counts.skipped, job.next_run_at) == (5, at(33))


@pytest.mark.parametrize("end", ["cancel", "replace"])
async def test_the_fires_of_a_pause_are_on_record_however_it_ends(end: str, tmp_path: Path) -> None:
    """Also where the job is cancelled or replaced before it is resumed."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await app.scheduler.pause_job(JOB)
        clock.shift(3 * MINUTE)
        if end == "cancel":
            await app.scheduler.cancel_job(JOB)
        else:
            await app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(600), id="a", replace=True
            )
        runs = await runs_of(app, JOB)

    assert told(runs) == [("paused", 3, at(1))]


async def test_a_pause_gives_no_fire_beyond_max_runs(tmp_path: Path) -> None:
    """A job that had its last fire does not begin anew when it is resumed."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, max_runs=1)
        await ring(app, clock)
        visit = await door.visited(1)
        await app.scheduler.pause_job(JOB)
        clock.shift(5 * MINUTE)
        resumed = await app.scheduler.resume_job(JOB)
        visit.let_go()
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert resumed.next_run_at is None
    assert [run.state for run in runs] == [RunState.SUCCEEDED]
    assert job.state is JobState.COMPLETED


async def test_the_fires_of_a_pause_do_not_count_for_max_runs(tmp_path: Path) -> None:
    """What was skipped by the pause is not one of the runs that were asked for."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(max_runs=2)
        )
        await app.scheduler.pause_job(JOB)
        clock.shift(5 * MINUTE)
        await app.scheduler.resume_job(JOB)
        for _ in range(3):
            await ring(app, clock)
            await settled(app, JOB)
        runs = await runs_of(app, JOB)

    assert told(runs) == [("paused", 5, at(1)), (None, 1, at(6)), (None, 1, at(7))]


async def test_fires_due_at_a_change_count_and_never_exceed_max_runs(tmp_path: Path) -> None:
    """A change finds three fires due and not taken; the job had two left."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(max_runs=2)
        )
        clock.shift(3 * MINUTE)
        await ledger_of(app).write(
            lambda db: change.pause(db, JOB, note=None, until=None, at=clock.now())
        )
        resumed = await app.scheduler.resume_job(JOB)
        runs = await runs_of(app, JOB)

    assert told(runs) in ([("paused", 2, at(1))], [("policy", 1, at(1)), (None, 1, at(2))])
    assert (resumed.state, resumed.next_run_at, resumed.fired) == (JobState.COMPLETED, None, 2)


async def test_a_job_given_more_runs_goes_on(tmp_path: Path) -> None:
    """While its last run goes on, a higher max_runs brings the next fire back."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, max_runs=1)
        await ring(app, clock)
        await door.visited(1)
        job = await app.scheduler.update_job(JOB, policies={"max_runs": 2})

    assert (job.state, job.next_run_at) == (JobState.ACTIVE, at(2))


async def test_an_earlier_end_takes_the_next_fire_away(tmp_path: Path) -> None:
    """A job never promises a fire after its expires_at."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, seconds=60)
        await ring(app, clock)
        await door.visited(1)
        until = at(2.5).isoformat()
        sooner = await app.scheduler.update_job(JOB, policies={"expires_at": until})
        await ring(app, clock)
        over = (await app.scheduler.get_job(JOB)).job
        later = await app.scheduler.update_job(JOB, policies={"expires_at": at(9).isoformat()})

    assert sooner.next_run_at == at(2)
    assert (over.state, over.next_run_at) == (JobState.ACTIVE, None)
    assert later.next_run_at == at(3)


async def test_a_pause_that_runs_out_does_not_undo_what_was_decided_meanwhile(
    tmp_path: Path,
) -> None:
    """Cancelled or paused anew before its end was noticed: it stays so."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        serial = made.job.serial
        await app.scheduler.pause_job(JOB, until=at(2).isoformat())
        await app.scheduler.pause_job(JOB, until=at(60).isoformat())
        paused = await ledger_of(app).write(lambda db: change.resume_if_due(db, serial, at=at(2)))
        await app.scheduler.cancel_job(JOB)
        cancelled = await ledger_of(app).write(
            lambda db: change.resume_if_due(db, serial, at=at(61))
        )

    assert (paused.state, cancelled.state) == (JobState.PAUSED, JobState.CANCELLED)


async def test_a_clock_set_back_in_a_pause_brings_no_fire_again(tmp_path: Path) -> None:
    """Fires that a gap's one record stands for are not made a second time."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(missed_policy="skip")
        )
        await ring(app, clock, by=timedelta(hours=1))
        await app.scheduler.pause_job(JOB)
        clock.shift(-30 * MINUTE)
        job = await app.scheduler.resume_job(JOB)

    assert job.next_run_at == at(61)


async def test_a_call_repeated_near_the_jobs_end_finds_the_job(tmp_path: Path) -> None:
    """Also where a new job would have no fire any more: what is there is answered."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:

        async def ask() -> str:
            made = await app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(60), id="a", policies=policies(expires_at=at(1.5))
            )
            return made.outcome

        first = await ask()
        clock.shift(timedelta(seconds=45))
        again = await ask()

    assert (first, again) == ("created", "existed")
