"""From a choice to the call an agent makes next, and to what it should know before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.classifier.placeholder import task_placeholders, workflow_placeholders
from mahavishnu_sched_mcp.classifier.words import read_words
from mahavishnu_sched_mcp.domain.characteristics import NextCall
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.errors import nearest

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.classifier.target import Target
    from mahavishnu_sched_mcp.domain.catalog import Catalog
    from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics
    from mahavishnu_sched_mcp.domain.value import JsonObject

SHORTEST_QUEUED_PERIOD_SECONDS = 60
LONGEST_RUN_IN_PROCESS_SECONDS = 300
LONGEST_NAME = 80

SWITCHES = {
    Backend.APSCHEDULER: "schedulers.apscheduler_enabled",
    Backend.ONEIRIC: "schedulers.oneiric_queue_enabled",
    Backend.PREFECT: "schedulers.prefect_deployments_enabled",
}
"""The setting that switches each engine on and off."""

TOOLS = {
    Backend.APSCHEDULER: "schedule_internal_task",
    Backend.ONEIRIC: "enqueue_workflow",
    Backend.PREFECT: "schedule_deployment",
}

PARAMS = {
    Backend.APSCHEDULER: "params",
    Backend.ONEIRIC: "context",
    Backend.PREFECT: "parameters",
}
"""What each of these tools calls the arguments of the work."""

PROPOSED_SECONDS = {"high": 60, "medium": 3600}
PROPOSED_CRON = "0 2 * * *"
"""What is proposed where nobody named a period; rare work goes into the night."""


def propose_call(
    backend: Backend,
    *,
    target: Target,
    characteristics: TaskCharacteristics,
    catalog: Catalog,
    cron: str | None,
) -> NextCall:
    """Write the call that puts the task on its engine, with names the catalog has.

    Where the catalog has nothing that this engine can take under this name, the call is the one
    that shows what there is. A param that is needed and unknown gets a placeholder of its type.

    Args:
        backend: The engine that was chosen.
        target: What the name stands for.
        characteristics: Complete; the period comes from here.
        catalog: All that may be scheduled.
        cron: Where there is no period, the expression that suits the wording, or None.
    """
    name = name_for(backend, target)
    if not name:
        return _look_around(backend, target, catalog)
    seconds = _seconds(characteristics, cron)
    expression = cron or PROPOSED_CRON
    if backend is Backend.PREFECT:
        schedule = {"interval_seconds": seconds} if seconds else {"cron": expression}
        arguments: JsonObject = {"flow_name": name, "schedule_config": schedule}
    else:
        key = "task" if backend is Backend.APSCHEDULER else "workflow_key"
        interval = {"type": "interval", "seconds": seconds}
        calendar = {"type": "cron", "expression": expression}
        arguments = {key: name, "trigger": interval if seconds else calendar}
    placeholders = _placeholders(backend, target, catalog)
    if placeholders:
        arguments[PARAMS[backend]] = placeholders
    return NextCall(tool=TOOLS[backend], arguments=arguments)


def name_for(backend: Backend, target: Target) -> str:
    """Give the catalog's name that this engine can take, or nothing.

    APScheduler takes tasks, Oneiric workflows, Prefect flows and workflows; a workflow that
    consists of the task alone stands in for it.

    Args:
        backend: The engine that was chosen.
        target: What the name stands for.
    """
    if backend is Backend.APSCHEDULER:
        return target.task.name if target.task else ""
    if backend is Backend.PREFECT and target.flow:
        return target.flow.name
    if target.workflow:
        return target.workflow.name
    return next(iter(target.carriers), "")


def warn(
    backend: Backend,
    *,
    target: Target,
    characteristics: TaskCharacteristics,
    catalog: Catalog,
    enabled: frozenset[Backend] | None,
) -> tuple[str, ...]:
    """Say what the caller should know before it makes the call.

    Args:
        backend: The engine that was chosen.
        target: What the name stands for.
        characteristics: Complete.
        catalog: All that may be scheduled.
        enabled: The engines that are switched on; None where that is not known.
    """
    warnings = [
        _warn_of_period(backend, characteristics),
        _warn_of_duration(backend, characteristics),
        _warn_of_switch(backend, enabled),
        _warn_of_name(backend, target, catalog),
        _warn_of_params(backend, target, catalog),
    ]
    return tuple(warning for warning in warnings if warning)


def _look_around(backend: Backend, target: Target, catalog: Catalog) -> NextCall:
    if target.is_known:
        wanted = "task" if backend is Backend.APSCHEDULER else "workflow"
        return NextCall(tool="list_catalog", arguments={"kind": wanted})
    query = _query_for(target, catalog)
    return NextCall(tool="list_catalog", arguments={"query": query} if query else {})


def _query_for(target: Target, catalog: Catalog) -> str:
    """Give the longest word of an unknown name that the catalog has; else the name."""
    names = " ".join(_all_names(catalog)).casefold()
    words = sorted(set(read_words(target.name)), key=lambda word: (-len(word), word))
    return next((word for word in words if word in names), _shown(target))


def _seconds(characteristics: TaskCharacteristics, cron: str | None) -> float | None:
    """Give the period of the call, whole where it can be; None where a cron suits better."""
    seconds = characteristics.interval_seconds
    if seconds is None:
        return None if cron else PROPOSED_SECONDS.get(characteristics.frequency or "low")
    return int(seconds) if seconds.is_integer() else seconds


def _warn_of_period(backend: Backend, characteristics: TaskCharacteristics) -> str:
    period = characteristics.interval_seconds
    if backend is Backend.APSCHEDULER or not period or period >= SHORTEST_QUEUED_PERIOD_SECONDS:
        return ""
    return (
        f"A period of {period:g} s is short for {backend}, which suits periods of "
        f"{SHORTEST_QUEUED_PERIOD_SECONDS} s and more: lengthen it, or use schedule_internal_task "
        "for a small task."
    )


def _warn_of_duration(backend: Backend, characteristics: TaskCharacteristics) -> str:
    duration = characteristics.expected_duration_seconds
    is_short = not duration or duration <= LONGEST_RUN_IN_PROCESS_SECONDS
    if backend is not Backend.APSCHEDULER or is_short:
        return ""
    return (
        f"A run of {duration:g} s is long for apscheduler, whose runs end with this server: "
        "consider enqueue_workflow for work over 5 minutes, and mind limits.max_runtime_seconds."
    )


def _warn_of_switch(backend: Backend, enabled: frozenset[Backend] | None) -> str:
    if enabled is None or backend in enabled:
        return ""
    return (
        f"The engine {backend} is switched off: set {SWITCHES[backend]} to true, "
        "or choose one of the alternatives."
    )


def _warn_of_name(backend: Backend, target: Target, catalog: Catalog) -> str:
    if not target.is_known:
        near = nearest(_shown(target), _all_names(catalog))
        return f"'{_shown(target)}' is not in the catalog. {near}".strip() + (
            " See what there is with list_catalog."
        )
    name = name_for(backend, target)
    if not name:
        return _say_what_does_not_fit(backend, target)
    if name in target.carriers and target.task and not target.workflow:
        return f"{TOOLS[backend]} takes no task: '{name}' is the workflow that consists of it."
    return ""


def _say_what_does_not_fit(backend: Backend, target: Target) -> str:
    if backend is Backend.APSCHEDULER:
        kind = "workflow" if target.workflow else "flow"
        other = "enqueue_workflow" if target.workflow else "schedule_deployment"
        return (
            f"'{_shown(target)}' is a {kind} and schedule_internal_task takes tasks: "
            f"use {other} for it, or choose a task with list_catalog."
        )
    if target.task is None:
        return (
            f"'{_shown(target)}' is a flow and enqueue_workflow takes workflows: "
            "use schedule_deployment for it, or choose a workflow with list_catalog."
        )
    return (
        f"'{target.task.name}' is a task, {TOOLS[backend]} takes none, and no workflow consists of "
        "it alone: use schedule_internal_task for it, choose a workflow with list_catalog, or ask "
        "the operator for one under the setting `workflows`."
    )


def _warn_of_params(backend: Backend, target: Target, catalog: Catalog) -> str:
    names = [f"'{name}'" for name in _placeholders(backend, target, catalog)]
    if not names:
        return ""
    is_one = len(names) == 1
    return (
        f"'{name_for(backend, target)}' needs {PARAMS[backend]}: {', '.join(names)}"
        f" {'is a placeholder' if is_one else 'are placeholders'} in next_call,"
        f" replace {'it' if is_one else 'them'} before you send it."
    )


def _placeholders(backend: Backend, target: Target, catalog: Catalog) -> JsonObject:
    """Make up what the proposed call needs and nobody has said."""
    name = name_for(backend, target)
    if backend is Backend.APSCHEDULER:
        return task_placeholders(target.task) if target.task else {}
    if name in catalog.workflows:
        return workflow_placeholders(catalog.workflows[name], catalog)
    return {}


def _all_names(catalog: Catalog) -> list[str]:
    return [*catalog.tasks, *catalog.workflows, *catalog.flows]


def _shown(target: Target) -> str:
    """Give the name as far as a reader needs it: it comes from outside and may be endless."""
    return target.name.strip()[:LONGEST_NAME]
