"""Domain values as the JSON an agent reads (contract, section 4, "What comes back")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mahavishnu_sched_mcp.domain.engine import Backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mahavishnu_sched_mcp.domain.answer import CatalogPage, JobDetail, Preview, Status
    from mahavishnu_sched_mcp.domain.characteristics import Classification
    from mahavishnu_sched_mcp.domain.job import Creation, Job
    from mahavishnu_sched_mcp.domain.output import Output
    from mahavishnu_sched_mcp.domain.policy import Policies
    from mahavishnu_sched_mcp.domain.run import Run
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Workflow

DEFAULT_OUTPUT_BYTES = 8192
"""How much of a run's output is shown where nobody asked for more."""

LISTED_OUTPUT_BYTES = 256
"""How much of it is shown in a list of runs: enough to recognise, not to read."""

_PREFECT_ONLY = frozenset({"concurrency_limit", "retries", "retry_delay_seconds"})
_PREFECT_TOO = _PREFECT_ONLY | {"missed_policy", "catchup_window_seconds"}


def instant_text(instant: datetime, *, zone: tzinfo = UTC) -> str:
    """Write an instant as RFC 3339 with offset, with milliseconds where it has any."""
    local = instant.astimezone(zone)
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")


def job_view(job: Job) -> JsonObject:
    """Show a job in full."""
    zone = _zone(job)
    view: JsonObject = {
        "job_id": job.job_id,
        "backend": str(job.backend),
        "kind": str(job.definition.kind),
        "target": job.definition.target,
        "name": job.name,
        "state": str(job.state),
        "trigger": None if job.trigger is None else job.trigger.as_json(),
        "schedule_in_words": schedule_in_words(job),
        "timezone": "UTC" if job.trigger is None else job.trigger.zone,
        "next_run_at": _optional(job.next_run_at, zone=zone),
        "created_at": instant_text(job.created_at),
        "created_by": job.created_by,
        "origin": str(job.origin),
        "durable": job.definition.durable,
        "policies": _policies_view(job.definition.policies, backend=job.backend),
        "counts": job.counts.model_dump(),
        "last_run": None
        if job.last_run is None
        else {
            "run_id": job.last_run.run_id,
            "state": str(job.last_run.state),
            "finished_at": _optional(job.last_run.finished_at),
        },
        "tags": list(job.tags),
        "note": job.note,
    }
    if job.paused_until is not None:
        view["paused_until"] = instant_text(job.paused_until, zone=zone)
    return view


def brief_job_view(job: Job) -> JsonObject:
    """Show of a job what a list needs."""
    return {
        "job_id": job.job_id,
        "target": job.definition.target,
        "state": str(job.state),
        "schedule_in_words": schedule_in_words(job),
        "next_run_at": _optional(job.next_run_at, zone=_zone(job)),
        "last_run": None if job.last_run is None else {"state": str(job.last_run.state)},
    }


def job_detail_view(detail: JobDetail) -> JsonObject:
    """Show a job in full, with its arguments, its next fires and its last runs."""
    job = detail.job
    return job_view(job) | {
        "params": job.definition.params,
        "provider": job.definition.provider,
        "reference": job.reference,
        "next_fires": _instants(detail.next_fires),
        "runs": [brief_run_view(run) for run in detail.runs],
    }


def creation_view(creation: Creation) -> JsonObject:
    """Show what a creating call made, asked for and was given."""
    view: JsonObject = {
        "job": job_view(creation.job),
        "outcome": creation.outcome,
        "requested": creation.requested,
        "granted": creation.granted,
        "next_fires": _instants(creation.next_fires),
        "warnings": list(creation.warnings),
    }
    if creation.run_id is not None:
        view["run_id"] = creation.run_id
    return view


def run_view(run: Run, *, output_bytes: int = DEFAULT_OUTPUT_BYTES) -> JsonObject:
    """Show a run in full.

    Args:
        run: The run.
        output_bytes: The most bytes of its output to show.
    """
    view: JsonObject = {
        "run_id": run.run_id,
        "job_id": run.job_id,
        "scheduled_for": instant_text(run.scheduled_for),
        "cause": str(run.cause),
        "state": str(run.state),
        "reason": run.reason,
        "started_at": _optional(run.started_at),
        "finished_at": _optional(run.finished_at),
        "lateness_ms": _milliseconds(run.lateness),
        "duration_ms": _milliseconds(run.duration),
        "fires": run.fires,
        "last_scheduled_for": instant_text(run.last_scheduled_for or run.scheduled_for),
        "attempts": [
            {
                "number": attempt.number,
                "started_at": instant_text(attempt.started_at),
                "finished_at": _optional(attempt.finished_at),
                "outcome": None if attempt.outcome is None else str(attempt.outcome),
            }
            for attempt in run.attempts
        ],
        "worker": run.worker,
        "output": _output_view(run.output.shortened(output_bytes)),
        "error": None if run.error is None else run.error.model_dump(),
        "replay_of": run.replay_of,
    }
    return view | _run_extras(run)


