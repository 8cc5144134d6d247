"""Workflows through the real Oneiric and the real embedded queue."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.backends.oneiric.backend import OneiricBackend
from mahavishnu_sched_mcp.backends.oneiric.queues.sqlite import SqliteQueueAdapter
from mahavishnu_sched_mcp.backends.protocol import Dispatch
from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.engine import EngineState
from mahavishnu_sched_mcp.domain.run import Cause, NodeRun, Outcome, Run, RunError, RunState
from mahavishnu_sched_mcp.domain.workflow import Node, NodeRetry, Workflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

# Oneiric 0.17 calls tenacity with an argument that newer ones deprecate, whenever it retries.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

type Task = Callable[[dict[str, Any], dict[str, Any]], Awaitable[Outcome]]


def succeeded(value: object = None) -> Outcome:
    """Say that a task ended well, with its result."""
    return Outcome(state=RunState.SUCCEEDED, value=value)


def failed(reason: str) -> Outcome:
    """Say that a task failed, in the words of its exception only."""
    return Outcome(state=RunState.FAILED, error=RunError(type="OSError", message=reason))


class MemoryWork:
    """A ledger and runner in memory that keep what `WorkPort` promises."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.begun: list[str] = []
        self.calls: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = []
        self.nodes: dict[str, dict[str, NodeRun]] = {}
        self.tasks: dict[str, Task] = {}
        self.stops: dict[str, asyncio.Event] = {}
        self.changed = asyncio.Condition()

    def expect(self, run_id: str) -> None:
        """Make a run that may be begun once."""
        self.runs[run_id] = Run(
            run_id=run_id,
            job_id="oneiric:etl",
            job_serial=1,
            scheduled_for=NOON,
            cause=Cause.QUEUE,
            state=RunState.PENDING,
        )
        self.stops[run_id] = asyncio.Event()

    async def begin(self, run_id: str, *, worker: str) -> Run | None:
        """Claim a pending run."""
        run = self.runs.get(run_id)
        if run is None or run.state is not RunState.PENDING:
            return None
        self.begun.append(run_id)
        return await self._set(run.model_copy(update={"state": RunState.RUNNING, "worker": worker}))

    async def record_node(self, run_id: str, node: NodeRun) -> None:
        """Keep the newest record of each node."""
        self.nodes.setdefault(run_id, {})[node.node] = node

    async def finish(self, run_id: str, outcome: Outcome) -> Run:
        """Keep how the run ended."""
        self.outcomes[run_id] = outcome
        return await self._set(self.runs[run_id].model_copy(update={"state": outcome.state}))

    async def execute_task(
        self,
        task: str,
        params: dict[str, Any],
        *,
        run: Run,
        timeout_seconds: float | None,
        node: str,
        upstream: dict[str, Any],
    ) -> Outcome:
        """Run the function that the test put under this name."""
        assert run.state is RunState.RUNNING
        assert timeout_seconds is None
        self.calls.append((task, params, node, upstream))
        await self._set(run)
        return await self.tasks[task](params, upstream)

    async def cancelled(self, run_id: str) -> None:
        """Return when the test asks to stop the run."""
        await self.stops[run_id].wait()

    async def finished(self, run_id: str) -> Outcome:
        """Wait until a run is over."""
        await self.until(lambda: run_id in self.outcomes)
        return self.outcomes[run_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a run or a call changes."""
        async with asyncio.timeout(15), self.changed:
            await self.changed.wait_for(condition)

    def states(self, run_id: str) -> dict[str, str]:
        """Give each node's state."""
        return {name: node.state.value for name, node in self.nodes[run_id].items()}

    async def _set(self, run: Run) -> Run:
        async with self.changed:
            self.runs[run.run_id] = run
            self.changed.notify_all()
        return run


def a_task(name: str, *params: str) -> TaskEntry:
    """Declare a task that takes the named parameters."""
    schema = {"type": "object", "properties": {key: {} for key in params}}
    return TaskEntry(name=name, source="callable", params_schema=schema)


TASKS = {t.name: t for t in (a_task("extract", "day", "table"), a_task("load"), a_task("verify"))}

TWICE = NodeRetry(attempts=2, base_delay_seconds=0)

WORKFLOWS = {
    w.name: w
    for w in (
        Workflow(
            name="etl",
            nodes=(
                Node(id="l", task="load", depends_on=("e",)),
                Node(id="e", task="extract", payload={"table": "fixed"}),
            ),
        ),
        Workflow(
            name="checked",
            nodes=(
                Node(id="verify", task="verify", retry=NodeRetry(attempts=2, base_delay_seconds=0)),
                Node(id="after", task="load", depends_on=("verify",)),
                Node(id="beside", task="extract"),
            ),
        ),
    )
}


@pytest.fixture
def work() -> MemoryWork:
    """Hand the test a ledger in memory."""
    return MemoryWork()


@pytest.fixture
async def backend(work: MemoryWork, tmp_path: Path) -> AsyncIterator[OneiricBackend]:
    """Make a backend and stop it in the end."""
    backend = OneiricBackend(
        workflows=WORKFLOWS,
        tasks=TASKS,
        work=work,
        clock=SystemClock(),
        queue_path=tmp_path / "queue.db",
        worker_name="test-worker",
    )
    yield backend
    await backend.stop()


def a_dispatch(run_id: str, target: str = "etl", **fields: Any) -> Dispatch:
    """Ask for one run."""
    return Dispatch(
        run_id=run_id, job_id="oneiric:etl", target=target, scheduled_for=NOON, **fields
    )


def take_well(work: MemoryWork) -> None:
    """Let every task end well, with its name and arguments as its result."""

    def task(name: str) -> Task:
        async def run(params: dict[str, Any], _: dict[str, Any]) -> Outcome:
            return succeeded({"task": name, **params})

        return run

    work.tasks = {name: task(name) for name in TASKS}


def answer(work: MemoryWork, name: str, *outcomes: Outcome) -> None:
    """Let a task end so, try after try."""
    coming = iter(outcomes)

    async def run(_: dict[str, Any], __: dict[str, Any]) -> Outcome:
        return next(coming)

    work.tasks[name] = run


async def test_nodes_run_in_order_with_the_results_before_them(
    backend: OneiricBackend, work: MemoryWork
) -> None:
    """A node gets its fixed payload, what it declares of the context, and upstream results."""
    take_well(work)
    work.expect("run-1")

    context = {"day": "2026-11-20", "table": "asked", "other": 1}
    receipt = await backend.dispatch(a_dispatch("run-1", params=context))
    outcome = await work.finished("run-1")

    extracted = {"task": "extract", "day": "2026-11-20", "table": "fixed"}
    assert work.calls == [
        ("extract", {"day": "2026-11-20", "table": "fixed"}, "e", {}),
        ("load", {}, "l", {"e": extracted}),
    ]
    assert outcome.state is RunState.SUCCEEDED
    assert outcome.value == {"e": extracted, "l": {"task": "load"}}
    assert json.loads(outcome.output.text) == outcome.value
    assert work.states("run-1") == {"e": "succeeded", "l": "succeeded"}
    assert work.runs["run-1"].worker == "test-worker"
    assert set(receipt.reference) == {"message_id", "queue_provider", "oneiric_run_id"}


async def test_a_run_dispatched_twice_runs_once(backend: OneiricBackend, work: MemoryWork) -> None:
    """A repeat with the same run id makes no second run, before or after the first ended."""
    take_well(work)
    for run_id in ("run-1", "run-2"):
        work.expect(run_id)

    await asyncio.gather(*(backend.dispatch(a_dispatch("run-1")) for _ in range(3)))
    await work.finished("run-1")
    for run_id in ("run-1", "run-2"):
        await backend.dispatch(a_dispatch(run_id))
    await work.finished("run-2")

    assert work.begun == ["run-1", "run-2"]


async def test_a_failing_node_is_named_and_what_depends_on_it_is_skipped(
    backend: OneiricBackend, work: MemoryWork
) -> None:
    """A node is tried as often as declared; then the run fails and says which node and why."""
    take_well(work)
    answer(work, "verify", failed("checksum differs, try 1"), failed("checksum differs, try 2"))
    work.expect("run-1")

    await backend.dispatch(a_dispatch("run-1", "checked"))
    outcome = await work.finished("run-1")

    assert outcome.state is RunState.FAILED
    assert outcome.reason == "node 'verify' failed: checksum differs, try 2"
    assert outcome.error == RunError(type="OSError", message="checksum differs, try 2")
    assert work.states("run-1") == {"verify": "failed", "beside": "succeeded", "after": "skipped"}
    assert work.nodes["run-1"]["verify"].attempts == 2
    assert work.nodes["run-1"]["after"].reason == outcome.reason


async def test_a_node_that_fails_once_is_tried_again(
    backend: OneiricBackend, work: MemoryWork
) -> None:
    """A retry that succeeds makes the run succeed; the node's record counts the tries."""
    take_well(work)
    answer(work, "verify", failed("busy"), succeeded("sound"))
    work.expect("run-1")

    await backend.dispatch(a_dispatch("run-1", "checked"))

    assert (await work.finished("run-1")).state is RunState.SUCCEEDED
    assert work.nodes["run-1"]["verify"].attempts == 2


async def test_a_node_over_its_time_times_the_run_out(
    backend: OneiricBackend, work: MemoryWork
) -> None:
    """The run is `timed_out`, not `failed`, where the node's task was."""
    take_well(work)
    answer(work, "load", Outcome(state=RunState.TIMED_OUT, reason="limit 5 s"))
    work.expect("run-1")

    await backend.dispatch(a_dispatch("run-1"))

    expected = Outcome(state=RunState.TIMED_OUT, reason="node 'l' timed out: limit 5 s")
    assert await work.finished("run-1") == expected


def hang(work: MemoryWork, name: str) -> list[str]:
    """Let a task run until it is cancelled, and note when that happens."""
    ends: list[str] = []

    async def wait(_: dict[str, Any], __: dict[str, Any]) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(name)
        return succeeded()

    work.tasks[name] = wait
    return ends


async def test_a_cancelled_run_stops_its_nodes(backend: OneiricBackend, work: MemoryWork) -> None:
    """Cancelling ends the running node at once and never reaches the next."""
    ends = hang(work, "extract")
    work.expect("run-1")

    await backend.dispatch(a_dispatch("run-1"))
    await work.until(lambda: len(work.calls) == 1)
    await backend.cancel(work.runs["run-1"])
    work.stops["run-1"].set()
    outcome = await work.finished("run-1")

    assert (outcome.state, outcome.reason) == (RunState.CANCELLED, "cancelled by request")
    assert ends == ["extract"]
    assert work.states("run-1") == {"e": "cancelled", "l": "skipped"}


async def test_a_task_that_answers_its_cancellation_ends_too(
    backend: OneiricBackend, work: MemoryWork
) -> None:
    """A task that turns its cancellation into an outcome does not keep the run going."""

    async def obey(_: dict[str, Any], __: dict[str, Any]) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Outcome(state=RunState.CANCELLED, reason="told to stop")
        return succeeded()

    work.tasks["extract"] = obey
    work.expect("run-1")

    await backend.dispatch(a_dispatch("run-1"))
    await work.until(lambda: len(work.calls) == 1)
    work.stops["run-1"].set()

    assert (await work.finished("run-1")).reason == "cancelled by request"


async def test_a_task_stopped_from_outside_is_not_tried_again(
    backend: OneiricBackend, work: MemoryWork
) -> None:
    """A node that was cancelled or interrupted ends the run as such, whatever its retries."""
    take_well(work)
    interrupted = Outcome(state=RunState.INTERRUPTED, reason="the process was killed")
    answer(work, "verify", interrupted)
    work.expect("run-1")

    await backend.dispatch(a_dispatch("run-1", "checked"))
    outcome = await work.finished("run-1")

    assert outcome.state is RunState.INTERRUPTED
    assert outcome.reason == "node 'verify' interrupted: the process was killed"
    assert [call[0] for call in work.calls].count("verify") == 1


async def test_a_stop_gives_running_messages_back(
    backend: OneiricBackend, work: MemoryWork, tmp_path: Path
) -> None:
    """Stopping cancels the work, records no outcome, and leaves the message for the next."""
    ends = hang(work, "extract")
    work.expect("run-1")
    await backend.dispatch(a_dispatch("run-1"))
    await work.until(lambda: len(work.calls) == 1)

    await backend.stop()
    await backend.stop()

    successor = SqliteQueueAdapter(tmp_path / "queue.db", clock=SystemClock())
    await successor.init()
    (message,) = await successor.read(count=5, block_ms=0)
    await successor.cleanup()
    assert (ends, work.outcomes) == (["extract"], {})
    assert message.payload["metadata"]["run_id"] == "run-1"
    assert backend.health().state is EngineState.STOPPED


async def test_a_message_of_an_unknown_workflow_fails_its_run(
    backend: OneiricBackend, work: MemoryWork, tmp_path: Path
) -> None:
    """A workflow that left the catalog while its message waited is named in the run."""
    work.expect("run-1")
    other = SqliteQueueAdapter(tmp_path / "queue.db", clock=SystemClock())
    await other.init()
    await other.enqueue({"workflow": "gone", "metadata": {"run_id": "run-1"}})
    await other.cleanup()

    await backend.ensure_started()
    outcome = await work.finished("run-1")

    assert outcome.reason == "workflow 'gone' is not in this server's catalog"
