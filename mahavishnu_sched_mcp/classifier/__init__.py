"""Says which engine suits a task, why, and which call to make."""

from __future__ import annotations

import math

from mahavishnu_sched_mcp.classifier.call import propose_call, warn
from mahavishnu_sched_mcp.classifier.inference import Inference, complete
from mahavishnu_sched_mcp.classifier.rules import Decision, choose, decide, weigh_others
from mahavishnu_sched_mcp.classifier.target import look_up
from mahavishnu_sched_mcp.domain.catalog import Catalog
from mahavishnu_sched_mcp.domain.characteristics import (
    Alternative,
    Classification,
    NextCall,
    TaskCharacteristics,
)
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.errors import InvalidArgumentsError

__all__ = [
    "Alternative",
    "Classification",
    "NextCall",
    "TaskCharacteristics",
    "choose",
    "classify",
    "classify_task",
]

SUREST_INFERENCE = 0.95
"""No confidence of 1 where something was inferred."""


def classify_task(task_name: str, characteristics: TaskCharacteristics | None = None) -> str:
    """Name the engine that suits a task: `apscheduler`, `oneiric` or `prefect`.

    Args:
        task_name: What the task is called.
        characteristics: What is known about it; what is missing is read out of the name.
    """
    answer = classify(task_name, characteristics=characteristics, catalog=Catalog())
    return str(answer.backend)


def classify(
    task_name: str,
    *,
    description: str | None = None,
    characteristics: TaskCharacteristics | None = None,
    interval_seconds: float | None = None,
    catalog: Catalog,
    enabled: frozenset[Backend] | None = None,
) -> Classification:
    """Say which engine suits a task, why, and which call to make.

    With all five deciding characteristics given the engine depends on them (and on the flags
    given with them) alone. Nothing is changed and no engine is started.

    Args:
        task_name: A name of the catalog, or what the caller would call the task.
        description: What it does, in a sentence.
        characteristics: What is known; it wins over everything inferred.
        interval_seconds: Its period; wins over the one in `characteristics`.
        catalog: All that may be scheduled.
        enabled: The engines that are switched on; None where that is not known. The choice does
            not depend on it, a warning does.

    Raises:
        InvalidArgumentsError: the period is not a positive number.
    """
    given = _with_period(characteristics or TaskCharacteristics(), interval_seconds)
    target = look_up(task_name, catalog)
    inference = complete(given, target=target, description=description)
    decision = decide(inference.characteristics)
    return Classification(
        backend=decision.backend,
        confidence=_weigh(inference, decision, is_complete=given.is_complete),
        reasons=(*inference.reasons, _say_rule(decision), *_say_period(inference)),
        alternatives=weigh_others(decision, inference.characteristics),
        characteristics=inference.characteristics,
        warnings=warn(
            decision.backend,
            target=target,
            characteristics=inference.characteristics,
            catalog=catalog,
            enabled=enabled,
        ),
        next_call=propose_call(
            decision.backend,
            target=target,
            characteristics=inference.characteristics,
            catalog=catalog,
            cron=inference.cron,
        ),
    )


def _with_period(
    characteristics: TaskCharacteristics, interval_seconds: float | None
) -> TaskCharacteristics:
    if interval_seconds is None:
        return characteristics
    if not (math.isfinite(interval_seconds) and interval_seconds > 0):
        message = f"interval_seconds is {interval_seconds}; a period is a number above 0."
        raise InvalidArgumentsError(
            message, hint="Give seconds, such as 30, or leave it out: classify_task needs none."
        )
    return characteristics.model_copy(update={"interval_seconds": float(interval_seconds)})


def _weigh(inference: Inference, decision: Decision, *, is_complete: bool) -> float:
    """Average how sure the characteristics are that could have changed the answer."""
    if is_complete:
        return 1.0
    certainties = [inference.certainty[name] for name in decision.decisive]
    return round(min(SUREST_INFERENCE, sum(certainties) / len(certainties)), 2)


def _say_rule(decision: Decision) -> str:
    return f"rule {decision.rule}: {decision.grounds} -> {decision.backend}"


def _say_period(inference: Inference) -> tuple[str, ...]:
    """Say where the schedule of the next call comes from, if nobody gave a period."""
    if inference.characteristics.interval_seconds is not None:
        return ()
    if inference.cron:
        return (f"the wording names a time -> cron '{inference.cron}' is proposed",)
    frequency = inference.characteristics.frequency
    return (f"no period was named -> one is proposed for frequency {frequency}",)
