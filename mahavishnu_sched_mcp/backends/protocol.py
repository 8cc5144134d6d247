"""What the scheduler asks of an engine, and what an engine may ask of the rest.

Engines never import the ledger, the runner or each other: they get these ports handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import Field

from mahavishnu_sched_mcp.domain.dispatch import Dispatch as Dispatch  # noqa: PLC0414 - part of this protocol
from mahavishnu_sched_mcp.domain.engine import Backend, Capabilities, Health, Receipt
from mahavishnu_sched_mcp.domain.run import NodeRun, Outcome
from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.run import Run


class Fire(Value):
    """A job is due.

    Attributes:
        serial: The job's generation (`Job.serial`).
        revision: The job's revision when it was armed; a fire of an older one is dropped.
        scheduled_for: The instant the schedule names, never the instant it was noticed.
        next_run_at: The fire after it, or None when there is none.
    """

    serial: int
    revision: int
    scheduled_for: Instant
    next_run_at: Instant | None


class FireListener(Protocol):
    """Who hears that jobs are due (the runner)."""

    def on_due(self, fires: Sequence[Fire]) -> None:
        """Take the fires of one pass of the alarm clock, in the order of their times.

        Called on the event loop; returns at once and never raises. The listener commits
        claim and advance before anything runs.
        """
        ...


class AlarmClock(Protocol):
    """Tells when jobs are due. It holds nothing that the ledger does not have."""

    def arm(self, job: Job) -> None:
        """Fire this job at `job.next_run_at` and on; replaces what was armed for its serial.

        A job without `next_run_at` is disarmed. Only on the event loop.
        """
        ...

    def disarm(self, serial: int) -> None:
        """Fire this generation no more; unknown serials are ignored."""
        ...

    async def start(self, listener: FireListener) -> None:
        """Begin to tell time. Idempotent."""
        ...

    async def stop(self) -> None:
        """Fire nothing more from this moment. Idempotent."""
        ...


@runtime_checkable
class Draining(Protocol):
    """An engine that itself executes runs in this process."""

    async def drain(self, *, seconds: float) -> None:
        """Begin no more runs, and let those that go on have so long; `stop` ends the others."""
        ...


class SchedulerBackend(Protocol):
    """One engine.

    The ledger is the truth: a backend makes its engine agree with it and keeps nothing of its
    own. Only the leading process starts backends. Every method may be called again after a
    failure with the same arguments and must then do no harm.
    """

    @property
    def name(self) -> Backend:
        """Which engine it is."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def health(self) -> Health:
        """Say how it is, from memory, at once; never raises, never starts anything."""
        ...

    async def ensure_started(self) -> None:
        """Start the engine where it is not yet, and return when it is ready.

        Concurrent calls share one start. Heavy imports happen in a daemon thread of our own.

        Raises:
            BackendUnavailableError: it could not start; a later call tries again.
        """
        ...

    async def stop(self) -> None:
        """End the engine and all its processes. Idempotent; also valid before a start."""
        ...

    async def apply(self, job: Job) -> Receipt:
        """Make the engine agree with the job as it stands, whatever was there before.

        Covers create, change, pause, resume and removal (by `job.state`). Calls
        `ensure_started` itself where the engine is needed for it.

        Raises:
            BackendUnavailableError: not done; try again later with the same job.
            SchedulerError: the engine refuses this job for good; the text says why.
        """
        ...

    async def dispatch(self, work: Dispatch) -> Receipt:
        """Hand over one run. A repeat with the same `run_id` makes no second run.

        Raises:
            BackendUnavailableError: not known to be handed over; dispatch again later.
        """
        ...

    async def cancel(self, run: Run) -> None:
        """Stop a dispatched run, also one that still waits. Unknown runs are ignored."""
        ...


