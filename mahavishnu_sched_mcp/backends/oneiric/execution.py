"""One run of one workflow through Oneiric's DAG executor.

Importing this module imports Oneiric (seconds): only `bridge` does, in a thread.
"""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oneiric.runtime.dag import (
    DAGExecutionError,
    DAGExecutionHooks,
    DAGTask,
    build_graph,
    execute_dag,
)

from mahavishnu_sched_mcp.domain.binding import node_arguments
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import NodeRun, Outcome, Run, RunState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from oneiric.domains.tasks import TaskBridge

    from mahavishnu_sched_mcp.backends.protocol import WorkPort
    from mahavishnu_sched_mcp.domain.catalog import TaskEntry
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Node, Workflow

_MOST_SECONDS_BETWEEN_TRIES = 60.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """A node at work inside a run, with the results of the nodes it depends on."""

    run: Run
    node: Node
    upstream: JsonObject


_step: ContextVar[Step] = ContextVar("mahavishnu_oneiric_step")


class NodeFailedError(Exception):
    """A node's task ended otherwise than well; tells Oneiric to try again or give up."""


class CatalogTask:
    """A task of the catalog as Oneiric's registry holds it.

    Oneiric shares one instance among all runs and tells it neither run nor upstream results:
    it keeps nothing, and learns them from the step that the calling node bound.
    """

    def __init__(self, name: str, *, work: WorkPort) -> None:
        self._name = name
        self._work = work

    async def run(self, payload: JsonObject | None = None) -> Outcome:
        """Run the task as part of the bound step."""
        step = _step.get()
        return await self._work.execute_task(
            self._name,
            payload or {},
            run=step.run,
            timeout_seconds=step.node.timeout_seconds,
            node=step.node.id,
            upstream=step.upstream,
        )


