"""What is scheduled: a target, a trigger and policies."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import Trigger
from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value

ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class JobKind(StrEnum):
    """What a job's target is."""

    TASK = "task"
    WORKFLOW = "workflow"
    DEPLOYMENT = "deployment"


class JobState(StrEnum):
    """Where a job is. `pending`: accepted, no receipt from the engine yet."""

    PENDING = "pending"
    PENDING_APPROVAL = "pending_approval"
    ACTIVE = "active"
    PAUSED = "paused"
    QUARANTINED = "quarantined"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether the job will never fire again; its id may be used anew."""
        return self in {JobState.COMPLETED, JobState.CANCELLED}


class Origin(StrEnum):
    """Who made a job."""

    AGENT = "agent"
    OPERATOR = "operator"
    SYSTEM = "system"


class Counts(Value):
    """How the fires of this generation ended; never lowered by retention."""

    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    interrupted: int = 0
    dead: int = 0
    skipped: int = 0
    missed: int = 0


class LastRun(Value):
    """The newest run of a job, in short."""

    run_id: str
    state: RunState
    finished_at: Instant | None = None


class JobDefinition(Value):
    """What someone asked for: all that decides whether two requests are the same.

    Attributes:
        trigger_requested: The trigger as it was asked for (`in_seconds` stays so), or None
            for an enqueue without trigger.
        params: Arguments of the task, context of the workflow, parameters of the flow.
        provider: The queue provider (Oneiric), else None.
        options: What only one engine knows (`metadata`, `work_pool_name`, `description`).
    """

    backend: Backend
    kind: JobKind
    target: str
    trigger_requested: JsonObject | None
    params: JsonObject = Field(default_factory=dict)
    policies: Policies = Policies()
    provider: str | None = None
    options: JsonObject = Field(default_factory=dict)
    durable: bool = True

    def fingerprint(self) -> str:
        """Digest the definition, so that two requests can be compared."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def derived_id(self) -> str:
        """Make the id of a job that was given none, from target, trigger and params."""
        parts = [self.target, self.trigger_requested, self.params, self.provider]
        text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
        stem = re.sub(r"[^a-z0-9._-]+", "-", self.target.lower()).strip("-.")[:50] or "job"
        return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


class Job(Value):
    """A job as the ledger has it.

    Attributes:
        serial: The ledger's own number of this generation; rises with each new job.
        generation: 1 for the first job of this id; an id used again after its end counts up.
        revision: Rises with each change of definition or state.
        applied_revision: The revision the engine has confirmed; 0 before the first receipt.
        trigger: With its anchor resolved; None for an enqueue without trigger.
        next_run_at: The next fire; None when paused, over or without trigger.
        fired: How many fires it had (for `max_runs`).
        reference: The engine's own ids (`deployment_id`, ...).
        paused_until: Resume by itself at this instant.
        is_damaged: The ledger's record of it cannot be read; the definition stands in for one.
    """

    serial: int
    job_id: str
    generation: int = 1
    revision: int = 1
    applied_revision: int = 0
    definition: JobDefinition
    name: str
    state: JobState
    trigger: Trigger | None = None
    next_run_at: Instant | None = None
    created_at: Instant
    created_by: str
    origin: Origin = Origin.AGENT
    tags: tuple[str, ...] = ()
    note: str = ""
    fired: int = 0
    counts: Counts = Counts()
    last_run: LastRun | None = None
    reference: JsonObject = Field(default_factory=dict)
    paused_until: Instant | None = None
    is_damaged: bool = False

    @property
    def backend(self) -> Backend:
        """The engine that has it."""
        return self.definition.backend


class Creation(Value):
    """What a creating call answers.

    Attributes:
        outcome: `existed`: same id or key and same definition, nothing changed.
        requested: Engine, provider and durability asked for.
        granted: Engine, provider and durability given; differs only after an explicit fallback.
        next_fires: At most three, in the job's zone.
        run_id: The run of an enqueue without trigger.
    """

    job: Job
    outcome: Literal["created", "existed", "replaced"]
    requested: JsonObject
    granted: JsonObject
    next_fires: tuple[datetime, ...] = ()
    warnings: tuple[str, ...] = ()
    run_id: str | None = None


def make_job_id(backend: Backend, name: str) -> str:
    """Put the engine before the id, as outsiders see it."""
    return f"{backend}:{name}"
