"""After a crash: every run that was going is accounted for by the next leader."""

from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.runner.outcomes import MOST_INTERRUPTIONS
from tests.factories import (
    MINUTE,
    Gate,
    ManualClock,
    a_date,
    an_app,
    an_interval,
    eventually,
    policies,
    ring,
    run_reached,
    runs_of,
    settled,
    what_a_kill_leaves,
)

JOB = "apscheduler:a"


@pytest.mark.parametrize(
    ("task", "on_interrupt", "reruns"),
    [
        ("wait_safely_at", None, True),
        ("wait_at", None, False),
        ("wait_at", "rerun", True),
        ("wait_safely_at", "hold", False),
    ],
)
async def test_a_run_whose_server_was_killed_runs_again_or_waits_for_a_decision(
    task: str, on_interrupt: str | None, reruns: bool, tmp_path: Path
) -> None:
    """on_interrupt decides; without it, whether the task is declared idempotent."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path / "one", clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            task,
            trigger=a_date(60),
            params={"gate": gate.name},
            id="a",
            policies=policies(on_interrupt=on_interrupt),
        )
        await ring(app, clock)
        (run,) = await runs_of(app, JOB)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    gate.open()
    async with an_app(left, clock=clock) as app:
        (ended,) = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job
        attention = (await app.scheduler.status()).attention

    assert run.state is RunState.RUNNING
    expected = RunState.SUCCEEDED if reruns else RunState.INTERRUPTED
    assert (ended.run_id, ended.state) == (run.run_id, expected)
    outcomes = [attempt.outcome for attempt in ended.attempts]
    assert outcomes == [RunState.INTERRUPTED, *([RunState.SUCCEEDED] if reruns else [])]
    assert (job.counts.succeeded, job.counts.interrupted) == ((1, 0) if reruns else (0, 1))
    assert job.state is JobState.COMPLETED
    assert any("replay_run" in line for line in attention) is not reruns


async def test_a_held_run_goes_on_by_replay(tmp_path: Path) -> None:
    """The agent decides; the interrupted run stays as it is."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path / "one", clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    gate.open()
    async with an_app(left, clock=clock) as app:
        (held,) = await settled(app, JOB)
        replayed = await app.scheduler.replay_run(held.run_id)
        ended = await app.scheduler.get_run(replayed.run_id, wait_seconds=5)

    assert held.reason == "the server ended while it ran"
    assert (ended.state, ended.replay_of) == (RunState.SUCCEEDED, held.run_id)


async def test_a_run_that_is_interrupted_three_times_is_dead(tmp_path: Path) -> None:
    """It may be what kills the server, so it is not tried for ever."""
    clock, gate = ManualClock(), Gate()
    place = tmp_path / "0"
    for number in range(1, MOST_INTERRUPTIONS + 1):
        async with an_app(place, clock=clock) as app:
            if number == 1:
                await app.scheduler.schedule_internal_task(
                    "wait_safely_at", trigger=a_date(60), params={"gate": gate.name}, id="a"
                )
            await ring(app, clock)
            await run_reached(app, (await runs_of(app, JOB))[0].run_id, RunState.RUNNING)
            place = what_a_kill_leaves(app, at=tmp_path / f"{number}")
    async with an_app(place, clock=clock) as app:
        (run,) = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert (run.state, run.reason) == (RunState.DEAD, "interrupted 3 times")
    assert len(run.attempts) == MOST_INTERRUPTIONS
    assert job.counts.dead == 1


async def test_a_stop_interrupts_what_runs_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """A clean stop is recorded like a crash; an idempotent task runs again."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_safely_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
    gate.open()
    async with an_app(tmp_path, clock=clock) as app:
        (run,) = await settled(app, JOB)

    assert [attempt.outcome for attempt in run.attempts] == [
        RunState.INTERRUPTED,
        RunState.SUCCEEDED,
    ]


async def test_a_stop_lets_runs_go_on_for_a_while(tmp_path: Path) -> None:
    """What ends within the drain is recorded as it ended."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock, drain=2) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        await eventually(lambda: gate.entries == 1, description="the task is at its gate")
        gate.open()
    async with an_app(tmp_path, clock=clock) as app:
        (run,) = await runs_of(app, JOB)

    assert run.state is RunState.SUCCEEDED


async def test_a_run_of_a_cancelled_job_is_not_run_again(tmp_path: Path) -> None:
    """Its interruption is final: the job shall start nothing more."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path / "one", clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_safely_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        await app.scheduler.cancel_job(JOB)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    async with an_app(left, clock=clock) as app:
        (run,) = await settled(app, JOB)

    assert (run.state, gate.entries) == (RunState.INTERRUPTED, 1)


async def test_nothing_of_a_job_that_is_not_durable_is_started_again(tmp_path: Path) -> None:
    """What ran is interrupted, what waited is cancelled: at most once per fire."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path / "one", clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_safely_at",
            trigger=an_interval(60),
            params={"gate": gate.name},
            id="a",
            durable=False,
        )
        await ring(app, clock)
        await app.scheduler.run_job_now(JOB)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    async with an_app(left, clock=clock) as app:
        runs = await settled(app, JOB, count=2)

    assert {run.state for run in runs} == {RunState.INTERRUPTED, RunState.CANCELLED}
    assert gate.entries == 1


async def test_a_pending_run_survives_a_kill(tmp_path: Path) -> None:
    """What was acknowledged is done by the next leader."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path / "one", clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_safely_at", trigger=an_interval(600), params={"gate": gate.name}, id="a"
        )
        await app.scheduler.run_job_now(JOB)
        second = await app.scheduler.run_job_now(JOB, idempotency_key="k")
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    gate.open()
    async with an_app(left, clock=clock) as app:
        again = await app.scheduler.run_job_now(JOB, idempotency_key="k")
        runs = await settled(app, JOB, count=2)

    assert again.run_id == second.run_id
    assert {run.state for run in runs} == {RunState.SUCCEEDED}


async def test_an_interrupted_workflow_is_handed_over_again(tmp_path: Path) -> None:
    """Its message is lost with the queue: the same run is sent once more."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path / "one", clock=clock) as app:
        made = await app.scheduler.enqueue_workflow(
            "gated", context={"gate": gate.name}, policies=policies(on_interrupt="rerun")
        )
        assert made.run_id is not None
        await run_reached(app, made.run_id, RunState.RUNNING)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    gate.open()
    async with an_app(left, clock=clock) as app:
        ended = await run_reached(app, made.run_id, RunState.SUCCEEDED)
        job = (await app.scheduler.get_job(made.job.job_id)).job

    assert [attempt.outcome for attempt in ended.attempts] == [
        RunState.INTERRUPTED,
        RunState.SUCCEEDED,
    ]
    assert (job.state, job.counts.succeeded) == (JobState.COMPLETED, 1)


async def test_the_same_app_starts_again_after_a_stop(tmp_path: Path) -> None:
    """start_scheduler and stop_scheduler are idempotent and may alternate."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.start_scheduler()
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await app.stop_scheduler(drain=0)
        await app.stop_scheduler(drain=0)
        clock.shift(MINUTE)
        await app.start_scheduler()
        (run,) = await settled(app, JOB)

    assert run.state is RunState.SUCCEEDED
