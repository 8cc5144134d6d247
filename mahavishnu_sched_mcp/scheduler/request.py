"""What a creating call asks for, checked and complete, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobState, Origin, make_job_id
from mahavishnu_sched_mcp.ledger.keys import Call
from mahavishnu_sched_mcp.ledger.rows import dump_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.domain.trigger import Trigger
    from mahavishnu_sched_mcp.domain.value import JsonObject


_UNIT_SECONDS = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job that may be made: every check that needs no ledger has passed.

    Attributes:
        id: The part after the engine, or None to derive it.
        call: The call with its idempotency key, where it has one.
        is_paused: Create it paused.
        needs_receipt: The engine has to confirm it before it is active.
        needs_approval: The operator has to approve it before it is active.
        warnings: What the caller should know.
    """

    definition: JobDefinition
    trigger: Trigger | None
    id: str | None
    name: str | None
    tags: Sequence[str]
    created_by: str
    at: datetime
    call: Call | None = None
    origin: Origin = Origin.AGENT
    replace: bool = False
    is_paused: bool = False
    needs_receipt: bool = False
    warnings: list[str] = field(default_factory=list)

    def job(self, name: str) -> Job:
        """Build the job as it would be first written, under the id it was given or derived."""
        return Job(
            serial=0,
            job_id=make_job_id(self.definition.backend, name),
            definition=self.definition,
            name=self.name or name,
            state=self.state,
            trigger=self.trigger,
            next_run_at=self.first_fire,
            created_at=self.at,
            created_by=self.created_by,
            origin=self.origin,
            tags=tuple(self.tags),
        )

    @property
    def state(self) -> JobState:
        """The state a new job of this request begins in."""
        if self.is_paused:
            return JobState.PAUSED
        return JobState.PENDING if self.needs_receipt else JobState.ACTIVE

    @property
    def first_fire(self) -> datetime | None:
        """The first fire that is still ahead; None where there is none or it is paused."""
        if self.trigger is None or self.is_paused:
            return None
        return self.trigger.next_after(self.at)

    def fingerprint(self, name: str) -> str:
        """Digest all that makes two requests under one id the same."""
        return fingerprint(self.definition, name=self.name or name, tags=self.tags)


def canonical(requested: JsonObject) -> JsonObject:
    """Write an interval in one unit, so that an hour and 3600 seconds are one definition."""
    if requested.get("type") != "interval":
        return requested
    total = sum(requested.get(unit, 0) * seconds for unit, seconds in _UNIT_SECONDS.items())
    rest = {key: value for key, value in requested.items() if key not in _UNIT_SECONDS}
    return {**rest, "seconds": float(total)}


def fingerprint(definition: JobDefinition, *, name: str, tags: Sequence[str]) -> str:
    """Digest a definition with the name and tags of its job."""
    return f"{definition.fingerprint()}{dump_json([name, sorted(tags)])}"
