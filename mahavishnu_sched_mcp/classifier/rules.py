"""The five rules: characteristics in, engine out, first match wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.characteristics import Alternative
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.value import Value

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics

WHAT_PREFECT_IS_FOR = "a UI, state tracking, a DAG or several repositories (rules 1 and 2)"


class Decision(Value):
    """What a rule decided.

    Attributes:
        rule: 1 to 5, as documented.
        grounds: The characteristic that matched, in words.
        decisive: The characteristics that could have changed the answer.
    """

    backend: Backend
    rule: int
    grounds: str
    decisive: tuple[str, ...]


def choose(characteristics: TaskCharacteristics) -> Backend:
    """Choose the engine for a task, by the first of the five rules that matches.

    What is None matches no rule, so the answer is total and depends on nothing else.

    Args:
        characteristics: What is known about the task.
    """
    return decide(characteristics).backend


def decide(characteristics: TaskCharacteristics) -> Decision:
    """Apply the five rules and say which one matched, and on what grounds."""
    matched = _match_prefect(characteristics)
    if matched:
        return matched
    if characteristics.infrastructure == "distributed":
        return Decision(
            backend=Backend.ONEIRIC,
            rule=3,
            grounds="infrastructure is distributed",
            decisive=("visibility", "complexity", "infrastructure"),
        )
    if characteristics.durability == "persistent":
        return Decision(
            backend=Backend.ONEIRIC,
            rule=4,
            grounds="durability is persistent",
            decisive=("visibility", "complexity", "durability"),
        )
    return Decision(
        backend=Backend.APSCHEDULER,
        rule=5,
        grounds="nothing asks for a UI, a DAG, a queue or durability",
        decisive=("visibility", "complexity", "infrastructure", "durability"),
    )


def weigh_others(
    decision: Decision, characteristics: TaskCharacteristics
) -> tuple[Alternative, ...]:
    """Say of the two engines that were not chosen why not."""
    others = [backend for backend in Backend if backend is not decision.backend]
    return tuple(
        Alternative(backend=other, why_not=_why_not(other, decision, characteristics))
        for other in others
    )


def _match_prefect(characteristics: TaskCharacteristics) -> Decision | None:
    """Match rules 1 and 2, each part of which suffices by itself."""
    parts = (
        (1, "visibility", "user-facing", "visibility is user-facing"),
        (1, "requires_ui", True, "it needs a UI"),
        (1, "requires_observability", True, "it needs observability or state tracking"),
        (2, "complexity", "dag", "complexity is dag"),
        (2, "complexity", "complex", "complexity is complex"),
        (2, "multi_repo", True, "it works on several repositories"),
    )
    for rule, name, value, grounds in parts:
        if getattr(characteristics, name) == value:
            return Decision(backend=Backend.PREFECT, rule=rule, grounds=grounds, decisive=(name,))
    return None


def _why_not(other: Backend, decision: Decision, characteristics: TaskCharacteristics) -> str:
    first = f"rule {decision.rule} matched first ({decision.grounds})"
    if other is Backend.APSCHEDULER:
        return f"{first}; it runs small work inside this server, with neither a queue nor a UI"
    if other is Backend.PREFECT:
        return f"nothing asks for {WHAT_PREFECT_IS_FOR}"
    if decision.backend is Backend.APSCHEDULER:
        return "nothing has to be distributed or to outlive the server (rules 3 and 4)"
    fits = characteristics.infrastructure == "distributed" or (
        characteristics.durability == "persistent"
    )
    if fits:
        return f"{first}; where nobody needs to watch, a queue would carry it too"
    return f"{first}; nothing has to be distributed or to outlive the server either"
