"""Oneiric's own parts, put together: resolver, lifecycle, bridges, registered work.

Importing this module imports Oneiric, which takes seconds: `OneiricBackend` does it in a
thread, on the engine's first use.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

import structlog
from oneiric.core.config import LayerSettings
from oneiric.core.lifecycle import LifecycleManager
from oneiric.core.resolution import Candidate, CandidateSource, Resolver
from oneiric.domains.base import DomainBridge
from oneiric.domains.tasks import TaskBridge
from oneiric.domains.workflows import WorkflowBridge

from mahavishnu_sched_mcp.backends.oneiric.execution import CatalogTask, WorkflowExecution
from mahavishnu_sched_mcp.domain.run import Outcome, Run, RunState
from mahavishnu_sched_mcp.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mahavishnu_sched_mcp.backends.protocol import QueueBackend, WorkPort
    from mahavishnu_sched_mcp.domain.catalog import TaskEntry
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Workflow

_SOURCE = "catalog"


def queue_key(provider: str) -> str:
    """Give the key of a provider's queue in Oneiric's registry.

    One key per provider: Oneiric caches the instance by key and then ignores the provider.
    """
    return f"queue.{provider}"


def send_logs_to_stderr() -> None:
    """Keep structlog off stdout where the process has not configured it.

    Oneiric logs while it registers, and an unconfigured structlog prints to stdout, which
    belongs to the MCP client.
    """
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


class OneiricEngine:
    """The catalog inside Oneiric: what can be resolved, enqueued and executed."""

    def __init__(
        self,
        *,
        workflows: Mapping[str, Workflow],
        tasks: Mapping[str, TaskEntry],
        work: WorkPort,
        clock: Clock,
        max_output_bytes: int,
    ) -> None:
        send_logs_to_stderr()
        self._workflow_catalog = workflows
        self._task_catalog = tasks
        self._work = work
        self._clock = clock
        self._max_output_bytes = max_output_bytes
        self._made: list[QueueBackend] = []
        self._opening: set[asyncio.Task[Any]] = set()
        self._resolver = Resolver()
        lifecycle = LifecycleManager(self._resolver)
        self._tasks = TaskBridge(self._resolver, lifecycle, LayerSettings())
        # The plain bridge, not AdapterBridge: that one's module imports every adapter.
        self._queues = DomainBridge("adapter", self._resolver, lifecycle, LayerSettings())
        # No checkpoint store: Oneiric keys it by workflow, so one run would take another's.
        self._workflows = WorkflowBridge(
            self._resolver,
            lifecycle,
            LayerSettings(),
            task_bridge=self._tasks,
            queue_bridge=self._queues,
        )

    async def activate(
        self, queues: Mapping[str, Callable[[], QueueBackend]]
    ) -> dict[str, QueueBackend]:
        """Register the catalog and open the queues.

        Everything is activated here, one after another: concurrent first uses would each make
        an instance of their own.

        Args:
            queues: How to make the adapter of each provider.

        Returns:
            The open adapters by provider.
        """
        for name in self._task_catalog:
            self._register("task", name, self._task_factory(name))
        for workflow in self._workflow_catalog.values():
            self._register("workflow", workflow.name, lambda: None, dag=_dag(workflow))
        for provider, make in queues.items():
            self._register(
                "adapter", queue_key(provider), self._queue_factory(make), provider=provider
            )
        self._workflows.refresh_dags()
        for name in self._task_catalog:
            await self._tasks.use(name)
        return {provider: await self._open(provider) for provider in queues}

    async def enqueue(
        self, workflow: str, *, provider: str, context: JsonObject, metadata: JsonObject
    ) -> JsonObject:
        """Put one run of a workflow into a queue, and give Oneiric's receipt."""
        receipt: JsonObject = await self._workflows.enqueue_workflow(
            workflow,
            context=context,
            queue_category=queue_key(provider),
            provider=provider,
            metadata=metadata,
        )
        return receipt

    async def execute(self, run: Run, payload: JsonObject) -> Outcome:
        """Execute the workflow that a message names, as part of a run."""
        name = payload.get("workflow")
        workflow = self._workflow_catalog.get(name) if isinstance(name, str) else None
        if workflow is None:
            reason = f"workflow {name!r} is not in this server's catalog"
            return Outcome(state=RunState.FAILED, reason=reason)
        context = payload.get("context")
        execution = WorkflowExecution(
            workflow,
            run=run,
            context=context if isinstance(context, dict) else {},
            catalog=self._task_catalog,
            tasks=self._tasks,
            work=self._work,
            clock=self._clock,
            max_output_bytes=self._max_output_bytes,
        )
        return await execution.complete()

    async def close(self) -> None:
        """Close all queues, also those that never became ready. Idempotent."""
        # Oneiric shields the opening of a queue, so one may go on though its start was cancelled.
        opening = self._opening - {asyncio.current_task()}
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        # Oneiric has no "close all". What cannot be closed well is left: its leases end.
        while self._made:
            with contextlib.suppress(BackendUnavailableError):
                await self._made.pop().cleanup()

    async def _open(self, provider: str) -> QueueBackend:
        handle = await self._queues.use(queue_key(provider), provider=provider)
        queue: QueueBackend = handle.instance
        return queue

    def _register(
        self,
        domain: str,
        key: str,
        factory: Callable[[], Any],
        *,
        provider: str = _SOURCE,
        **metadata: object,
    ) -> None:
        self._resolver.register(
            Candidate(
                domain=domain,
                key=key,
                provider=provider,
                factory=factory,
                metadata=metadata,
                source=CandidateSource.MANUAL,
            )
        )

    # Factories are closures: Oneiric deep-copies what it registers, and a copied bound method
    # copies its object too.
    def _task_factory(self, name: str) -> Callable[[], CatalogTask]:
        work = self._work
        return lambda: CatalogTask(name, work=work)

    def _queue_factory(
        self, make: Callable[[], QueueBackend]
    ) -> Callable[[], Awaitable[QueueBackend]]:
        made, opening = self._made, self._opening

        def forget(task: asyncio.Task[Any]) -> None:
            opening.discard(task)
            # Looked at, so that asyncio does not complain where the start was cancelled.
            if not task.cancelled():
                task.exception()

        async def open_queue() -> QueueBackend:
            # The lifecycle awaits this, in a task of its own, and never calls `init` itself.
            if (task := asyncio.current_task()) is not None:
                opening.add(task)
                task.add_done_callback(forget)
            queue = make()
            made.append(queue)
            await queue.init()
            return queue

        return open_queue


def _dag(workflow: Workflow) -> JsonObject:
    return {
        "nodes": [
            {"id": node.id, "task": node.task, "depends_on": list(node.depends_on)}
            for node in workflow.ordered()
        ]
    }
