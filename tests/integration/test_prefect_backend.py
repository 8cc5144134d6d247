"""Deployments on the real embedded Prefect, with its real worker and real commands."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import pytest_asyncio

from mahavishnu_sched_mcp.backends.prefect.child import started_of
from mahavishnu_sched_mcp.domain.engine import EngineState
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import RunError, RunState
from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from tests.integration.prefect_stage import Stage, sleepers, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def _untouched_environment() -> Iterator[None]:
    kept = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    tmp_path_factory: pytest.TempPathFactory, _untouched_environment: None
) -> AsyncIterator[Stage]:
    """Start the embedded server and its worker, once for this file."""
    folder = tmp_path_factory.mktemp("prefect")
    os.environ["PYTHONPATH"] = str(folder)
    started_stage = Stage(folder, server_url=None)
    backend = started_stage.backend
    try:
        await backend.ensure_started()
        yield started_stage
    finally:
        pids = [pid for pid in backend.health().figures.values() if pid]
        started = time.monotonic()
        await backend.stop()
        assert time.monotonic() - started <= 3
        assert [pid for pid in pids if started_of(pid)] == []


async def test_a_scheduled_run_appears_and_completes(stage: Stage) -> None:
    """The server makes the fires, the worker runs the nodes, the ledger is told each once."""
    job = await stage.deploy("letter", every=timedelta(seconds=2), params={"name": "Ann"})
    assert job.trigger is not None

    async def has_completed() -> bool:
        return len(stage.ledger.states_of(job)) >= 2

    assert await stage.upcoming(job) > 0
    await wait_until(has_completed, description="two runs of the schedule are in the ledger")
    await stage.change(job, state=JobState.CANCELLED)
    runs = [run for run in stage.ledger.runs_of(job) if run.outcome is not None]
    assert {run.outcome.state for run in runs if run.outcome} == {RunState.SUCCEEDED}
    assert runs[0].outcome is not None
    assert "[greeting] hello Ann" in runs[0].outcome.output.text
    assert [(n.node, n.state) for n in runs[0].nodes] == [
        ("greeting", RunState.SUCCEEDED),
        ("signature", RunState.SUCCEEDED),
    ]
    anchor = job.trigger.next_after(job.created_at)
    assert anchor is not None
    offsets = {(run.scheduled_for - anchor) % timedelta(seconds=2) for run in runs}
    assert offsets == {timedelta(0)}
    assert all(run.started_at is None or run.started_at >= run.scheduled_for for run in runs)


async def test_pause_removes_upcoming_runs_and_resume_brings_them_back(stage: Stage) -> None:
    """A paused deployment has no fires; a resumed one goes on at its old instants."""
    job = await stage.deploy("letter", every=timedelta(hours=1), params={"name": "Bea"})
    assert await stage.upcoming(job) > 0

    job = await stage.change(job, state=JobState.PAUSED)
    assert await stage.upcoming(job) == 0

    job = await stage.change(job, state=JobState.ACTIVE)
    assert await stage.upcoming(job) > 0


async def test_a_run_dispatched_twice_runs_once(stage: Stage) -> None:
    """The run's id is the key: a repeat after a lost receipt makes no second run."""
    job = await stage.deploy("letter")

    first = await stage.dispatch(job, "twice", name="Cy")
    second = await stage.dispatch(job, "twice", name="Cy")

    async def has_completed() -> bool:
        return stage.ledger.states_of(job) == [RunState.SUCCEEDED]

    assert first.reference["flow_run_id"] == second.reference["flow_run_id"]
    await wait_until(has_completed, description="the one run has succeeded")
    assert [run.run_id for run in stage.ledger.runs_of(job)] == ["twice"]


async def test_a_failed_node_fails_the_run_and_stops_what_follows(stage: Stage) -> None:
    """The ledger has the reason, and the node behind it never started, with every retry."""
    policies = Policies(retries=1, retry_delay_seconds=0)
    job = await stage.deploy("broken", policies=policies)
    await stage.dispatch(job, "broken-run")

    async def has_failed() -> bool:
        return stage.ledger.states_of(job) == [RunState.FAILED]

    await wait_until(has_failed, description="the run has failed")
    (run,) = stage.ledger.runs_of(job)
    assert run.attempts == 2
    assert {node.node: node.state for node in run.nodes} == {
        "refusal": RunState.FAILED,
        "after": RunState.SKIPPED,
    }
    assert [node.node for node in run.nodes] == ["refusal", "after"]
    failure = "node 'refusal' failed: ExitStatus: exit status 1"
    assert run.outcome is not None
    assert run.outcome.reason == failure
    assert run.outcome.error == RunError(type="ExitStatus", message="exit status 1")
    assert run.outcome.output.text == failure
    assert "Traceback" not in await stage.log_of(run)