class WorkflowExecution:
    """Runs the nodes of one workflow for one run, and records how each is."""

    def __init__(
        self,
        workflow: Workflow,
        *,
        run: Run,
        context: Mapping[str, object],
        catalog: Mapping[str, TaskEntry],
        tasks: TaskBridge,
        work: WorkPort,
        clock: Clock,
        max_output_bytes: int,
    ) -> None:
        self._workflow = workflow
        self._run = run
        self._context = context
        self._catalog = catalog
        self._tasks = tasks
        self._work = work
        self._clock = clock
        self._max_output_bytes = max_output_bytes
        self._results: JsonObject = {}
        self._outcomes: dict[str, Outcome] = {}
        self._records: dict[str, NodeRun] = {}
        self._failed: list[str] = []
        self._halted: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def complete(self) -> Outcome:
        """Run all nodes and say how the attempt ended.

        Ends early when someone asks to stop the run. Cancelling the call itself stops the
        nodes and records them as interrupted, without an outcome: the server is going down.
        """
        try:
            outcome = await self._run_to_an_end()
        except asyncio.CancelledError as stopping:
            interrupted = Outcome(state=RunState.INTERRUPTED, reason="its worker was stopped")
            try:
                await self._close_records(interrupted)
            finally:
                # Whatever the ledger says now: this ends as cancelled, never as a failed run.
                raise stopping
        await self._close_records(outcome)
        return outcome

    async def _run_to_an_end(self) -> Outcome:
        nodes = asyncio.create_task(self._run_nodes())
        stop = asyncio.create_task(self._work.cancelled(self._run.run_id))
        try:
            endings: set[asyncio.Future[Any]] = {nodes, stop, self._halted}
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            if nodes.done():
                return nodes.result()
            if self._halted.done():
                return self._halted.result()
            stop.result()
            return Outcome(state=RunState.CANCELLED, reason="cancelled by request")
        finally:
            nodes.cancel()
            stop.cancel()
            await asyncio.gather(nodes, stop, return_exceptions=True)

    async def _run_nodes(self) -> Outcome:
        # No checkpoint is handed in: Oneiric puts `<node>__duration` beside the results, so a
        # node of that name would be taken for done.
        graph = build_graph(
            DAGTask(
                key=node.id,
                depends_on=node.depends_on,
                runner=self._runner(node),
                retry_policy=_retry_policy(node),
            )
            for node in self._workflow.ordered()
        )
        try:
            await execute_dag(
                graph,
                workflow_key=self._workflow.name,
                run_id=self._run.run_id,
                hooks=DAGExecutionHooks(
                    on_node_start=self._on_node_start,
                    on_node_complete=self._on_node_complete,
                    on_node_error=self._on_node_error,
                ),
            )
        except DAGExecutionError:
            return self._failure()
        text = json.dumps(self._results, separators=(",", ":"), ensure_ascii=False, default=str)
        return Outcome(
            state=RunState.SUCCEEDED,
            output=Output.of(text, cap=self._max_output_bytes),
            value=dict(self._results),
        )

    def _runner(self, node: Node) -> Callable[[], Awaitable[object]]:
        async def run_node() -> object:
            upstream = {other: self._results.get(other) for other in node.depends_on}
            _step.set(Step(run=self._run, node=node, upstream=upstream))
            handle = await self._tasks.use(node.task)
            arguments = node_arguments(node, self._context, self._catalog[node.task])
            outcome: Outcome = await handle.instance.run(arguments)
            return await self._accept(node, outcome)

        return run_node

    async def _accept(self, node: Node, outcome: Outcome) -> object:
        self._outcomes[node.id] = outcome
        if outcome.state is RunState.SUCCEEDED:
            self._results[node.id] = outcome.value
            return outcome.value
        if outcome.state in {RunState.CANCELLED, RunState.INTERRUPTED}:
            # Not a failure to be tried again: the whole run ends, and cancels this wait.
            if not self._halted.done():
                self._halted.set_result(_ended(node.id, outcome, outcome.state.value))
            await asyncio.Event().wait()
        raise NodeFailedError(_cause(outcome))

    async def _on_node_start(self, *, node: str, **_: Any) -> None:
        record = NodeRun(node=node, state=RunState.RUNNING, started_at=self._clock.now())
        await self._record(record)

    async def _on_node_complete(self, *, node: str, attempts: int, **_: Any) -> None:
        await self._finish(node, RunState.SUCCEEDED, attempts=attempts)

    async def _on_node_error(self, *, node: str, attempts: int, error: str, **_: Any) -> None:
        self._failed.append(node)
        outcome = self._outcomes.setdefault(
            node, Outcome(state=RunState.FAILED, reason=f"Oneiric: {error}")
        )
        await self._finish(node, outcome.state, attempts=attempts, reason=_cause(outcome))

    async def _finish(
        self, node: str, state: RunState, *, attempts: int = 1, reason: str | None = None
    ) -> None:
        begun = self._records.get(node, NodeRun(node=node, state=state))
        ended = {
            "state": state,
            "attempts": attempts,
            "reason": reason,
            "finished_at": self._clock.now(),
        }
        await self._record(begun.model_copy(update=ended))

    async def _record(self, record: NodeRun) -> None:
        self._records[record.node] = record
        await self._work.record_node(self._run.run_id, record)

    async def _close_records(self, outcome: Outcome) -> None:
        is_interrupted = outcome.state is RunState.INTERRUPTED
        stopped = RunState.INTERRUPTED if is_interrupted else RunState.CANCELLED
        # In the order of the graph, so that nodes that never began are told in it too.
        for node in self._workflow.ordered():
            record = self._records.get(node.id)
            if record is None:
                reason = outcome.reason
                await self._record(
                    NodeRun(node=node.id, state=RunState.SKIPPED, attempts=0, reason=reason)
                )
            elif record.state is RunState.RUNNING:
                await self._finish(node.id, stopped, reason=outcome.reason)

    def _failure(self) -> Outcome:
        # Of nodes that fail side by side, the first in time; Oneiric names any of them.
        first = self._failed[0]
        outcome = self._outcomes[first]
        is_late = outcome.state is RunState.TIMED_OUT
        return _ended(first, outcome, "timed out" if is_late else "failed")


def _ended(node: str, outcome: Outcome, verb: str) -> Outcome:
    return outcome.model_copy(update={"reason": f"node '{node}' {verb}: {_cause(outcome)}"})


def _cause(outcome: Outcome) -> str:
    if outcome.reason:
        return outcome.reason
    return outcome.error.message if outcome.error else "no reason given"


def _retry_policy(node: Node) -> JsonObject:
    delay = node.retry.base_delay_seconds
    return {
        "attempts": node.retry.attempts,
        "base_delay": delay,
        "max_delay": max(delay, _MOST_SECONDS_BETWEEN_TRIES),
    }
