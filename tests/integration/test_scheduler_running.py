"""Runs beside the schedule: run now, cancel, replay, wait and list."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Cause, RunState
from mahavishnu_sched_mcp.errors import IdempotencyConflictError, InvalidStateError
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    a_date,
    an_app,
    an_interval,
    eventually,
    ring,
    rows_of,
    run_reached,
    runner_of,
    runs_of,
    settled,
)

JOB = "apscheduler:a"


async def test_run_now_waits_for_the_end_where_asked(tmp_path: Path) -> None:
    """One call gives the output; the schedule is not touched."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        run = await app.scheduler.run_job_now(JOB, wait_seconds=5)
        job = (await app.scheduler.get_job(JOB)).job

    assert (run.state, run.cause) == (RunState.SUCCEEDED, Cause.MANUAL)
    assert run.scheduled_for == TWO_O_CLOCK
    assert run.output.text == "hello world"
    assert job.next_run_at == made.job.next_run_at
    assert (job.fired, job.counts.succeeded) == (0, 1)


async def test_a_wait_tells_how_far_it_is(tmp_path: Path) -> None:
    """Seconds gone, seconds to wait, and the state in words."""
    gate, told = Gate(), list[tuple[float, float | None, str]]()

    async def tell(gone: float, total: float | None, words: str) -> None:
        told.append((gone, total, words))

    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        run = await app.scheduler.run_job_now(JOB, wait_seconds=1.5, on_progress=tell)
        gate.open()
        await app.scheduler.get_run(run.run_id, wait_seconds=5, on_progress=tell)

    assert run.state is RunState.RUNNING
    assert told[0][0] < 0.2
    assert told[0][1:] == (1.5, "pending: asked for by python, about to start")
    assert "running" in {words for _, _, words in told}
    assert all(gone <= 5 for gone, _, _ in told)


async def test_a_repeated_key_starts_no_second_run(tmp_path: Path) -> None:
    """The same key for another job is refused."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        for name in ("a", "b"):
            await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id=name)
        one, two = await asyncio.gather(
            *(app.scheduler.run_job_now(JOB, idempotency_key="k") for _ in range(2))
        )
        before = rows_of(app)
        with pytest.raises(IdempotencyConflictError):
            await app.scheduler.run_job_now("apscheduler:b", idempotency_key="k")
        runs = await settled(app, JOB)

    assert one.run_id == two.run_id
    assert len(runs) == 1
    assert before["idempotency_key"] == 1


async def test_a_paused_job_runs_when_asked(tmp_path: Path) -> None:
    """Only its fires are held."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await app.scheduler.pause_job(JOB)
        run = await app.scheduler.run_job_now(JOB, wait_seconds=5)

    assert run.state is RunState.SUCCEEDED


async def test_a_completed_job_is_not_run_again(tmp_path: Path) -> None:
    """Its id is free for a new one."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=a_date(60), id="a")
        await ring(app, clock)
        await settled(app, JOB)
        with pytest.raises(InvalidStateError, match="is completed"):
            await app.scheduler.run_job_now(JOB)


async def test_a_running_run_can_be_cancelled(tmp_path: Path) -> None:
    """It ends as cancelled within the call; again changes nothing."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        (run,) = await runs_of(app, JOB)
        cancelled = await app.scheduler.cancel_run(run.run_id)
        again = await app.scheduler.cancel_run(run.run_id)
        job = (await app.scheduler.get_job(JOB)).job

    assert (cancelled.state, cancelled.reason) == (RunState.CANCELLED, "cancelled by request")
    assert [attempt.outcome for attempt in cancelled.attempts] == [RunState.CANCELLED]
    assert again == cancelled
    assert (job.counts.cancelled, job.state) == (1, JobState.ACTIVE)


