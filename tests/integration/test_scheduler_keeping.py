"""Changing jobs: update, pause, resume, cancel, and what becomes of their fires."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, InvalidStateError
from mahavishnu_sched_mcp.scheduler import change
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    a_cron,
    an_app,
    an_interval,
    eventually,
    ledger_of,
    policies,
    ring,
    rows_of,
    runs_of,
    settled,
)

JOB = "apscheduler:a"


def at(minutes: float) -> datetime:
    """Give the instant so many minutes after the tests' start."""
    return TWO_O_CLOCK + minutes * MINUTE


async def test_a_paused_job_does_not_fire(tmp_path: Path) -> None:
    """Its fires become one skipped record when it is resumed, and it goes on from there."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        paused = await app.scheduler.pause_job(JOB, note="disk is full")
        await ring(app, clock, by=3 * MINUTE)
        before = await runs_of(app, JOB)
        resumed = await app.scheduler.resume_job(JOB)
        (run,) = await runs_of(app, JOB)
        await ring(app, clock)
        runs = await settled(app, JOB, count=2)

    assert (paused.state, paused.next_run_at, paused.note) == (
        JobState.PAUSED,
        None,
        "disk is full",
    )
    assert before == []
    assert (run.state, run.reason, run.fires) == (RunState.SKIPPED, "paused", 3)
    assert (run.scheduled_for, run.last_scheduled_for) == (at(1), at(3))
    assert (resumed.state, resumed.next_run_at) == (JobState.ACTIVE, at(4))
    assert resumed.counts.skipped == 3
    assert runs[1].state is RunState.SUCCEEDED


async def test_pausing_lets_the_current_run_finish(tmp_path: Path) -> None:
    """Only fires are held."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        await app.scheduler.pause_job(JOB)
        gate.open()
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert [run.state for run in runs] == [RunState.SUCCEEDED]
    assert job.state is JobState.PAUSED


async def test_pausing_and_resuming_twice_changes_nothing(tmp_path: Path) -> None:
    """The second call answers the job as it is."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        once = await app.scheduler.pause_job(JOB)
        twice = await app.scheduler.pause_job(JOB)
        resumed = await app.scheduler.resume_job(JOB)
        again = await app.scheduler.resume_job(JOB)

    assert once == twice
    assert resumed == again


async def test_a_pause_keeps_its_beginning_when_it_is_prolonged(tmp_path: Path) -> None:
    """All fires since the first call are recorded."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await app.scheduler.pause_job(JOB)
        clock.shift(2 * MINUTE)
        await app.scheduler.pause_job(JOB, note="longer", until=at(4).isoformat())
        clock.shift(MINUTE)
        await app.scheduler.resume_job(JOB)
        (run,) = await runs_of(app, JOB)

    assert run.fires == 3


async def test_a_pause_with_an_end_resumes_by_itself(tmp_path: Path) -> None:
    """`until` is looked at each second."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        paused = await app.scheduler.pause_job(JOB, until=at(2).isoformat())
        clock.shift(2 * MINUTE)

        async def is_resumed() -> bool:
            return (await app.scheduler.get_job(JOB)).job.state is JobState.ACTIVE

        await eventually(is_resumed, description="the pause is over")
        job = (await app.scheduler.get_job(JOB)).job

    assert paused.paused_until == at(2)
    assert (job.paused_until, job.next_run_at) == (None, at(3))


async def test_a_fire_that_was_due_before_the_pause_has_its_record(tmp_path: Path) -> None:
    """A change between the instant and its noticing loses no fire."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        clock.shift(MINUTE + timedelta(seconds=1))
        await app.scheduler.pause_job(JOB)
        clock.shift(MINUTE)
        await app.scheduler.resume_job(JOB)
        runs = await runs_of(app, JOB)

    assert [run.scheduled_for for run in runs] == [at(1), at(2)]
    assert {run.state for run in runs} <= {RunState.SKIPPED, RunState.SUCCEEDED}


