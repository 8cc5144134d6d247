"""A failed run is tried again, later and later, until it succeeds or is dead."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.backoff import delay_after
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.ledger import waiting
from tests.doors import ENGINES, Door, a_house, keep_at
from tests.factories import (
    MINUTE,
    ManualClock,
    eventually,
    ledger_of,
    ring,
    run_reached,
    runs_of,
    settled,
    what_a_kill_leaves,
)

JOB = "apscheduler:a"
SECOND = timedelta(seconds=1)
FIRST = timedelta(seconds=8)
DAY = 86400.0


def wait_of(run: Run, failures: int) -> timedelta:
    """Give how long a run waits after so many failures."""
    return delay_after(failures, first=FIRST, seed=run.run_id)


async def in_retry(app: MahavishnuApp, job_id: str) -> Run:
    """Wait until the job's newest fire waits for its retry, and give that run."""

    async def is_so() -> bool:
        found = await runs_of(app, job_id)
        return bool(found) and (found[-1].state, found[-1].reason) == (RunState.PENDING, "retry")

    await eventually(is_so, description=f"{job_id} waits for its retry", within=15)
    return (await runs_of(app, job_id))[-1]


def stays_at(app: MahavishnuApp, door: Door, count: int) -> Awaitable[None]:
    """Look at several rounds of the leader's errands and see that nobody else comes."""

    async def look() -> None:
        for _ in range(3):
            seen = ledger_of(app).version
            await ledger_of(app).write(lambda db: db.execute("update leader set term = term"))
            await ledger_of(app).changed(since=seen, within=1)
            await runner_round(app)
        assert len(door.visits) == count

    return look()


def waits_at_most(app: MahavishnuApp, wait: timedelta, *, since: datetime) -> bool:
    """Whether the next retry is due so soon after an instant."""
    due = ledger_of(app).read(lambda db: waiting.next_available(db, after=since))
    return due is not None and due - since <= wait


async def runner_round(app: MahavishnuApp) -> None:
    """Let the leader start whatever may start now."""
    await app.scheduler._parts.lead._runner.start_waiting()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_run_fails_twice_and_passes(engine: str, tmp_path: Path) -> None:
    """One run, three attempts; each wait is twice the one before, and never shorter."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(
            app, door, engine=engine, seconds=DAY, max_attempts=3, retry_backoff_seconds=8
        )
        asked = await app.scheduler.run_job_now(job_id)
        for failures in (1, 2):
            (await door.visited(failures)).fail("not yet")
            run = await in_retry(app, job_id)
            clock.shift(wait_of(run, failures) - SECOND / 1000)
            await stays_at(app, door, failures)
            clock.shift(SECOND / 1000)
        (await door.visited(3)).let_go()
        ended = await run_reached(app, asked.run_id, RunState.SUCCEEDED)
        job = (await app.scheduler.get_job(job_id)).job

    outcomes = [attempt.outcome for attempt in ended.attempts]
    assert outcomes == [RunState.FAILED, RunState.FAILED, RunState.SUCCEEDED]
    assert (job.counts.succeeded, job.counts.failed) == (1, 0)
    assert FIRST <= wait_of(ended, 1) <= FIRST * 1.25
    assert FIRST * 2 <= wait_of(ended, 2) <= FIRST * 2.5
    assert (ended.error, ended.reason) == (None, None)


@pytest.mark.parametrize("engine", ENGINES)
async def test_what_the_last_attempt_said_is_visible_while_the_run_waits(
    engine: str, tmp_path: Path
) -> None:
    """The run is pending with reason retry, and shows error and attempts."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, engine=engine, seconds=DAY, max_attempts=2)
        await app.scheduler.run_job_now(job_id)
        (await door.visited(1)).fail("no route")
        run = await in_retry(app, job_id)
        cancelled = await app.scheduler.cancel_run(run.run_id)
        door.open()

    assert run.error is not None
    assert "no route" in run.error.message
    assert [attempt.outcome for attempt in run.attempts] == [RunState.FAILED]
    assert run.finished_at is None
    assert [node.state for node in run.nodes] == [RunState.FAILED] * (engine == "oneiric")
    assert (cancelled.state, cancelled.reason) == (RunState.CANCELLED, "cancelled by request")
    assert cancelled.error == run.error


