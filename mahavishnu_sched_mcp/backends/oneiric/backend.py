"""The engine for work that must outlive the process: workflows through durable queues."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import structlog

from mahavishnu_sched_mcp.backends.oneiric.admission import Admission
from mahavishnu_sched_mcp.backends.oneiric.assembly import (
    LEASE,
    Assembly,
    Recipe,
    assemble,
    root_cause,
)
from mahavishnu_sched_mcp.backends.oneiric.queues.sqlite import SqliteQueueAdapter
from mahavishnu_sched_mcp.domain.engine import (
    Backend,
    Capabilities,
    EngineState,
    Health,
    Receipt,
)
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.errors import BackendUnavailableError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mahavishnu_sched_mcp.backends.protocol import Dispatch, QueueBackend, WorkPort
    from mahavishnu_sched_mcp.domain.catalog import TaskEntry
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.run import Run
    from mahavishnu_sched_mcp.domain.workflow import Workflow

SQLITE = "sqlite"

_DOCTOR = "Run `mahavishnu-sched-mcp doctor`: it checks the queues and says how to mend them."

# What Oneiric, its imports and the queues raise when they cannot go on.
_ENGINE_ERRORS = (
    SchedulerError,
    ImportError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

_log = structlog.get_logger()


@runtime_checkable
class Discarding(Protocol):
    """A queue that can take back what still waits; brokers that cannot simply lack it."""

    async def discard(self, run_id: str) -> bool:
        """Remove the waiting message of a run; one that is worked on is left alone."""
        ...


class OneiricBackend:
    """Puts workflows into Oneiric's queues and consumes them.

    A message only says "look at this run": whether it is executed is decided by
    `WorkPort.begin`, so a message delivered twice runs nothing twice.
    """

    def __init__(
        self,
        *,
        workflows: Mapping[str, Workflow],
        tasks: Mapping[str, TaskEntry],
        work: WorkPort,
        clock: Clock,
        queue_path: Path,
        concurrency: int = 4,
        worker_name: str,
        max_output_bytes: int = 262_144,
    ) -> None:
        """Hold what is needed; nothing is imported, opened or started yet.

        Args:
            workflows: The catalog's workflows by name.
            tasks: The catalog's tasks by name.
            work: Where runs are begun, executed and finished.
            clock: For leases and records.
            queue_path: The embedded queue's file.
            concurrency: How many messages at once; 0 leaves the queue to other processes.
            worker_name: Who works, as the runs show it.
            max_output_bytes: How much of a workflow's results is kept as its output.
        """
        self._tasks = tasks
        self._work = work
        self._clock = clock
        self._concurrency = concurrency
        self._worker_name = worker_name
        self._max_output_bytes = max_output_bytes
        self._queues: dict[str, Callable[[], QueueBackend]] = {
            SQLITE: lambda: SqliteQueueAdapter(
                queue_path, lease_seconds=LEASE.total_seconds(), clock=clock
            )
        }
        self._admission = Admission(
            workflows=workflows, tasks=tasks, providers=frozenset(self._queues)
        )
        self._starting: asyncio.Task[None] | None = None
        self._assembly: Assembly | None = None
        self._health = Health(state=EngineState.IDLE, detail="No workflow needed it yet.")

    @property
    def name(self) -> Backend:
        """Which engine it is."""
        return Backend.ONEIRIC

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return Capabilities()

    def health(self) -> Health:
        """Say how it is, from memory; the figures are by queue provider."""
        if self._assembly is None:
            return self._health
        return self._health.model_copy(update={"figures": self._assembly.figures()})

    async def ensure_started(self) -> None:
        """Start the engine where it is not yet; concurrent calls share one start.

        Raises:
            BackendUnavailableError: it could not start, or was stopped meanwhile; a later call
                tries again.
        """
        if self._assembly is not None:
            return
        if self._starting is None:
            self._health = Health(state=EngineState.STARTING, detail="Oneiric is being loaded.")
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._on_started)
        starting = self._starting
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not starting.cancelled() or (caller is not None and caller.cancelling()):
                raise
            raise self._stopped() from None

    async def drain(self, *, seconds: float) -> None:
        """Take no more messages, and let running workflows go on for so long."""
        if self._assembly is not None:
            await self._assembly.drain(seconds=seconds)

    async def stop(self) -> None:
        """Cancel running workflows, give their messages back, close the queues. Idempotent.

        A later `ensure_started` starts it anew.
        """
        starting, assembly = self._starting, self._assembly
        self._starting, self._assembly = None, None
        self._health = Health(state=EngineState.STOPPED, detail="Stopped.")
        if starting is not None:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            # The start may have ended well in the moment of its cancellation.
            assembly, self._assembly = assembly or self._assembly, None
            self._health = Health(state=EngineState.STOPPED, detail="Stopped.")
        if assembly is not None:
            await assembly.close()

    async def apply(self, job: Job) -> Receipt:
        """Check that the engine has the job's workflow and queue; it keeps nothing of the job.

        Fires come from the alarm clock, so a paused or cancelled job needs nothing here.

        Raises:
            BackendUnavailableError: the engine does not start; try again later.
            CapabilityError: the target is no workflow.
            UnknownWorkflowError: no workflow of the catalog has this name.
            UnknownProviderError: no queue of this server has this name.
            InvalidArgumentsError: the workflow's declaration is not sound.
        """
        provider = job.definition.provider or SQLITE
        if not job.state.is_over:
            self._admission.check_kind(job)
            self._admission.check_target(job.definition.target, provider=provider)
        if job.state in {JobState.PENDING, JobState.ACTIVE}:
            await self.ensure_started()
        reference = {"queue": f"queue.{provider}", "provider": provider}
        return Receipt(reference=reference, at=self._clock.now())

    async def dispatch(self, work: Dispatch) -> Receipt:
        """Put one run into its queue; a second message of a waiting run is dropped.

        The receipt's `oneiric_run_id` is of this sending.

        Raises:
            BackendUnavailableError: not known to be in the queue; dispatch again later.
            UnknownWorkflowError: no workflow of the catalog has this name.
            UnknownProviderError: no queue of this server has this name.
            InvalidArgumentsError: the workflow or the params are not sound.
        """
        provider = work.provider or SQLITE
        self._admission.check_target(work.target, provider=provider)
        assembly = await self._started()
        # Ours last: what an agent calls its metadata must not replace the run's identity.
        metadata = {
            **work.metadata,
            "run_id": work.run_id,
            "job_id": work.job_id,
            "scheduled_for": work.scheduled_for.isoformat(),
        }
        try:
            sent = await assembly.engine.enqueue(
                work.target, provider=provider, context=work.params, metadata=metadata
            )
        except SchedulerError:
            raise
        except RuntimeError as error:
            msg = f"Oneiric did not take run {work.run_id}: {root_cause(error)}."
            raise BackendUnavailableError(msg, hint=_DOCTOR) from error
        reference = {
            "message_id": sent["task_name"],
            "queue_provider": sent["queue_provider"],
            "oneiric_run_id": sent["run_id"],
        }
        return Receipt(reference=reference, at=self._clock.now())

    async def cancel(self, run: Run) -> None:
        """Take a waiting run out of its queue; a running one hears it from the work port.

        A message left in a queue that is not open is dropped when it is read: `begin` refuses
        a cancelled run.
        """
        queues = self._assembly.queues.values() if self._assembly else ()
        for queue in queues:
            if isinstance(queue, Discarding):
                await queue.discard(run.run_id)

    async def _start(self) -> None:
        try:
            self._assembly = await assemble(
                Recipe(
                    workflows=self._admission.sound_workflows(),
                    tasks=self._tasks,
                    work=self._work,
                    clock=self._clock,
                    queues=self._queues,
                    concurrency=self._concurrency,
                    worker_name=self._worker_name,
                    max_output_bytes=self._max_output_bytes,
                )
            )
        except _ENGINE_ERRORS as error:
            msg = f"Oneiric could not start: {root_cause(error)}."
            _log.error("oneiric_start_failed", reason=msg)
            self._health = Health(state=EngineState.UNAVAILABLE, detail=f"{msg} {_DOCTOR}")
            raise BackendUnavailableError(msg, hint=_DOCTOR) from error
        self._health = Health(state=EngineState.READY, detail="Ready.")
        _log.info("oneiric_started", queues=sorted(self._queues), tasks=len(self._tasks))

    def _on_started(self, starting: asyncio.Task[None]) -> None:
        # Looked at, so that asyncio does not complain where no caller waits any more.
        is_broken = not starting.cancelled() and starting.exception() is not None
        if is_broken and self._health.state is EngineState.STARTING:
            self._health = Health(state=EngineState.UNAVAILABLE, detail=f"Broken start. {_DOCTOR}")
        if self._starting is starting:
            self._starting = None

    async def _started(self) -> Assembly:
        await self.ensure_started()
        if self._assembly is None:
            raise self._stopped()
        return self._assembly

    def _stopped(self) -> BackendUnavailableError:
        msg = "Oneiric was stopped."
        return BackendUnavailableError(msg, hint="`get_status` shows how the engines are.")
