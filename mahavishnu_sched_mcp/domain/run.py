"""The one record of a fire, and its attempts."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value


class RunState(StrEnum):
    """Where a run is; all but the first two are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    DEAD = "dead"
    SKIPPED = "skipped"
    MISSED = "missed"

    @property
    def is_final(self) -> bool:
        """Whether the run can still change."""
        return self not in {RunState.PENDING, RunState.RUNNING}


class Cause(StrEnum):
    """Why a run exists."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch_up"
    MANUAL = "manual"
    REPLAY = "replay"
    QUEUE = "queue"


class RunError(Value):
    """What went wrong in a run, in the task's own words (untrusted)."""

    type: str
    message: str


class Outcome(Value):
    """How one attempt ended.

    Attributes:
        state: succeeded, failed, timed_out, cancelled or interrupted.
        reason: Why, for every state but succeeded; one line.
        output: What it wrote.
        error: The exception or exit status, where there is one.
        value: The task's return value as JSON, for the next node of a workflow.
    """

    state: RunState
    reason: str | None = None
    output: Output = Output()
    error: RunError | None = None
    value: object = None


class Attempt(Value):
    """One execution inside a run."""

    number: int
    started_at: Instant
    finished_at: Instant | None = None
    outcome: RunState | None = None


class NodeRun(Value):
    """One node of a workflow inside a run."""

    node: str
    state: RunState
    started_at: Instant | None = None
    finished_at: Instant | None = None
    attempts: int = 1
    reason: str | None = None


class Run(Value):
    """The one record of a fire, a manual start, a replay or an enqueue.

    Attributes:
        scheduled_for: The instant the schedule names (a manual run: of the call).
        fires: 1, or how many fires this record stands for (a gap).
        last_scheduled_for: The last instant of a gap, else `scheduled_for`.
        reference: The engine's own ids of this run (`flow_run_id`, `message_id`, `url`).
        cancel_requested: Someone asked to stop it; it is stopped as soon as it can be.
    """

    run_id: str
    job_id: str
    job_serial: int
    scheduled_for: Instant
    cause: Cause
    state: RunState
    reason: str | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    fires: int = 1
    last_scheduled_for: Instant | None = None
    attempts: tuple[Attempt, ...] = ()
    nodes: tuple[NodeRun, ...] = ()
    worker: str | None = None
    output: Output = Output()
    error: RunError | None = None
    replay_of: str | None = None
    reference: JsonObject = Field(default_factory=dict)
    cancel_requested: bool = False

    @property
    def lateness(self) -> timedelta | None:
        """How long after its time the run started; None before it starts."""
        due: datetime = self.last_scheduled_for or self.scheduled_for
        return None if self.started_at is None else self.started_at - due

    @property
    def duration(self) -> timedelta | None:
        """How long it ran; None before it ends or where it never started."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at