async def test_a_pending_run_can_be_cancelled(tmp_path: Path) -> None:
    """It never starts, and the run before it goes on."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        waiting = await app.scheduler.run_job_now(JOB)
        cancelled = await app.scheduler.cancel_run(waiting.run_id)
        gate.open()
        runs = await settled(app, JOB, count=2)

    assert (cancelled.state, cancelled.attempts) == (RunState.CANCELLED, ())
    assert [run.state for run in runs if run.run_id != waiting.run_id] == [RunState.SUCCEEDED]
    assert gate.entries == 1


async def test_a_queued_workflow_can_be_cancelled(tmp_path: Path) -> None:
    """Its worker stops the node it is at."""
    gate = Gate()
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.enqueue_workflow("gated", context={"gate": gate.name})
        assert made.run_id is not None
        await run_reached(app, made.run_id, RunState.RUNNING)
        await app.scheduler.cancel_run(made.run_id)
        run = await run_reached(app, made.run_id, RunState.CANCELLED)
        job = (await app.scheduler.get_job(made.job.job_id)).job

    assert (run.reason or "").startswith("cancelled")
    assert job.state is JobState.COMPLETED
    assert job.counts.cancelled == 1


@pytest.mark.parametrize("how", ["failed", "cancelled", "missed"])
async def test_what_did_not_succeed_can_be_replayed(how: str, tmp_path: Path) -> None:
    """The new run is linked to the old one and stands for the same instant."""
    clock, gate = ManualClock(), Gate()
    task, params = ("fail", {}) if how == "failed" else ("wait_at", {"gate": gate.name})
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            task, trigger=an_interval(60), params=params, id="a"
        )
        await ring(app, clock, by=(3 if how == "missed" else 1) * MINUTE)
        await eventually(lambda: _has_run(app), description="there is a run")
        origin = (await runs_of(app, JOB))[0]
        if how == "cancelled":
            origin = await app.scheduler.cancel_run(origin.run_id)
        gate.open()
        await settled(app, JOB)
        origin = await app.scheduler.get_run(origin.run_id)

        replayed = await app.scheduler.replay_run(origin.run_id, idempotency_key="k")
        again = await app.scheduler.replay_run(origin.run_id, idempotency_key="k")
        ended = await app.scheduler.get_run(replayed.run_id, wait_seconds=5)
        kept = await app.scheduler.get_run(origin.run_id)

    assert origin.state == how
    assert (replayed.cause, replayed.replay_of) == (Cause.REPLAY, origin.run_id)
    assert replayed.scheduled_for == (origin.last_scheduled_for or origin.scheduled_for)
    assert again.run_id == replayed.run_id
    assert ended.state.is_final
    assert kept == origin


async def test_a_completed_jobs_run_can_be_replayed(tmp_path: Path) -> None:
    """A date job that failed is tried again by replay."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("fail", trigger=a_date(60), id="a")
        await ring(app, clock)
        (run,) = await settled(app, JOB)
        replayed = await app.scheduler.replay_run(run.run_id)
        ended = await app.scheduler.get_run(replayed.run_id, wait_seconds=5)
        job = (await app.scheduler.get_job(JOB)).job

    assert ended.state is RunState.FAILED
    assert (job.state, job.counts.failed) == (JobState.COMPLETED, 2)


async def test_runs_are_listed_newest_first_in_stable_pages(tmp_path: Path) -> None:
    """A page taken while new runs arrive repeats and leaves out nothing."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        for _ in range(5):
            await ring(app, clock)
        await settled(app, JOB, count=5)
        first = await app.scheduler.list_runs(job_id=JOB, limit=2)
        await ring(app, clock)
        await settled(app, JOB, count=6)
        second = await app.scheduler.list_runs(job_id=JOB, limit=2, cursor=first.next_cursor)
        third = await app.scheduler.list_runs(job_id=JOB, limit=2, cursor=second.next_cursor)
        window = await app.scheduler.list_runs(
            since="2026-12-01T02:02:00Z", until="2026-12-01T03:03:00+01:00"
        )
        failed = await app.scheduler.list_runs(state=RunState.FAILED)

    listed = [run.scheduled_for for page in (first, second, third) for run in page.rows]
    assert listed == [TWO_O_CLOCK + k * MINUTE for k in (5, 4, 3, 2, 1)]
    assert (first.total, second.total) == (5, 6)
    assert third.next_cursor is None
    assert [run.scheduled_for for run in window.rows] == [TWO_O_CLOCK + k * MINUTE for k in (3, 2)]
    assert failed.rows == ()


async def test_nothing_of_a_run_stays_in_memory(tmp_path: Path) -> None:
    """Neither its task nor its cancellation, however it ended."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        (run,) = await runs_of(app, JOB)
        waiting = await app.scheduler.run_job_now(JOB)
        await app.scheduler.cancel_run(waiting.run_id)
        await app.scheduler.cancel_run(run.run_id)
        going, cancelled = dict(runner_of(app)._running), dict(runner_of(app)._cancelled)

    assert (going, cancelled) == ({}, {})


async def _has_run(app: object) -> bool:
    found = await app.scheduler.list_runs(job_id=JOB)  # type: ignore[attr-defined]  # an app
    return bool(found.total)