@pytest.mark.parametrize("engine", ENGINES)
async def test_after_the_last_attempt_the_run_is_dead(engine: str, tmp_path: Path) -> None:
    """It is counted as dead, says why, and one replay makes one new run linked to it."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(
            app, door, engine=engine, seconds=DAY, max_attempts=2, retry_backoff_seconds=8
        )
        asked = await app.scheduler.run_job_now(job_id)
        for number in (1, 2):
            (await door.visited(number)).fail("never")
            if number == 1:
                await in_retry(app, job_id)
                clock.shift(wait_of(asked, 1))
        dead = await run_reached(app, asked.run_id, RunState.DEAD)
        counts = (await app.scheduler.get_job(job_id)).job.counts
        replayed = await app.scheduler.replay_run(dead.run_id, idempotency_key="once")
        again = await app.scheduler.replay_run(dead.run_id, idempotency_key="once")
        (await door.visited(3)).let_go()
        ended = await run_reached(app, replayed.run_id, RunState.SUCCEEDED)
        runs = await runs_of(app, job_id)

    assert (dead.reason or "").endswith("(attempt 2 of 2)")
    assert (counts.dead, counts.failed) == (1, 0)
    assert again.run_id == replayed.run_id
    assert (ended.replay_of, ended.cause) == (dead.run_id, Cause.REPLAY)
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("seconds", "state"), [(None, RunState.FAILED), (0.05, RunState.TIMED_OUT)]
)
async def test_a_single_attempt_says_how_it_ended(
    seconds: float | None, state: RunState, tmp_path: Path
) -> None:
    """With max_attempts 1 the run is failed or timed_out, never dead."""
    door = Door()
    async with a_house(tmp_path, clock=ManualClock()) as app:
        job_id = await keep_at(app, door, seconds=DAY, timeout_seconds=seconds)
        asked = await app.scheduler.run_job_now(job_id)
        visit = await door.visited(1)
        if seconds is None:
            visit.fail()
        ended = await run_reached(app, asked.run_id, state)

    assert ended.state is state


async def test_a_timeout_is_tried_again_like_a_failure(tmp_path: Path) -> None:
    """The last one makes the run dead and says that it was the time."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(
            app, door, seconds=DAY, timeout_seconds=0.05, max_attempts=2, retry_backoff_seconds=0
        )
        asked = await app.scheduler.run_job_now(job_id)
        dead = await run_reached(app, asked.run_id, RunState.DEAD)

    assert [attempt.outcome for attempt in dead.attempts] == [RunState.TIMED_OUT] * 2
    assert "0.05" in (dead.reason or "")


async def test_interruptions_are_counted_apart(tmp_path: Path) -> None:
    """A kill takes none of the attempts: after it the run still fails twice before it is dead."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path / "one", clock=clock) as app:
        await keep_at(
            app, door, seconds=DAY, target="attend_safely", max_attempts=2, retry_backoff_seconds=8
        )
        asked = await app.scheduler.run_job_now(JOB)
        (await door.visited(1)).fail()
        await in_retry(app, JOB)
        clock.shift(wait_of(asked, 1))
        await door.visited(2)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    before = len(door.visits)
    async with a_house(left, clock=clock) as app:
        (await door.visited(before + 1)).fail()
        dead = await run_reached(app, asked.run_id, RunState.DEAD)

    assert [attempt.outcome for attempt in dead.attempts] == [
        RunState.FAILED,
        RunState.INTERRUPTED,
        RunState.FAILED,
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["run", "job"])
async def test_a_cancel_ends_the_wait(how: str, engine: str, tmp_path: Path) -> None:
    """Nothing of it is tried again."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, engine=engine, seconds=DAY, max_attempts=5)
        asked = await app.scheduler.run_job_now(job_id)
        (await door.visited(1)).fail()
        await in_retry(app, job_id)
        if how == "run":
            await app.scheduler.cancel_run(asked.run_id)
        else:
            await app.scheduler.cancel_job(job_id)
        clock.shift(timedelta(hours=2))
        ended = await run_reached(app, asked.run_id, RunState.CANCELLED)
        await stays_at(app, door, 1)

    words = {"run": "cancelled by request", "job": "the job was cancelled"}
    assert ended.reason == words[how]


