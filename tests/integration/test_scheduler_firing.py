"""Firing: one record for each due fire, whatever happened between."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.backends.protocol import Fire
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Cause, RunState
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    a_date,
    an_app,
    an_interval,
    eventually,
    policies,
    ring,
    run_reached,
    runner_of,
    runs_of,
    settled,
)

JOB = "apscheduler:a"
HOUR = timedelta(hours=1)


def at(minutes: float) -> datetime:
    """Give the instant so many minutes after the tests' start."""
    return TWO_O_CLOCK + minutes * MINUTE


async def test_each_fire_has_one_run(tmp_path: Path) -> None:
    """The run carries the nominal time; the job counts it and is armed for the next."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        for _ in range(3):
            await ring(app, clock)
        runs = await settled(app, JOB, count=3)
        job = (await app.scheduler.get_job(JOB)).job

    assert [run.scheduled_for for run in runs] == [at(1), at(2), at(3)]
    assert {(run.state, run.cause, run.fires) for run in runs} == {
        (RunState.SUCCEEDED, Cause.SCHEDULE, 1)
    }
    assert runs[0].output.text == "hello world"
    assert [len(run.attempts) for run in runs] == [1, 1, 1]
    assert (job.fired, job.counts.succeeded, job.next_run_at) == (3, 3, at(4))
    assert job.last_run is not None
    assert job.last_run.run_id == runs[-1].run_id


async def test_the_same_fire_told_again_is_no_second_run(tmp_path: Path) -> None:
    """The ledger has the claim, so a repeated alarm finds nothing due."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await ring(app, clock)
        fire = Fire(serial=made.job.serial, revision=1, scheduled_for=at(1), next_run_at=at(2))
        for _ in range(5):
            runner_of(app).on_due([fire, fire])
        await ring(app, clock, by=timedelta(0))
        runs = await settled(app, JOB)

    assert [run.scheduled_for for run in runs] == [at(1)]


async def test_a_failing_task_leaves_its_reason(tmp_path: Path) -> None:
    """The run is failed with the error's type and words, and the job goes on."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "fail", trigger=an_interval(60), params={"reason": "disk gone"}, id="a"
        )
        await ring(app, clock)
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert runs[0].state is RunState.FAILED
    assert runs[0].error is not None
    assert (runs[0].error.type, runs[0].error.message) == ("RuntimeError", "disk gone")
    assert (job.state, job.counts.failed) == (JobState.ACTIVE, 1)


async def test_a_fire_during_a_run_is_skipped(tmp_path: Path) -> None:
    """overlap_policy skip: the fire has its record, `skipped` with the reason overlap."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        await ring(app, clock)
        gate.open()
        runs = await settled(app, JOB, count=2)
        job = (await app.scheduler.get_job(JOB)).job

    assert [(run.state, run.reason) for run in runs] == [
        (RunState.SUCCEEDED, None),
        (RunState.SKIPPED, "overlap"),
    ]
    assert (job.counts.succeeded, job.counts.skipped, gate.entries) == (1, 1, 1)


async def test_fires_within_the_grace_are_as_due_at_one_instant(tmp_path: Path) -> None:
    """The newest of them runs, the others are skipped; none is missed."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(20), id="a")
        await ring(app, clock, by=MINUTE)
        runs = await settled(app, JOB, count=3)

    assert [(run.state, run.reason) for run in runs] == [
        (RunState.SKIPPED, "overlap"),
        (RunState.SKIPPED, "overlap"),
        (RunState.SUCCEEDED, None),
    ]


@pytest.mark.parametrize(
    ("missed_policy", "expected"),
    [
        ("run_once", [("missed", "policy", 9, at(1), at(9)), ("succeeded", None, 1, at(10), None)]),
        ("skip", [("missed", "policy", 10, at(1), at(10))]),
    ],
)
async def test_a_gap_is_accounted_for_by_the_missed_policy(
    missed_policy: str, expected: list[object], tmp_path: Path
) -> None:
    """Downtime leaves one range record; run_once adds one run with the latest missed time."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet",
            trigger=an_interval(60),
            id="a",
            policies=policies(missed_policy=missed_policy),
        )
    clock.shift(10 * MINUTE + timedelta(seconds=30))
    async with an_app(tmp_path, clock=clock) as app:
        runs = await settled(app, JOB, count=len(expected))
        job = (await app.scheduler.get_job(JOB)).job

    found = [
        (r.state.value, r.reason, r.fires, r.scheduled_for, r.last_scheduled_for) for r in runs
    ]
    assert found == expected
    assert {run.cause for run in runs if run.state is RunState.SUCCEEDED} <= {Cause.CATCH_UP}
    assert (job.fired, job.next_run_at) == (10, at(11))
    assert job.counts.missed + job.counts.succeeded == 10


