"""What the ledger has of a workflow whose worker is stopped: the real Oneiric and its queue."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.backends.oneiric.backend import OneiricBackend
from mahavishnu_sched_mcp.backends.oneiric.queues.sqlite import SqliteQueueAdapter
from mahavishnu_sched_mcp.backends.protocol import Dispatch
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.run import NodeRun, Outcome, RunState
from mahavishnu_sched_mcp.errors import BackendUnavailableError, LedgerCorruptError
from tests.integration.test_oneiric_backend import TASKS, WORKFLOWS, MemoryWork, hang

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class TornWork(MemoryWork):
    """A ledger that fails when a node's end is written."""

    async def record_node(self, run_id: str, node: NodeRun) -> None:
        """Keep the beginning, refuse the end."""
        if node.state.is_final:
            msg = "torn page"
            raise LedgerCorruptError(msg)
        await super().record_node(run_id, node)


def a_backend(work: MemoryWork, path: Path) -> OneiricBackend:
    """Make a backend on a queue."""
    return OneiricBackend(
        workflows=WORKFLOWS,
        tasks=TASKS,
        work=work,
        clock=SystemClock(),
        queue_path=path,
        worker_name="test-worker",
    )


async def stopped_at_work(work: MemoryWork, path: Path) -> None:
    """Stop a backend while the first node of a run is at work."""
    hang(work, "extract")
    work.expect("run-1")
    backend = a_backend(work, path)
    await backend.dispatch(
        Dispatch(run_id="run-1", job_id="oneiric:etl", target="etl", scheduled_for=NOON)
    )
    await work.until(lambda: len(work.calls) == 1)
    await backend.stop()


async def test_a_stop_ends_the_records_of_the_nodes(tmp_path: Path) -> None:
    """A node at work is interrupted, with its end; one never begun has no attempt."""
    work = MemoryWork()

    await stopped_at_work(work, tmp_path / "queue.db")

    began, never = work.nodes["run-1"].values()
    assert (began.node, began.state, began.attempts) == ("e", RunState.INTERRUPTED, 1)
    assert began.finished_at is not None
    assert began.reason == "its worker was stopped"
    assert (never.node, never.state, never.attempts) == ("l", RunState.SKIPPED, 0)
    assert work.outcomes == {}


async def test_a_ledger_that_fails_at_the_stop_makes_no_failed_run(tmp_path: Path) -> None:
    """The stop is no failure of the run, also where its nodes cannot be written any more."""
    work = TornWork()

    await stopped_at_work(work, tmp_path / "queue.db")

    assert work.outcomes == {}


async def test_nodes_are_recorded_in_the_order_of_the_graph(tmp_path: Path) -> None:
    """Nodes that never began are told behind those before them, whatever was declared first."""
    work = MemoryWork()

    async def fail(_: dict[str, Any], __: dict[str, Any]) -> Outcome:
        return Outcome(state=RunState.FAILED, reason="no disk")

    work.tasks["extract"] = fail
    work.expect("run-1")
    backend = a_backend(work, tmp_path / "queue.db")
    await backend.dispatch(
        Dispatch(run_id="run-1", job_id="oneiric:etl", target="etl", scheduled_for=NOON)
    )
    await work.finished("run-1")
    await backend.stop()

    assert [(n.node, n.attempts) for n in work.nodes["run-1"].values()] == [("e", 1), ("l", 0)]


async def test_a_stop_while_a_queue_opens_leaves_no_error_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oneiric shields the opening: it is ended with the start, and its error is looked at."""
    opening = asyncio.Event()
    ended = asyncio.Event()
    complaints: list[dict[str, Any]] = []

    async def init(_: SqliteQueueAdapter) -> None:
        opening.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            msg = "The queue was closed while it opened."
            raise BackendUnavailableError(msg) from None
        finally:
            ended.set()

    monkeypatch.setattr(SqliteQueueAdapter, "init", init)
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    backend = a_backend(MemoryWork(), tmp_path / "queue.db")
    start = asyncio.create_task(backend.ensure_started())
    async with asyncio.timeout(15):
        await opening.wait()
        await backend.stop()
    await asyncio.gather(start, return_exceptions=True)
    del start
    gc.collect()

    assert ended.is_set()
    assert complaints == []
