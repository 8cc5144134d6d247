"""How the Oneiric engine starts, refuses and stops: the real Oneiric, no work done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from mahavishnu_sched_mcp.backends.oneiric.backend import OneiricBackend
from mahavishnu_sched_mcp.backends.protocol import Dispatch
from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.engine import Backend, Capabilities, EngineState
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow
from mahavishnu_sched_mcp.errors import (
    BackendUnavailableError,
    CapabilityError,
    InvalidArgumentsError,
    UnknownProviderError,
    UnknownWorkflowError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mahavishnu_sched_mcp.backends.protocol import WorkPort

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class NoWork:
    """A work port that lets nothing run."""

    async def begin(self, run_id: str, *, worker: str) -> None:
        """Refuse every run."""
        assert (run_id, worker) != ("", "")

    def __getattr__(self, name: str) -> Any:
        """Fail the test where a refused run is worked on all the same."""
        msg = f"{name} was called although nothing was begun"
        raise AssertionError(msg)


def a_backend(path: Path, **options: Any) -> OneiricBackend:
    """Make a backend with one sound and one broken workflow."""
    work: WorkPort = NoWork()
    workflows = (
        Workflow(name="etl", nodes=(Node(id="e", task="extract"),)),
        Workflow(name="broken", nodes=(Node(id="x", task="nowhere"),)),
    )
    return OneiricBackend(
        workflows={w.name: w for w in workflows},
        tasks={"extract": TaskEntry(name="extract", source="callable")},
        work=work,
        clock=SystemClock(),
        queue_path=path,
        worker_name="test-worker",
        **options,
    )


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[OneiricBackend]:
    """Make a backend and stop it in the end."""
    backend = a_backend(tmp_path / "queue.db")
    yield backend
    await backend.stop()


def a_dispatch(run_id: str, target: str = "etl") -> Dispatch:
    """Ask for one run."""
    return Dispatch(run_id=run_id, job_id="oneiric:etl", target=target, scheduled_for=NOON)


def a_run(run_id: str) -> Run:
    """Make a run that waits."""
    return Run(
        run_id=run_id,
        job_id="oneiric:etl",
        job_serial=1,
        scheduled_for=NOON,
        cause=Cause.QUEUE,
        state=RunState.PENDING,
    )


def a_job(target: str = "etl", *, kind: JobKind = JobKind.WORKFLOW, **fields: Any) -> Job:
    """Make a job on this engine."""
    provider = fields.pop("provider", None)
    definition = JobDefinition(
        backend=Backend.ONEIRIC,
        kind=kind,
        target=target,
        trigger_requested=None,
        provider=provider,
    )
    values: dict[str, Any] = {
        "serial": 1,
        "job_id": "oneiric:etl",
        "definition": definition,
        "name": target,
        "state": JobState.PENDING,
        "created_at": NOON,
        "created_by": "test",
    }
    return Job(**values | fields)


async def test_concurrent_callers_share_one_start(backend: OneiricBackend) -> None:
    """The engine is idle until someone needs it, and is started once for all."""
    assert backend.health().state is EngineState.IDLE

    starts = [asyncio.create_task(backend.ensure_started()) for _ in range(5)]
    await asyncio.sleep(0)
    assert backend.health().state is EngineState.STARTING
    await asyncio.gather(*starts)

    assert backend.health().state is EngineState.READY
    assert list(backend.health().figures) == ["sqlite"]
    readers = [t for t in asyncio.all_tasks() if "_read_on" in repr(t.get_coro())]
    assert len(readers) == 1


async def test_a_failed_start_says_why_and_is_tried_again(tmp_path: Path) -> None:
    """The cause is one line; when it is mended, the next call starts the engine."""
    path = tmp_path / "queue.db"
    path.write_bytes(b"this is no database, " * 100)
    backend = a_backend(path)

    with pytest.raises(BackendUnavailableError, match="file is not a database") as refusal:
        await backend.apply(a_job())
    health = backend.health()
    path.unlink()
    await backend.ensure_started()

    assert health.state is EngineState.UNAVAILABLE
    assert health.detail == str(refusal.value)
    assert "\n" not in health.detail
    assert str(path) not in health.detail
    assert backend.health().state is EngineState.READY
    await backend.stop()


async def test_a_stop_during_the_start_ends_it(backend: OneiricBackend) -> None:
    """Who waits for the start hears that it was stopped; nothing is left running."""
    start = asyncio.create_task(backend.ensure_started())
    await asyncio.sleep(0)

    await backend.stop()

    with pytest.raises(BackendUnavailableError, match="stopped"):
        await start
    assert backend.health().state is EngineState.STOPPED


async def test_the_engine_refuses_what_it_cannot_run(backend: OneiricBackend) -> None:
    """A refusal names the mend and starts nothing."""
    with pytest.raises(UnknownWorkflowError, match=r"Did you mean 'etl'\?"):
        await backend.apply(a_job("etll"))
    with pytest.raises(UnknownProviderError, match="'kafka'"):
        await backend.apply(a_job(provider="kafka"))
    with pytest.raises(CapabilityError, match="'etl' is a task"):
        await backend.apply(a_job(kind=JobKind.TASK))
    with pytest.raises(InvalidArgumentsError, match="node 'x' uses unknown task 'nowhere'"):
        await backend.dispatch(a_dispatch("run-1", "broken"))

    assert backend.health().state is EngineState.IDLE


async def test_a_job_over_or_paused_needs_nothing_of_the_engine(backend: OneiricBackend) -> None:
    """Fires come from the alarm clock, so holding or ending a job starts no engine."""
    for state in (JobState.PAUSED, JobState.CANCELLED):
        await backend.apply(a_job(state=state))
    assert backend.health().state is EngineState.IDLE

    receipt = await backend.apply(a_job())

    assert receipt.reference == {"queue": "queue.sqlite", "provider": "sqlite"}
    assert backend.health().state is EngineState.READY


async def test_a_waiting_run_can_be_cancelled(tmp_path: Path) -> None:
    """A run that nobody reads yet leaves the queue."""
    backend = a_backend(tmp_path / "queue.db", concurrency=0)

    await backend.dispatch(a_dispatch("run-1"))
    assert backend.health().figures["sqlite"]["depth"] == 1
    await backend.cancel(a_run("run-1"))
    await backend.dispatch(a_dispatch("run-2"))

    assert backend.health().figures["sqlite"] == {
        "depth": 1,
        "in_flight": 0,
        "processed": 0,
        "failed": 0,
    }
    await backend.stop()


async def test_a_paused_queue_takes_no_run(backend: OneiricBackend) -> None:
    """What Oneiric refuses for the moment is reported as not handed over."""
    await backend.ensure_started()
    assert backend._assembly is not None
    backend._assembly.engine._queues.set_paused("queue.sqlite", paused=True)

    with pytest.raises(BackendUnavailableError, match=r"did not take run run-1: .* is paused"):
        await backend.dispatch(a_dispatch("run-1"))


async def test_a_damaged_queue_takes_no_run(backend: OneiricBackend, tmp_path: Path) -> None:
    """A message that was not stored is an error with a mend, never a receipt."""
    await backend.ensure_started()
    with apsw.Connection(str(tmp_path / "queue.db")) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON message BEGIN"
            " SELECT RAISE(FAIL, 'disk full'); END"
        )
    connection.close()

    with pytest.raises(BackendUnavailableError, match="disk full") as refusal:
        await backend.dispatch(a_dispatch("run-1"))

    assert "doctor" in refusal.value.hint
    assert backend.health().figures["sqlite"]["depth"] == 0


def test_the_engine_says_what_it_can(tmp_path: Path) -> None:
    """Fires come from us; runs can be held, asked for and cancelled."""
    backend = a_backend(tmp_path / "queue.db")

    assert backend.name is Backend.ONEIRIC
    assert backend.capabilities == Capabilities(makes_own_fires=False, survives_server=False)