def brief_run_view(run: Run) -> JsonObject:
    """Show of a run how it went, without its output."""
    return {
        "run_id": run.run_id,
        "scheduled_for": instant_text(run.scheduled_for),
        "cause": str(run.cause),
        "state": str(run.state),
        "reason": run.reason,
        "duration_ms": _milliseconds(run.duration),
        "fires": run.fires,
    }


def classification_view(classification: Classification) -> JsonObject:
    """Show which engine suits a task, why, and the call to make."""
    return classification.model_dump(mode="json", exclude={"characteristics"}) | {
        "characteristics": classification.characteristics.model_dump(mode="json", exclude_none=True)
    }


def preview_view(preview: Preview) -> JsonObject:
    """Show what a trigger would do."""
    return {
        "in_words": preview.in_words,
        "fires": _instants(preview.fires),
        "warnings": list(preview.warnings),
    }


def catalog_view(page: CatalogPage) -> JsonObject:
    """Show what may be scheduled, each with its parameters."""
    return {
        "tasks": [entry.model_dump(mode="json") for entry in page.tasks],
        "workflows": [_workflow_view(workflow) for workflow in page.workflows],
        "flows": [
            entry.model_dump(mode="json", include={"name", "description", "params_schema"})
            for entry in page.flows
        ],
        "providers": [entry.model_dump(mode="json") for entry in page.providers],
        "total": page.total,
        "next_cursor": page.next_cursor,
    }


def status_view(status: Status) -> JsonObject:
    """Show how everything is."""
    return {
        "now": instant_text(status.now),
        "leader": status.leader,
        "engines": status.engines,
        "queues": status.queues,
        "counts": status.counts,
        "attention": list(status.attention),
    }


def schedule_in_words(job: Job) -> str:
    """Say a job's schedule as a person would."""
    return "once, when enqueued" if job.trigger is None else job.trigger.in_words()


def _zone(job: Job) -> tzinfo:
    return UTC if job.trigger is None or job.trigger.zone == "UTC" else ZoneInfo(job.trigger.zone)


def _optional(instant: datetime | None, *, zone: tzinfo = UTC) -> str | None:
    return None if instant is None else instant_text(instant, zone=zone)


def _instants(instants: Iterable[datetime]) -> list[str]:
    """Write instants in the zone they carry: the scheduler chose it."""
    return [instant_text(instant, zone=instant.tzinfo or UTC) for instant in instants]


def _milliseconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span / timedelta(milliseconds=1))


def _policies_view(policies: Policies, *, backend: Backend) -> JsonObject:
    """Show the policies that mean something to the job's engine."""
    view = policies.model_dump(mode="json")
    view["expires_at"] = _optional(policies.expires_at)
    if backend is Backend.PREFECT:
        return {name: value for name, value in view.items() if name in _PREFECT_TOO}
    return {name: value for name, value in view.items() if name not in _PREFECT_ONLY}


def _output_view(output: Output) -> JsonObject:
    return {
        "text": output.text,
        "bytes": output.bytes,
        "truncated": output.truncated,
        "trust": output.trust,
    }


def _run_extras(run: Run) -> JsonObject:
    """Show what only some runs have: nodes, the engine's ids, a request to stop."""
    extras: JsonObject = {}
    if run.nodes:
        extras["nodes"] = [
            {
                "node": node.node,
                "state": str(node.state),
                "started_at": _optional(node.started_at),
                "finished_at": _optional(node.finished_at),
                "attempts": node.attempts,
                "reason": node.reason,
            }
            for node in run.nodes
        ]
    if run.reference:
        extras["reference"] = run.reference
    if run.cancel_requested:
        extras["cancel_requested"] = True
    return extras


def _workflow_view(workflow: Workflow) -> JsonObject:
    """Show the DAG without the operator's payloads: those are not the agent's to choose."""
    return {
        "name": workflow.name,
        "description": workflow.description,
        "nodes": [
            {"id": node.id, "task": node.task, "depends_on": list(node.depends_on)}
            for node in workflow.nodes
        ],
    }