async def test_a_fire_taken_while_a_pause_is_under_way_has_one_record(tmp_path: Path) -> None:
    """The leader took it after the other process had looked at its clock: the pause begins then."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        asked = clock.now() + MINUTE / 2
        await ring(app, clock)
        await settled(app, JOB)
        await ledger_of(app).write(
            lambda db: change.pause(db, JOB, note=None, until=None, at=asked)
        )
        clock.shift(3 * MINUTE)
        await app.scheduler.resume_job(JOB)
        runs = await runs_of(app, JOB)

    assert [(run.state, run.scheduled_for, run.fires) for run in runs] == [
        (RunState.SUCCEEDED, TWO_O_CLOCK + MINUTE, 1),
        (RunState.SKIPPED, TWO_O_CLOCK + 2 * MINUTE, 3),
    ]


@pytest.mark.parametrize("change", ["update", "replace", "cancel"])
async def test_a_fire_that_was_due_before_a_change_has_its_record(
    change: str, tmp_path: Path
) -> None:
    """Fires up to the change belong to the job as it was."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")
        clock.shift(MINUTE + timedelta(seconds=1))
        if change == "update":
            await app.scheduler.update_job(JOB, trigger=an_interval(600))
        elif change == "replace":
            await create("greet", trigger=an_interval(600), id="a", replace=True)
        else:
            await app.scheduler.cancel_job(JOB)
        runs = await settled(app, JOB)

    assert [run.scheduled_for for run in runs] == [at(1)]


async def test_a_job_that_expires_in_its_pause_completes_when_resumed(tmp_path: Path) -> None:
    """No fire after expires_at is promised or recorded."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(expires_at=at(2))
        )
        await app.scheduler.pause_job(JOB)
        clock.shift(10 * MINUTE)
        resumed = await app.scheduler.resume_job(JOB)
        (run,) = await runs_of(app, JOB)

    assert (resumed.state, resumed.next_run_at) == (JobState.COMPLETED, None)
    assert (run.fires, run.last_scheduled_for) == (2, at(2))


async def test_jobs_are_paused_and_resumed_by_tag(tmp_path: Path) -> None:
    """Only those that carry it and are not so yet."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        create = app.scheduler.schedule_internal_task
        for name, tags in (("a", ["x"]), ("b", ["x", "y"]), ("c", ["y"])):
            await create("greet", trigger=an_interval(60), id=name, tags=tags)
        await app.scheduler.pause_job("apscheduler:b")

        paused = await app.scheduler.pause_jobs("x", note="maintenance")
        resumed = await app.scheduler.resume_jobs("x")
        none = await app.scheduler.resume_jobs("x")

    assert [job.job_id for job in paused] == ["apscheduler:a"]
    assert [job.job_id for job in resumed] == ["apscheduler:a", "apscheduler:b"]
    assert none == ()


async def test_an_update_changes_what_is_given_and_leaves_the_rest(tmp_path: Path) -> None:
    """Params, name, tags, note and policies; the fires stay where they were."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", tags=["x"]
        )
        clock.shift(MINUTE / 2)
        job = await app.scheduler.update_job(
            JOB,
            params={"name": "Ada"},
            name="Greets Ada",
            note="asked for by Ada",
            policies={"max_runs": 5},
        )
        await ring(app, clock, by=MINUTE / 2)
        (run,) = await settled(app, JOB)

    assert job.revision == made.job.revision + 1
    assert (job.definition.params, job.name, job.note) == (
        {"name": "Ada"},
        "Greets Ada",
        "asked for by Ada",
    )
    assert (job.tags, job.definition.policies.max_runs) == (("x",), 5)
    assert (job.next_run_at, job.trigger) == (at(1), made.job.trigger)
    assert run.output.text == "hello Ada"


async def test_a_new_trigger_counts_from_the_change(tmp_path: Path) -> None:
    """The job is armed anew; the same trigger again moves nothing."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        clock.shift(MINUTE / 2)
        job = await app.scheduler.update_job(JOB, trigger=an_interval(120))
        clock.shift(MINUTE / 2)
        same = await app.scheduler.update_job(JOB, trigger=an_interval(120), tags=["x"])
        await ring(app, clock, by=1.5 * MINUTE)
        (run,) = await settled(app, JOB)

    assert job.next_run_at == at(2.5) == same.next_run_at
    assert run.scheduled_for == at(2.5)


