"""A leader that is replaced while it goes on: it ends what it does, follows, and leads again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.engine import EngineState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.leadership import Leadership
from mahavishnu_sched_mcp.leadership.vacancy import Terms, Vacancy
from mahavishnu_sched_mcp.tasks.guardian import Guardian
from tests.factories import (
    MINUTE,
    Gate,
    ManualClock,
    an_app,
    an_interval,
    eventually,
    ring,
    runner_of,
    runs_of,
    settled,
)

BRISK = Terms(lasts=8.0, renew_every=0.1, margin=2.0)
JOB = "apscheduler:a"


def leadership_of(app: MahavishnuApp) -> Leadership:
    """Reach the claim of an app, and let it look at its lease often."""
    found = app.scheduler._parts.lead._leadership
    found._terms = BRISK
    found._vacancy = Vacancy(lasts=BRISK.lasts, boot=found._holder.boot)
    return found


@asynccontextmanager
async def a_leader_and_its_heir(
    folder: Path, clock: ManualClock
) -> AsyncIterator[tuple[MahavishnuApp, MahavishnuApp]]:
    """Start two apps on one data dir; the first one leads."""
    async with an_app(folder, clock=clock) as one, an_app(folder, clock=clock) as two:
        leadership_of(one)
        leadership_of(two)
        yield one, two


async def depose(one: MahavishnuApp, *, by: MahavishnuApp) -> None:
    """Let a process find the leader's lease run out, as when the leader was stopped."""
    heir = leadership_of(by)
    heir._monotonic = lambda: time.monotonic() + 9
    await eventually(lambda: by.scheduler.is_leader, description="the heir leads")
    await eventually(lambda: not one.scheduler.is_leader, description="the old one knows it")


