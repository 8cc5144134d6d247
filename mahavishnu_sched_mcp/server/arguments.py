"""Arguments that several tools share: their types, their limits, their one-line meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, WithJsonSchema

from mahavishnu_sched_mcp.domain.job import ID_PATTERN
from mahavishnu_sched_mcp.domain.policy import LONGEST_SECONDS, Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.server.errors import explain_arguments

TRIGGER_FIELDS = (
    "interval: weeks to seconds add up; cron: 5 fields, timezone; date: run_at or in_seconds"
)
TRIGGER_EXAMPLES = (
    '{"type":"interval","hours":1}, {"type":"cron","expression","timezone"} or '
    '{"type":"date","run_at"}; see schedule_internal_task'
)
"""All but the first tool list no fields (budget of tools/list)."""

LONGEST_TEXT = 500
"""Characters of a name, a note and a description; the scheduler's own limit."""

ListedTrigger = Annotated[TriggerRequest, Field(description=TRIGGER_FIELDS)]
UnlistedTrigger = Annotated[
    TriggerRequest, WithJsonSchema({"type": "object", "description": TRIGGER_EXAMPLES})
]
IdArgument = Annotated[str | None, Field(pattern=ID_PATTERN, description="Default: derived")]
NameArgument = Annotated[str | None, Field(max_length=LONGEST_TEXT)]
KeyArgument = Annotated[
    str | None, Field(min_length=1, max_length=200, description="Makes a retry safe")
]
TagsArgument = Annotated[list[str], Field(max_length=20)]
TagArgument = Annotated[str | None, Field(description="All jobs with this tag")]
NoteArgument = Annotated[str | None, Field(max_length=LONGEST_TEXT)]
ReplaceArgument = Annotated[bool, Field(description="Redefine the id's job")]
JobIdArgument = Annotated[str, Field(description="<engine>:<id>, from list_jobs")]
RunIdArgument = Annotated[str, Field(min_length=1, max_length=200)]
LimitArgument = Annotated[int, Field(ge=1, le=200)]
CursorArgument = Annotated[str | None, Field(description="From next_cursor")]
WaitArgument = Annotated[float, Field(ge=0, le=300, description="For its end")]

BackendName = Literal["apscheduler", "oneiric", "prefect"]
JobStateName = Literal[
    "pending", "pending_approval", "active", "paused", "quarantined", "completed", "cancelled"
]
RunStateName = Literal[
    "pending",
    "running",
    "succeeded",
    "failed",
    "timed_out",
    "cancelled",
    "interrupted",
    "dead",
    "skipped",
    "missed",
]
MissedName = Literal["skip", "run_once", "run_all"]
OverlapName = Literal["skip", "queue_one", "queue_all", "cancel_previous", "allow"]
InterruptName = Literal["rerun", "hold"]

MissedArgument = Annotated[MissedName, Field(description="Due while no server ran")]
WindowArgument = Annotated[
    int,
    Field(ge=10, le=LONGEST_SECONDS, description="Older missed fires are not made up"),
]
OverlapArgument = Annotated[OverlapName, Field(description="Due while still running")]
TimeoutArgument = Annotated[float | None, Field(gt=0, le=LONGEST_SECONDS)]
AttemptsArgument = Annotated[int, Field(ge=1, le=100)]
BackoffArgument = Annotated[float, Field(ge=0, le=86400, description="Before the next attempt")]
InterruptArgument = Annotated[
    InterruptName | None, Field(description="Server died in a run; default by task")
]
MaxRunsArgument = Annotated[int | None, Field(ge=1, le=1_000_000, description="Then complete")]
ExpiryArgument = Annotated[str | None, Field(description="RFC 3339")]


def read_policies(tool: str, **given: Any) -> Policies:
    """Build policies from a tool's flat arguments.

    Args:
        tool: The tool that was called, for the refusal.
        given: Policies by name.

    Raises:
        InvalidArgumentsError: a value is none; only `expires_at` can be, the rest is typed.
    """
    try:
        return Policies.model_validate(given)
    except ValidationError as error:
        raise explain_arguments(error, tool=tool) from error


def read_changes(tool: str, **given: Any) -> JsonObject:
    """Keep the policies that were given, after a look at each.

    Args:
        tool: The tool that was called, for the refusal.
        given: Policies by name; None means: not given.

    Raises:
        InvalidArgumentsError: a value is none.
    """
    changes = {name: value for name, value in given.items() if value is not None}
    read_policies(tool, **changes)
    return changes