async def test_an_operators_flow_runs_with_its_own_parameters(stage: Stage) -> None:
    """A sync flow runs too; a parameter it lacks is refused before it runs."""
    job = await stage.deploy("add", params={"first": 1, "second": 2})

    await stage.dispatch(job, "sum", first=3, second=4)
    with pytest.raises(InvalidArgumentsError):
        await stage.dispatch(job, "wrong", third=5)

    async def has_completed() -> bool:
        return stage.ledger.states_of(job) == [RunState.SUCCEEDED]

    await wait_until(has_completed, description="the operator's flow has succeeded")


async def test_a_path_that_is_not_the_operators_is_refused(stage: Stage) -> None:
    """Whoever reaches the server's port cannot make the worker import anything else."""
    job = await stage.deploy("letter")
    deployment_id = UUID(job.reference["deployment_id"])
    change = {"entrypoint": "shutil.rmtree"}
    await stage.backend._client.ask(
        lambda client: client.request(
            "PATCH", "/deployments/{id}", path_params={"id": deployment_id}, json=change
        )
    )

    await stage.dispatch(job, "foreign")

    async def has_crashed() -> bool:
        return stage.ledger.states_of(job) == [RunState.INTERRUPTED]

    await wait_until(has_crashed, description="the worker has refused it")
    (run,) = stage.ledger.runs_of(job)
    assert run.outcome is not None
    assert "not one of the operator's flows" in run.outcome.output.text


async def test_a_running_run_is_cancelled(stage: Stage) -> None:
    """The command is ended with the run, and nothing of it goes on."""
    before = sleepers()
    job = await stage.deploy("lengthy")
    run = await stage.dispatch(job, "long-run")

    async def is_running() -> bool:
        return any(run.started_at is not None for run in stage.ledger.runs_of(job))

    async def is_cancelled() -> bool:
        return stage.ledger.states_of(job) == [RunState.CANCELLED]

    async def is_gone() -> bool:
        return sleepers() <= before

    async def has_command() -> bool:
        return sleepers() > before

    await wait_until(is_running, description="the run has started")
    await wait_until(has_command, description="the command runs")
    await stage.backend.cancel(run)
    await wait_until(is_cancelled, description="the run is cancelled")
    await wait_until(is_gone, description="the command is gone", seconds=5)


async def test_a_cancelled_job_leaves_no_deployment(stage: Stage) -> None:
    """Removal is idempotent, and a removed job can be deployed again."""
    job = await stage.deploy("letter", every=timedelta(hours=1), params={"name": "Di"})

    for _ in range(2):
        job = await stage.change(job, state=JobState.CANCELLED)
    found = await stage.backend._client.find_deployment("letter", f"job-{job.serial}")

    assert (found, await stage.upcoming(job)) == (None, 0)


async def test_what_the_server_refuses_is_refused_for_good(stage: Stage) -> None:
    """Closed parameters and unknown work pools are errors with a mend, not later tries."""
    job = await stage.deploy("letter")
    unknown = {"workflow": "letter", "context": {}, "extra": 1}
    runs = stage.backend._client.runs

    with pytest.raises(InvalidArgumentsError):
        await runs.create(job.reference["deployment_id"], parameters=unknown, run_id="never")
    with pytest.raises(InvalidArgumentsError, match="prefect work-pool create nowhere"):
        await stage.deploy("letter", options={"work_pool_name": "nowhere"})


async def test_a_dead_worker_is_replaced_and_its_run_is_interrupted(stage: Stage) -> None:
    """The run that died with its worker does not stay running for ever."""
    job = await stage.deploy("lengthy")
    await stage.dispatch(job, "doomed")

    async def is_running() -> bool:
        return any(run.started_at is not None for run in stage.ledger.runs_of(job))

    async def is_interrupted() -> bool:
        return stage.ledger.states_of(job) == [RunState.INTERRUPTED]

    await wait_until(is_running, description="the command runs")
    worker_pid = stage.backend.health().figures["worker_pid"]
    os.kill(worker_pid, signal.SIGKILL)
    await wait_until(is_interrupted, description="the run is interrupted", seconds=60)

    async def is_gone() -> bool:
        return sleepers() == set()

    await wait_until(is_gone, description="the command died with its worker", seconds=10)

    await stage.backend.ensure_started()
    assert stage.backend.health().state is EngineState.READY
    assert stage.backend.health().figures["worker_pid"] != worker_pid


async def test_a_users_own_server_is_used_as_it_is(stage: Stage, tmp_path: Path) -> None:
    """Another data folder on the same server has a worker and a pool of its own."""
    guest = Stage(tmp_path, server_url=stage.backend._installation._api_url)

    try:
        job = await guest.deploy("letter", params={"name": "Eve"})
        await guest.dispatch(job, "as-guest", name="Eve")

        async def is_over() -> bool:
            return bool(guest.ledger.states_of(job))

        await wait_until(is_over, description="the guest's worker ran the guest's run")
        assert guest.ledger.states_of(job) == [RunState.SUCCEEDED]
        figures = guest.backend.health().figures
        assert figures["server_pid"] is None
        assert figures["worker_pid"] != stage.backend.health().figures["worker_pid"]
    finally:
        await guest.backend.stop()
    assert stage.backend.health().state is EngineState.READY
