"""What waits for the operator, what another process cannot do, and odd moments of a life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import (
    ApprovalRequiredError,
    CapabilityError,
    InvalidStateError,
    SchedulerError,
)
from mahavishnu_sched_mcp.ledger import jobs
from tests.factories import (
    MINUTE,
    Gate,
    ManualClock,
    an_app,
    an_interval,
    ledger_of,
    policies,
    ring,
    rows_of,
    run_reached,
    runner_of,
    runs_of,
    settled,
)

JOB = "apscheduler:a"
TRUE = {"argv": ["/bin/true"], "approval": "required"}


async def a_job_that_is(app: MahavishnuApp, state: JobState) -> None:
    """Make a job and put it into a state that only the operator's commands reach."""
    made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
    await ledger_of(app).write(lambda db: jobs.set_state(db, made.job.serial, state, note="held"))


@pytest.mark.parametrize(
    ("state", "refusals"),
    [
        (
            JobState.PENDING_APPROVAL,
            {
                "pause_job": InvalidStateError,
                "resume_job": InvalidStateError,
                "run_job_now": ApprovalRequiredError,
            },
        ),
        (
            JobState.QUARANTINED,
            {
                "pause_job": InvalidStateError,
                "resume_job": InvalidStateError,
                "run_job_now": InvalidStateError,
            },
        ),
    ],
)
async def test_a_job_that_waits_for_the_operator_is_left_alone(
    state: JobState, refusals: dict[str, type[SchedulerError]], tmp_path: Path
) -> None:
    """Neither paused, nor resumed, nor run; it can be cancelled."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await a_job_that_is(app, state)
        before = rows_of(app)
        for name, error in refusals.items():
            with pytest.raises(error, match=JOB):
                await getattr(app.scheduler, name)(JOB)
        after = rows_of(app)
        await ring(app, clock)
        runs = await runs_of(app, JOB)
        cancelled = await app.scheduler.cancel_job(JOB)

    assert after == before
    assert runs == []
    assert cancelled.state is JobState.CANCELLED


@pytest.mark.parametrize("call", ["task", "workflow"])
async def test_what_needs_approval_is_refused(call: str, tmp_path: Path) -> None:
    """This version cannot ask for it, and does not run it unasked."""
    tasks = {"modules": ["tests.factories"], "commands": {"wipe": TRUE}}
    flows = {"cleaning": {"nodes": [{"id": "n", "task": "wipe"}]}}
    async with an_app(tmp_path, tasks=tasks, workflows=flows) as app:
        before = rows_of(app)
        with pytest.raises(CapabilityError, match="'wipe' needs the operator's approval"):
            await (
                app.scheduler.schedule_internal_task("wipe", trigger=an_interval(60))
                if call == "task"
                else app.scheduler.enqueue_workflow("cleaning")
            )
        after = rows_of(app)

    assert after == before


async def test_a_built_in_task_is_not_sent_to_prefect(tmp_path: Path) -> None:
    """It needs the server's own process; the mend is the queue."""
    flows = {"checking": {"nodes": [{"id": "n", "task": "health_check"}]}}
    async with an_app(tmp_path, workflows=flows) as app:
        before = rows_of(app)
        with pytest.raises(CapabilityError, match="needs the server's own process") as refused:
            await app.scheduler.schedule_deployment("checking", schedule_config={"cron": "@daily"})
        after = rows_of(app)

    assert "enqueue_workflow" in refused.value.hint
    assert after == before


async def test_a_job_without_trigger_is_paused_and_resumed(tmp_path: Path) -> None:
    """Nothing is skipped, as it has no fires; its run goes on and completes it."""
    gate = Gate()
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.enqueue_workflow("gated", context={"gate": gate.name}, id="a")
        assert made.run_id is not None
        await run_reached(app, made.run_id, RunState.RUNNING)
        paused = await app.scheduler.pause_job("oneiric:a")
        resumed = await app.scheduler.resume_job("oneiric:a")
        gate.open()
        runs = await settled(app, "oneiric:a")
        job = (await app.scheduler.get_job("oneiric:a")).job

    assert (paused.state, resumed.state) == (JobState.PAUSED, JobState.ACTIVE)
    assert [run.state for run in runs] == [RunState.SUCCEEDED]
    assert job.state is JobState.COMPLETED


async def test_the_timeout_of_a_workflow_job_covers_all_its_nodes(tmp_path: Path) -> None:
    """What the first node used is not there for the second."""
    nodes: list[dict[str, Any]] = [
        {"id": "one", "task": "greet"},
        {"id": "two", "task": "greet", "depends_on": ["one"]},
    ]
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock, workflows={"pair": {"nodes": nodes}}) as app:
        runner, execute = runner_of(app), runner_of(app)._executor.execute

        async def take_long(*args: Any, **kwargs: Any) -> Any:
            outcome = await execute(*args, **kwargs)
            clock.shift(60 * MINUTE)
            return outcome

        runner._executor.execute = take_long  # type: ignore[method-assign]  # the clock moves under the first node
        made = await app.scheduler.enqueue_workflow("pair", policies=policies(timeout_seconds=30))
        assert made.run_id is not None
        run = await run_reached(app, made.run_id, RunState.TIMED_OUT)

    states = {node.node: node.state for node in run.nodes}
    assert states["one"] is RunState.SUCCEEDED
    assert states["two"] is RunState.TIMED_OUT
    assert run.state is RunState.TIMED_OUT


async def test_the_engines_are_told_in_short(tmp_path: Path) -> None:
    """For the lists: a state each, and what is empty is left out."""
    async with an_app(tmp_path, schedulers={"prefect_deployments_enabled": False}) as app:
        engines = app.scheduler.engines()

    assert {name: engine["state"] for name, engine in engines.items()} == {
        "apscheduler": "ready",
        "oneiric": "idle",
        "prefect": "disabled",
    }
    assert "url" not in engines["prefect"]


async def test_an_alarm_after_the_stop_is_not_heard(tmp_path: Path) -> None:
    """The next leader takes the fire."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        runner = runner_of(app)
    runner.on_due([])

    assert runner._background == set()


def test_an_error_gives_its_parts() -> None:
    """Code, message, hint and details; in one line for people."""
    error = CapabilityError("It cannot.", hint="Leave it out.", details={"limit": 1})

    assert error.to_dict() == {
        "code": "capability_unsupported",
        "message": "It cannot.",
        "hint": "Leave it out.",
        "details": {"limit": 1},
    }
    assert str(error) == "It cannot. Leave it out."
    assert str(SchedulerError("Broken.")) == "Broken."