async def test_a_paused_job_with_a_new_trigger_stays_paused(tmp_path: Path) -> None:
    """The new fires begin when it is resumed."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await app.scheduler.pause_job(JOB)
        job = await app.scheduler.update_job(JOB, trigger=a_cron("0 3 * * *"))
        resumed = await app.scheduler.resume_job(JOB)

    assert (job.state, job.next_run_at) == (JobState.PAUSED, None)
    assert resumed.next_run_at == at(60)


async def test_an_update_that_changes_nothing_is_no_revision(tmp_path: Path) -> None:
    """The ledger stays as it was."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        before = rows_of(app)
        job = await app.scheduler.update_job(JOB, params={}, name="a", tags=())
        after = rows_of(app)

    assert job == made.job
    assert after == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_runs": 0}, "max_runs=0"),
        ({"no_such": 1}, "no_such=1"),
        ({"missed_policy": "never"}, "missed_policy='never'"),
    ],
)
async def test_a_wrong_policy_changes_nothing(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    """The refusal names the policy and its value."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        before = rows_of(app)
        with pytest.raises(InvalidArgumentsError) as refused:
            await app.scheduler.update_job(JOB, policies=changes)
        after = rows_of(app)

    assert refused.value.message.startswith(message)
    assert after == before


async def test_two_updates_at_once_do_not_lose_one(tmp_path: Path) -> None:
    """Whoever comes second is told to look again."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        write = app.scheduler._ledger.write

        async def write_late(
            change: object, *, durable: bool = True, essential: bool = False
        ) -> object:
            app.scheduler._ledger.write = write  # type: ignore[method-assign]  # only the first is late
            await app.scheduler.update_job(JOB, params={"times": 2})
            return await write(change, durable=durable, essential=essential)  # type: ignore[arg-type]  # as it was handed in

        app.scheduler._ledger.write = write_late  # type: ignore[method-assign, assignment]  # see above
        with pytest.raises(InvalidStateError, match="changed by another call"):
            await app.scheduler.update_job(JOB, params={"times": 3})
        job = (await app.scheduler.get_job(JOB)).job

    assert job.definition.params == {"times": 2}


async def test_a_workflow_job_is_updated_like_a_task(tmp_path: Path) -> None:
    """Its params are the context, checked against the tasks of its nodes."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.enqueue_workflow("greeting", trigger=an_interval(60), id="a")
        job = await app.scheduler.update_job("oneiric:a", params={"name": "Ada"})
        with pytest.raises(InvalidArgumentsError, match="'nam'"):
            await app.scheduler.update_job("oneiric:a", params={"nam": "Ada"})

    assert job.definition.params == {"name": "Ada"}


async def test_a_cancelled_job_fires_no_more(tmp_path: Path) -> None:
    """It leaves the default list; its runs stay; cancelling again changes nothing."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await ring(app, clock)
        await settled(app, JOB)
        cancelled = await app.scheduler.cancel_job(JOB)
        again = await app.scheduler.cancel_job(JOB)
        await ring(app, clock, by=5 * MINUTE)
        runs = await runs_of(app, JOB)
        listed = await app.scheduler.list_jobs()
        found = await app.scheduler.list_jobs(state=JobState.CANCELLED)

    assert (cancelled.state, cancelled.next_run_at) == (JobState.CANCELLED, None)
    assert again == cancelled
    assert [run.scheduled_for for run in runs] == [at(1)]
    assert (listed.total, found.total) == (0, 1)


async def test_cancelling_a_job_cancels_what_waits_and_lets_run_what_runs(tmp_path: Path) -> None:
    """A run that has started goes on to its end."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        waiting = await app.scheduler.run_job_now(JOB)
        await app.scheduler.cancel_job(JOB)
        ended = await app.scheduler.get_run(waiting.run_id)
        gate.open()
        runs = await settled(app, JOB, count=2)
        job = (await app.scheduler.get_job(JOB)).job

    assert (ended.state, ended.reason) == (RunState.CANCELLED, "the job was cancelled")
    assert sorted(run.state for run in runs) == [RunState.CANCELLED, RunState.SUCCEEDED]
    assert (job.counts.cancelled, job.counts.succeeded) == (1, 1)
    assert job.state is JobState.CANCELLED
