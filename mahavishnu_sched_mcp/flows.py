"""Every workflow as one Prefect flow; only Prefect's own processes import this module.

A deployment's entrypoint is `mahavishnu_sched_mcp.flows.run_workflow`. It composes the tasks
from the operator's settings, which the environment of the process names.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, override

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff

from mahavishnu_sched_mcp.backends.prefect.log import failure_text
from mahavishnu_sched_mcp.backends.prefect.records import JOB_TAG, NODE_TAG, RUN_TAG
from mahavishnu_sched_mcp.composition import compose_tasks
from mahavishnu_sched_mcp.domain.binding import node_arguments
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import UnknownWorkflowError, nearest
from mahavishnu_sched_mcp.settings import load_settings
from mahavishnu_sched_mcp.tasks.context import RunContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect.client.schemas.objects import FlowRun, State

    from mahavishnu_sched_mcp.domain.run import Outcome
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Node, Workflow
    from mahavishnu_sched_mcp.tasks.executor import TaskExecutor

LOGGED_CHARACTERS = 8_192
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class NodeFailedError(Exception):
    """A node did not succeed; the text says how, and nothing follows it."""


class FailureFilter(logging.Filter):
    """Leaves a node's failure in Prefect's logs as one line: its frames are all our own."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Take the traceback off a record of our own error, and let every record pass."""
        failure = record.exc_info[1] if record.exc_info else None
        if isinstance(failure, NodeFailedError):
            record.exc_info, record.exc_text = None, None
        return True


@dataclass(frozen=True)
class Composition:
    """What this process runs workflows with."""

    executor: TaskExecutor
    workflows: Mapping[str, Workflow]


@flow(
    name="run_workflow",
    flow_run_name="{workflow}",
    persist_result=False,
    validate_parameters=True,
)
async def run_workflow(workflow: str, context: dict[str, Any]) -> dict[str, Any]:
    """Run a workflow of the catalog, each node as a Prefect task of its own.

    Args:
        workflow: Its name.
        context: The params of the job; every node takes from it what its task declares.

    Returns:
        The results of the nodes, by node id.
    """
    _quieten_failures()
    found = _workflow(workflow)
    results: dict[str, asyncio.Task[State[Any]]] = {}
    async with asyncio.TaskGroup() as group:
        for node in found.ordered():
            needed = {name: results[name] for name in node.depends_on}
            step = _step(workflow, node, context, needed)
            results[node.id] = group.create_task(step, name=node.id)
    states = {name: result.result() for name, result in results.items()}
    if not all(state.is_completed() for state in states.values()):
        raise NodeFailedError(_failure(states))
    return {name: await state.aresult() for name, state in states.items()}


@task(persist_result=False, cache_policy=NO_CACHE)
async def run_node(
    workflow: str, node_id: str, context: dict[str, Any], upstream: dict[str, Any]
) -> Any:
    """Run the task of one node; Prefect retries it as the node declares.

    Args:
        workflow: The name of the workflow.
        node_id: The step.
        context: The params of the job.
        upstream: Results of the nodes it depends on, by node id.
    """
    executor = _composition().executor
    node = next(node for node in _workflow(workflow).nodes if node.id == node_id)
    params = node_arguments(node, context, executor.registry.get(node.task).entry)
    outcome = await executor.execute(
        node.task,
        params,
        context=_run_context(node, upstream),
        timeout_seconds=node.timeout_seconds,
    )
    if outcome.output.text:
        get_run_logger().info("%s", outcome.output.shortened(LOGGED_CHARACTERS).text)
    if outcome.state is not RunState.SUCCEEDED:
        raise NodeFailedError(_reason(outcome))
    return outcome.value


async def _step(
    workflow: str,
    node: Node,
    context: JsonObject,
    needed: Mapping[str, asyncio.Task[State[Any]]],
) -> State[Any]:
    """Run a node when the nodes before it are over; a failed one leaves it not ready."""
    upstream = {name: await result for name, result in needed.items()}
    step = run_node.with_options(
        name=node.id,
        task_run_name=node.id,
        tags=[f"{NODE_TAG}{node.id}"],
        retries=node.retry.attempts - 1,
        retry_delay_seconds=exponential_backoff(node.retry.base_delay_seconds),
    )
    # Prefect sees its own states in the arguments, draws the graph and resolves them.
    running: Any = step(workflow, node.id, context, upstream, return_state=True)
    state: State[Any] = await running  # Prefect's types know the state, not its coroutine
    return state


def _failure(states: Mapping[str, State[Any]]) -> str:
    """Say which nodes ended badly; those behind them never began and are no cause."""
    return "; ".join(
        f"node '{name}' failed: {failure_text(state.message or state.type.value)}"
        for name, state in states.items()
        if state.is_final() and not state.is_completed()
    )


def _quieten_failures() -> None:
    for logger in map(logging.getLogger, RUN_LOGGERS):
        if not any(isinstance(known, FailureFilter) for known in logger.filters):
            logger.addFilter(FailureFilter())


def _workflow(name: str) -> Workflow:
    workflows = _composition().workflows
    if name not in workflows:
        msg = f"No workflow is named '{name}'."
        raise UnknownWorkflowError(
            msg, hint=f"{nearest(name, workflows)} Ask list_catalog what exists.".strip()
        )
    return workflows[name]


@functools.cache
def _composition() -> Composition:
    settings = load_settings(environ=os.environ)
    return Composition(executor=compose_tasks(settings), workflows=settings.workflow_definitions)


def _run_context(node: Node, upstream: JsonObject) -> RunContext:
    flow_run, task_run = _current_flow_run(), TaskRunContext.get()
    return RunContext(
        job_id=_tagged(flow_run, JOB_TAG) or f"prefect:{flow_run.name}",
        run_id=_tagged(flow_run, RUN_TAG) or str(flow_run.id),
        attempt=1 if task_run is None else max(1, task_run.task_run.run_count),
        scheduled_for=flow_run.expected_start_time or flow_run.start_time or SystemClock().now(),
        node=node.id,
        upstream=upstream,
    )


def _tagged(flow_run: FlowRun, prefix: str) -> str | None:
    found = [tag for tag in flow_run.tags if tag.startswith(prefix)]
    return found[0].removeprefix(prefix) if found else None


def _current_flow_run() -> FlowRun:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        msg = "a node runs inside the flow run_workflow only"
        raise LookupError(msg)
    return context.flow_run


def _reason(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.error.type}: {outcome.error.message}"
    return outcome.reason or str(outcome.state)