async def test_what_is_older_than_the_catchup_window_is_missed(tmp_path: Path) -> None:
    """Two records: beyond the window, and inside it by the policy."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet",
            trigger=an_interval(60),
            id="a",
            policies=policies(catchup_window_seconds=150),
        )
    clock.shift(10 * MINUTE)
    async with an_app(tmp_path, clock=clock) as app:
        runs = await settled(app, JOB, count=3)

    assert [(run.reason, run.fires, run.last_scheduled_for) for run in runs] == [
        ("catchup_window", 7, at(7)),
        ("policy", 2, at(9)),
        (None, 1, None),
    ]


async def test_a_fire_beyond_its_window_does_not_run(tmp_path: Path) -> None:
    """A date job found too late is missed and completed."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=a_date(60), id="a", policies=policies(catchup_window_seconds=60)
        )
    clock.shift(HOUR)
    async with an_app(tmp_path, clock=clock) as app:
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert [(run.state, run.reason) for run in runs] == [(RunState.MISSED, "catchup_window")]
    assert job.state is JobState.COMPLETED


async def test_a_date_job_missed_inside_its_window_runs_late(tmp_path: Path) -> None:
    """Its cause is catch_up, its lateness is told, and it completes."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=a_date(60), id="a")
    clock.shift(HOUR)
    async with an_app(tmp_path, clock=clock) as app:
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert [(run.state, run.cause) for run in runs] == [(RunState.SUCCEEDED, Cause.CATCH_UP)]
    assert runs[0].lateness == HOUR - MINUTE
    assert job.state is JobState.COMPLETED


async def test_a_gap_found_while_a_run_goes_on_starts_no_second_one(tmp_path: Path) -> None:
    """The machine slept under a run: the catch-up is skipped as an overlap."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        await ring(app, clock, by=5 * MINUTE)
        await ring(app, clock, by=timedelta(0))
        gate.open()
        runs = await settled(app, JOB, count=3)

    assert [(run.state, run.reason, run.fires) for run in runs] == [
        (RunState.SUCCEEDED, None, 1),
        (RunState.MISSED, "policy", 4),
        (RunState.SKIPPED, "overlap", 1),
    ]


async def test_a_job_completes_after_its_last_run(tmp_path: Path) -> None:
    """max_runs counts fires; next_fires never promises more."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(max_runs=2)
        )
        for _ in range(4):
            await ring(app, clock)
            await settled(app, JOB)
        runs = await settled(app, JOB, count=2)
        job = (await app.scheduler.get_job(JOB)).job

    assert made.next_fires == (at(1), at(2))
    assert len(runs) == 2
    assert (job.state, job.next_run_at) == (JobState.COMPLETED, None)


async def test_a_job_expires(tmp_path: Path) -> None:
    """A fire at expires_at still happens, none after; then the job is completed."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(expires_at=at(2))
        )
        for _ in range(4):
            await ring(app, clock)
            await settled(app, JOB)
        runs = await settled(app, JOB, count=2)
        job = (await app.scheduler.get_job(JOB)).job

    assert made.next_fires == (at(1), at(2))
    assert [run.scheduled_for for run in runs] == [at(1), at(2)]
    assert job.state is JobState.COMPLETED


