"""The started engine: Oneiric's parts, open queues and their workers, made as one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.oneiric.daemon import DaemonThread
from mahavishnu_sched_mcp.backends.oneiric.worker import QueueWorker
from mahavishnu_sched_mcp.errors import BackendUnavailableError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mahavishnu_sched_mcp.backends.oneiric.bridge import OneiricEngine
    from mahavishnu_sched_mcp.backends.protocol import QueueBackend, WorkPort
    from mahavishnu_sched_mcp.domain.catalog import TaskEntry
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Workflow

LEASE = timedelta(seconds=30)
"""How long a message belongs to its reader; prolonged three times within it."""

_BRIDGE = "mahavishnu_sched_mcp.backends.oneiric.bridge"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that an engine is made of."""

    workflows: Mapping[str, Workflow]
    tasks: Mapping[str, TaskEntry]
    work: WorkPort
    clock: Clock
    queues: Mapping[str, Callable[[], QueueBackend]]
    concurrency: int
    worker_name: str
    max_output_bytes: int


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A started engine."""

    engine: OneiricEngine
    queues: dict[str, QueueBackend] = field(default_factory=dict)
    workers: dict[str, QueueWorker] = field(default_factory=dict)

    def figures(self) -> JsonObject:
        """Count, by provider, what waits and what was done; from memory."""
        return {
            provider: {
                "depth": self.queues[provider].queue_depth,
                "in_flight": worker.in_flight,
                "processed": worker.processed,
                "failed": worker.failed,
            }
            for provider, worker in self.workers.items()
        }

    async def drain(self, *, seconds: float) -> None:
        """Begin nothing more, and let what runs go on for so long."""
        async with asyncio.TaskGroup() as group:
            for worker in self.workers.values():
                group.create_task(worker.drain(seconds=seconds))

    async def close(self) -> None:
        """Cancel what runs, give its messages back and close the queues."""
        for worker in self.workers.values():
            # A message that cannot be given back comes back by itself after its lease.
            with contextlib.suppress(BackendUnavailableError):
                await worker.stop()
        await self.engine.close()


async def assemble(recipe: Recipe) -> Assembly:
    """Import Oneiric in a thread, register the catalog, open the queues, begin to read.

    What was begun is closed again where this fails or is cancelled.
    """
    thread = DaemonThread("oneiric-import")
    try:
        module = await thread.call(lambda: importlib.import_module(_BRIDGE))
    finally:
        thread.stop()
    engine: OneiricEngine = module.OneiricEngine(
        workflows=recipe.workflows,
        tasks=recipe.tasks,
        work=recipe.work,
        clock=recipe.clock,
        max_output_bytes=recipe.max_output_bytes,
    )
    try:
        queues = await engine.activate(recipe.queues)
    except BaseException:
        await Assembly(engine=engine).close()
        raise
    workers = {provider: _worker(queue, engine, recipe) for provider, queue in queues.items()}
    for worker in workers.values():
        worker.start()
    return Assembly(engine=engine, queues=queues, workers=workers)


def root_cause(error: BaseException) -> str:
    """Say in one line what failed first: Oneiric wraps it in "Swap failed for ..."."""
    while error.__cause__ is not None and not isinstance(error, SchedulerError):
        error = error.__cause__
    if isinstance(error, SchedulerError):
        return error.message.rstrip(".")
    first = (str(error).splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {first}"


def _worker(queue: QueueBackend, engine: OneiricEngine, recipe: Recipe) -> QueueWorker:
    return QueueWorker(
        queue,
        work=recipe.work,
        execute=engine.execute,
        name=recipe.worker_name,
        concurrency=recipe.concurrency,
        extend_every=LEASE / 3,
    )