class WorkPort(Protocol):
    """What a queue's worker asks of the ledger, through the runner."""

    async def begin(self, run_id: str, *, worker: str) -> Run | None:
        """Claim an attempt, committed before this returns.

        None means: do not run it (unknown, finished, cancelled, or running already);
        acknowledge the message.
        """
        ...

    async def record_node(self, run_id: str, node: NodeRun) -> None:
        """Remember how a node of this run is."""
        ...

    async def finish(self, run_id: str, outcome: Outcome) -> Run:
        """Record how the attempt ended, committed before this returns."""
        ...

    async def execute_task(
        self,
        task: str,
        params: JsonObject,
        *,
        run: Run,
        timeout_seconds: float | None,
        node: str,
        upstream: JsonObject,
    ) -> Outcome:
        """Run one task of the catalog as part of a run; never raises for the task's failure.

        Args:
            task: A task of the catalog.
            params: Its arguments.
            run: The run it is part of.
            timeout_seconds: The node's own limit; None leaves the task's and the job's.
            node: The workflow's node, for `RunContext.node`.
            upstream: Results of the nodes it depends on, by node id, for `RunContext.upstream`.
        """
        ...

    async def cancelled(self, run_id: str) -> None:
        """Return when someone asks to stop this run (wait for it beside the work)."""
        ...


class MirrorPort(Protocol):
    """How an engine that makes its own fires tells the ledger of its runs."""

    async def mirror(self, job_serial: int, runs: Sequence[MirroredRun]) -> None:
        """Write the engine's runs into the ledger: one record per fire, never a second."""
        ...

    async def mirrored_jobs(self) -> Sequence[Job]:
        """Give the unfinished jobs of this engine that have a receipt."""
        ...


class MirroredRun(Value):
    """A run as the engine has it.

    Attributes:
        run_id: Ours, where we asked for the run (manual, replay); else None.
        scheduled_for: The engine's expected start.
        outcome: Set when it is over.
        is_skipped: The engine's run never started and never will (paused, swept).
        reference: The engine's ids and the UI address: `flow_run_id`, `url`.
    """

    run_id: str | None = None
    scheduled_for: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    attempts: int = 1
    outcome: Outcome | None = None
    is_skipped: bool = False
    nodes: tuple[NodeRun, ...] = ()
    reference: JsonObject = Field(default_factory=dict)


class QueueBackend(Protocol):
    """A queue adapter as Oneiric's `enqueue_workflow` and our worker use it.

    Delivery is at least once: what was read and neither acknowledged nor given back before its
    lease ends is delivered again, with `deliveries` counted up.
    """

    queue_depth: int

    async def init(self) -> None:
        """Open it. Raises BackendUnavailableError."""
        ...

    async def health(self) -> bool:
        """Whether it answers."""
        ...

    async def cleanup(self) -> None:
        """Close it. Idempotent."""
        ...

    async def enqueue(self, data: Mapping[str, object]) -> str:
        """Store one message durably; a second one with the same `metadata.run_id` is dropped.

        Returns:
            The message's id.
        """
        ...

    async def read(self, *, count: int, block_ms: int) -> list[QueueMessage]:
        """Lease up to `count` messages, waiting up to `block_ms` for the first."""
        ...

    async def ack(self, messages: Sequence[QueueMessage]) -> int:
        """Remove messages for good; a lease that has passed on removes nothing."""
        ...

    async def nack(self, message: QueueMessage, *, delay_s: float) -> None:
        """Give a message back, visible again after the delay."""
        ...

    async def extend(self, message: QueueMessage) -> bool:
        """Prolong the lease while the work goes on; False when it was lost."""
        ...

    async def depth(self) -> int:
        """How many messages wait or are leased."""
        ...


class QueueMessage(Value):
    """A leased message.

    Attributes:
        message_id: The queue's own id.
        lease: The fencing token of this delivery.
        payload: As Oneiric's bridge made it.
        deliveries: 1 for the first.
    """

    message_id: str
    lease: str
    payload: JsonObject
    deliveries: int = 1
    enqueued_at: Instant | None = None


def due_order(fire: Fire) -> tuple[datetime, int]:
    """Order fires by their time, then by age of the job."""
    return (fire.scheduled_for, fire.serial)