async def test_a_job_that_expired_while_nobody_ran_misses_no_later_fires(tmp_path: Path) -> None:
    """Only the fires up to expires_at are accounted for."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet",
            trigger=an_interval(60),
            id="a",
            policies=policies(expires_at=at(3), missed_policy="skip"),
        )
    clock.shift(HOUR)
    async with an_app(tmp_path, clock=clock) as app:
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert [(run.fires, run.last_scheduled_for) for run in runs] == [(3, at(3))]
    assert job.state is JobState.COMPLETED


async def test_runs_over_the_limit_wait_for_a_slot(tmp_path: Path) -> None:
    """`limits.max_concurrent_runs` go on at once; the rest is pending with its reason."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock, limits={"max_concurrent_runs": 2}) as app:
        for name in ("a", "b", "c"):
            await app.scheduler.schedule_internal_task(
                "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id=name
            )
        await ring(app, clock)
        page = await app.scheduler.list_runs()
        gate.open()
        for name in ("a", "b", "c"):
            await settled(app, f"apscheduler:{name}")

    assert Counter((run.state, run.reason) for run in page.rows) == {
        (RunState.RUNNING, None): 2,
        (RunState.PENDING, "waiting for a free slot"): 1,
    }


async def test_a_timeout_ends_the_run(tmp_path: Path) -> None:
    """The job's timeout_seconds applies; the run says so."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at",
            trigger=an_interval(60),
            params={"gate": gate.name},
            id="a",
            policies=policies(timeout_seconds=0.05),
        )
        await ring(app, clock)
        runs = await settled(app, JOB)

    assert runs[0].state is RunState.TIMED_OUT
    assert "0.05" in (runs[0].reason or "")


async def test_each_fire_of_a_workflow_goes_through_its_queue(tmp_path: Path) -> None:
    """The run's nodes are recorded, and the engine's ids are with it."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.enqueue_workflow("greeting", trigger=an_interval(60), id="a")
        await eventually(
            lambda: _is_active(app, "oneiric:a"), description="Oneiric has confirmed the job"
        )
        await ring(app, clock)
        runs = await settled(app, "oneiric:a")

    assert [(run.state, run.cause) for run in runs] == [(RunState.SUCCEEDED, Cause.SCHEDULE)]
    assert {node.node: node.state for node in runs[0].nodes} == {
        "greet": RunState.SUCCEEDED,
        "again": RunState.SUCCEEDED,
    }
    assert runs[0].reference["queue_provider"] == "sqlite"


@pytest.mark.slow
async def test_a_job_fires_by_the_machines_clock(tmp_path: Path) -> None:
    """Without a moved clock: a second's interval fires each second, on time."""
    async with an_app(tmp_path) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(1), id="a", policies=policies(max_runs=2)
        )
        await eventually(lambda: _is_completed(app), description="two fires", within=8)
        runs = await runs_of(app, JOB)

    assert [run.state for run in runs] == [RunState.SUCCEEDED] * 2
    assert runs[1].scheduled_for - runs[0].scheduled_for == timedelta(seconds=1)
    assert all(run.lateness is not None and run.lateness < timedelta(seconds=1) for run in runs)


async def test_a_pending_run_starts_when_its_jobs_run_is_over(tmp_path: Path) -> None:
    """run_job_now while another run goes on waits for its end."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        manual = await app.scheduler.run_job_now(JOB, created_by="agent-7")
        waiting = await app.scheduler.get_run(manual.run_id, wait_seconds=0.2)
        gate.open()
        ended = await run_reached(app, manual.run_id, RunState.SUCCEEDED)

    assert manual.reason == "asked for by agent-7, waits for the job's run in progress"
    assert (waiting.state, gate.entries) == (RunState.PENDING, 2)
    assert (ended.cause, ended.scheduled_for) == (Cause.MANUAL, at(1))


async def _is_active(app: object, job_id: str) -> bool:
    found = await app.scheduler.get_job(job_id)  # type: ignore[attr-defined]  # an app
    return bool(found.job.state is JobState.ACTIVE)


async def _is_completed(app: object) -> bool:
    await asyncio.sleep(0)
    found = await app.scheduler.get_job(JOB)  # type: ignore[attr-defined]  # an app
    return bool(found.job.state is JobState.COMPLETED)