async def test_a_job_cancelled_during_an_attempt_tries_no_further(tmp_path: Path) -> None:
    """The attempt may end; its failure is the run's."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, seconds=DAY, max_attempts=5)
        asked = await app.scheduler.run_job_now(JOB)
        visit = await door.visited(1)
        await app.scheduler.cancel_job(JOB)
        visit.fail()
        ended = await run_reached(app, asked.run_id, RunState.FAILED)

    assert len(ended.attempts) == 1


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_restart_during_the_wait_is_neither_earlier_nor_double(
    engine: str, tmp_path: Path
) -> None:
    """The wait is in the ledger: the next server goes on with it."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path / "one", clock=clock) as app:
        job_id = await keep_at(
            app, door, engine=engine, seconds=DAY, max_attempts=2, retry_backoff_seconds=8
        )
        asked = await app.scheduler.run_job_now(job_id)
        (await door.visited(1)).fail()
        await in_retry(app, job_id)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    async with a_house(left, clock=clock) as app:
        clock.shift(wait_of(asked, 1) - SECOND / 1000)
        await stays_at(app, door, 1)
        clock.shift(SECOND / 1000)
        (await door.visited(2)).let_go()
        ended = await run_reached(app, asked.run_id, RunState.SUCCEEDED)
        await stays_at(app, door, 2)

    assert len(ended.attempts) == 2


@pytest.mark.parametrize("during", ["the wait", "the downtime"])
async def test_a_clock_set_back_makes_no_wait_longer(during: str, tmp_path: Path) -> None:
    """Waits are durations: two days back delay no retry by two days."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, seconds=DAY, max_attempts=2, retry_backoff_seconds=8)
        asked = await app.scheduler.run_job_now(JOB)
        (await door.visited(1)).fail()
        await in_retry(app, JOB)
        if during == "the wait":
            clock._now -= timedelta(days=2)  # the wall alone, as someone sets it
            now = clock.now()
            await eventually(
                lambda: waits_at_most(app, wait_of(asked, 1), since=now),
                description="the wait is shorter by the step",
            )
            clock.shift(wait_of(asked, 1))
            (await door.visited(2)).let_go()
            await run_reached(app, asked.run_id, RunState.SUCCEEDED)
    clock._now -= timedelta(days=2)
    async with a_house(tmp_path, clock=clock) as app:
        clock.shift(wait_of(asked, 1))
        door.open()
        ended = await run_reached(app, asked.run_id, RunState.SUCCEEDED)

    assert len(ended.attempts) == 2


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_run_that_waits_for_its_retry_is_not_over(engine: str, tmp_path: Path) -> None:
    """A fire meanwhile overlaps it, as it does while an attempt goes on."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(
            app, door, engine=engine, max_attempts=2, retry_backoff_seconds=3600, max_runs=2
        )
        await ring(app, clock)
        (await door.visited(1)).fail()
        await in_retry(app, job_id)
        await ring(app, clock)
        clock.shift(timedelta(hours=2))
        (await door.visited(2)).let_go()
        runs = await settled(app, job_id, count=2)
        job = (await app.scheduler.get_job(job_id)).job

    assert [run.state for run in runs] == [RunState.SUCCEEDED, RunState.SKIPPED]
    assert runs[1].scheduled_for - runs[0].scheduled_for == MINUTE
    assert job.state is JobState.COMPLETED


async def test_a_pause_holds_a_retry_and_a_run_by_hand_goes_before_it(tmp_path: Path) -> None:
    """After the pause the retry waits for the run that goes on: never two at once."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, max_attempts=2, retry_backoff_seconds=8)
        await ring(app, clock)
        (await door.visited(1)).fail()
        await in_retry(app, JOB)
        await app.scheduler.pause_job(JOB)
        clock.shift(MINUTE)
        asked = await app.scheduler.run_job_now(JOB)
        by_hand = await door.visited(2)
        await app.scheduler.resume_job(JOB)
        await stays_at(app, door, 2)
        by_hand.let_go()
        retried = await door.visited(3)
        door.open()
        await settled(app, JOB, count=2)

    assert by_hand.run_id == asked.run_id
    assert (retried.run_id, retried.attempt) == (door.visits[0].run_id, 2)
    assert door.most == 1