async def test_a_deposed_leader_ends_what_it_runs_and_the_heir_runs_it_again(
    tmp_path: Path,
) -> None:
    """The run has two attempts and one outcome: nothing is recorded twice."""
    clock, gate = ManualClock(), Gate()
    async with a_leader_and_its_heir(tmp_path, clock) as (one, two):
        await one.scheduler.schedule_internal_task(
            "wait_safely_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(one, clock)
        await eventually(lambda: gate.entries == 1, description="the task runs in the first")
        await depose(one, by=two)
        await eventually(lambda: not runner_of(one)._running, description="its tasks have ended")
        await eventually(lambda: gate.entries == 2, description="the task runs in the heir")
        gate.open()
        (run,) = await settled(two, JOB)
        job = (await one.scheduler.get_job(JOB)).job

    assert [attempt.outcome for attempt in run.attempts] == [
        RunState.INTERRUPTED,
        RunState.SUCCEEDED,
    ]
    assert (job.counts.succeeded, job.counts.interrupted) == (1, 0)


async def test_a_deposed_leader_records_nothing_of_its_old_term(tmp_path: Path) -> None:
    """What ends after the take-over has been accounted for by the heir."""
    clock, gate = ManualClock(), Gate()
    async with a_leader_and_its_heir(tmp_path, clock) as (one, two):
        await one.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(one, clock)
        await eventually(lambda: gate.entries == 1, description="the task runs")
        await depose(one, by=two)
        gate.open()
        (run,) = await settled(two, JOB)

    assert run.state is RunState.INTERRUPTED
    assert run.reason == "the server ended while it ran"


async def test_a_deposed_leader_answers_as_a_follower(tmp_path: Path) -> None:
    """Its calls go through the ledger to the heir; it fires nothing."""
    clock = ManualClock()
    async with a_leader_and_its_heir(tmp_path, clock) as (one, two):
        await one.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await depose(one, by=two)
        status = await one.scheduler.status()
        extra = await one.scheduler.run_job_now(JOB, wait_seconds=5)
        await ring(two, clock)
        runs = await settled(one, JOB, count=2)

    assert status.leader["is_this_process"] is False
    assert status.leader["is_running"] is True
    assert status.leader["term"] == 2
    assert extra.state is RunState.SUCCEEDED
    assert [run.state for run in runs] == [RunState.SUCCEEDED, RunState.SUCCEEDED]


async def test_a_deposed_leader_leads_again_with_all_engines(tmp_path: Path) -> None:
    """After the heir's end its alarm clock and its queue work as at the first time."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as one:
        async with an_app(tmp_path, clock=clock) as two:
            leadership_of(one)
            await one.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
            before = await one.scheduler.enqueue_workflow("greeting", trigger=an_interval(60))
            await ring(one, clock)
            await settled(one, before.job.job_id)
            await depose(one, by=two)
            await ring(two, clock)
            await settled(two, before.job.job_id, count=2)
        await eventually(lambda: one.scheduler.is_leader, description="the first leads again")
        await ring(one, clock, by=MINUTE)
        fired = await settled(one, JOB, count=3)
        walked = await settled(one, before.job.job_id, count=3)
        status = await one.scheduler.status()

    assert [run.state for run in (*fired, *walked)] == [RunState.SUCCEEDED] * 6
    assert len({run.scheduled_for for run in fired}) == 3
    assert status.leader["term"] == 3
    assert status.engines["oneiric"]["state"] == EngineState.READY


async def test_a_job_kept_in_memory_ends_with_its_leaders_term(tmp_path: Path) -> None:
    """durable=false is a promise of one process; the deposed one takes no new ones."""
    clock = ManualClock()
    async with a_leader_and_its_heir(tmp_path, clock) as (one, two):
        await one.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", durable=False
        )
        await depose(one, by=two)
        await ring(two, clock)
        job = (await two.scheduler.get_job(JOB)).job
        runs = await runs_of(two, JOB)

    assert job.state == "cancelled"
    assert runs == []


async def test_a_server_that_ends_while_it_is_deposed_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    """The end finishes what the step-down began."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as one, an_app(tmp_path, clock=clock) as two:
        leadership_of(one)
        await one.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(one, clock)
        await eventually(lambda: gate.entries == 1, description="the task runs")
        leadership_of(two)._monotonic = lambda: time.monotonic() + 9
        await eventually(lambda: two.scheduler.is_leader, description="the heir leads")
        await one.stop_scheduler(drain=0)
        left = set(runner_of(one)._running)
        (run,) = await settled(two, JOB)

    assert left == set()
    assert run.state is RunState.INTERRUPTED


async def test_a_command_that_was_claimed_before_the_stop_is_not_started_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between claim and start the leader was stopped and replaced: the heir has started it."""
    clock, at_start, go_on, calls = ManualClock(), asyncio.Event(), asyncio.Event(), list[int]()
    trace = tmp_path / "trace"
    send = Guardian._send

    async def send_late(self: Guardian, descriptors: list[int]) -> None:
        calls.append(1)
        if len(calls) == 1:
            at_start.set()
            await go_on.wait()
        await send(self, descriptors)

    monkeypatch.setattr(Guardian, "_send", send_late)
    command = {"argv": ["/bin/mkdir", str(trace)], "idempotent": True}
    tasks = {"modules": ["tests.factories"], "commands": {"leave_trace": command}}
    data = tmp_path / "data"
    async with (
        an_app(data, clock=clock, tasks=tasks) as one,
        an_app(data, clock=clock, tasks=tasks) as two,
    ):
        leadership_of(one)._terms = BRISK._replace(renew_every=60)
        await one.scheduler.schedule_internal_task("leave_trace", trigger=an_interval(60), id="a")
        await ring(one, clock)
        await asyncio.wait_for(at_start.wait(), 5)
        leadership_of(two)._monotonic = lambda: time.monotonic() + 9
        await eventually(lambda: two.scheduler.is_leader, description="the heir leads")
        (run,) = await settled(two, JOB)
        trace.rmdir()
        leadership_of(one)._trusted_until = 0
        go_on.set()
        await eventually(lambda: not runner_of(one)._running, description="its run has ended")

    assert [attempt.outcome for attempt in run.attempts] == [
        RunState.INTERRUPTED,
        RunState.SUCCEEDED,
    ]
    assert not trace.exists()
