"""What a task is like, and which engine that makes the right one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.value import JsonObject, Value

Frequency = Literal["high", "medium", "low"]
Visibility = Literal["internal", "user-facing"]
Complexity = Literal["simple", "dag", "complex"]
Durability = Literal["ephemeral", "persistent"]
Infrastructure = Literal["local", "distributed"]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

THE_FIVE = ("frequency", "visibility", "complexity", "durability", "infrastructure")
"""The characteristics that decide by themselves once all of them are given."""


class TaskCharacteristics(Value):
    """What is known about a task; None means nobody said.

    Attributes:
        frequency: high: a period up to 60 s; medium: up to a day; low: rarer.
        visibility: Whether people other than the operator meet the work.
        complexity: One step, a DAG of steps, or more than a DAG.
        durability: Whether the work has to outlive the process that does it.
        infrastructure: Whether the work stays in one process or is spread over several.
        requires_ui: People follow, approve or start it in a user interface.
        requires_observability: Its states have to be tracked and looked into.
        multi_repo: It works on several repositories.
        interval_seconds: Its period.
        expected_duration_seconds: How long one run takes.
    """

    frequency: Frequency | None = None
    visibility: Visibility | None = None
    complexity: Complexity | None = None
    durability: Durability | None = None
    infrastructure: Infrastructure | None = None
    requires_ui: bool | None = None
    requires_observability: bool | None = None
    multi_repo: bool | None = None
    interval_seconds: Seconds | None = None
    expected_duration_seconds: Seconds | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all five deciding characteristics are given."""
        return all(getattr(self, name) is not None for name in THE_FIVE)


class Alternative(Value):
    """An engine that was not chosen, and why."""

    backend: Backend
    why_not: str


class NextCall(Value):
    """The tool to call next, with arguments it accepts as they stand."""

    tool: str
    arguments: JsonObject


class Classification(Value):
    """Which engine suits a task, why, and the call to make.

    Attributes:
        confidence: 0 to 1; 1.0 where nothing had to be inferred.
        reasons: Each inference in words, then the rule that decided.
        characteristics: The five complete, as given or inferred.
        warnings: What the caller should know before it makes the call.
    """

    backend: Backend
    confidence: float = Field(ge=0, le=1)
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    characteristics: TaskCharacteristics
    warnings: tuple[str, ...] = ()
    next_call: NextCall
