"""Making a job, or finding that it is made: one transaction."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState, make_job_id
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.errors import IdConflictError, LimitExceededError
from mahavishnu_sched_mcp.ledger import job_lists, jobs, keys, runs
from mahavishnu_sched_mcp.runner.records import enqueue, next_fire, settle
from mahavishnu_sched_mcp.scheduler.checks import check_end

if TYPE_CHECKING:
    import apsw

    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.scheduler.request import JobRequest

type CreationOutcome = Literal["created", "existed", "replaced"]


class Made(NamedTuple):
    """What a creating call made or found."""

    job: Job
    outcome: CreationOutcome
    run_id: str | None = None


def create(db: apsw.Connection, request: JobRequest, *, most_jobs: int) -> Made:
    """Write the job, with its first run where it has no trigger, or find the one that is there.

    Raises:
        IdempotencyConflictError: the key was used with other arguments.
        IdConflictError: the id is taken by another definition.
        LimitExceededError: `limits.max_jobs` unfinished jobs exist.
        InvalidArgumentsError, InvalidTriggerError: it would have no fire before its end.
    """
    if request.call is not None:
        known = keys.recall(db, request.call)
        if known is not None and known.job_serial is not None:
            return Made(jobs.require(db, known.job_serial), "existed", known.run_id)
    made = _found(db, request) or _new(db, request, most_jobs=most_jobs)
    if request.call is not None:
        keys.remember(db, request.call, keys.Made(made.job.serial, made.run_id), at=request.at)
    return made


def new_run_id() -> str:
    """Give an id for a run that is no fire."""
    return f"run-{secrets.token_hex(10)}"


def _found(db: apsw.Connection, request: JobRequest) -> Made | None:
    name = request.id or (request.definition.derived_id() if request.trigger else None)
    if name is None:
        return None
    job = jobs.find(db, make_job_id(request.definition.backend, name))
    if job is None or job.state.is_over:
        return None
    if jobs.fingerprint_of(db, job.serial) == request.fingerprint(name):
        return Made(job, "existed", _first_run_id(db, job) if request.trigger is None else None)
    if not request.replace:
        what = ", ".join(_differences(job, request)) or "name or tags"
        msg = f"Job '{job.job_id}' exists and differs in: {what}."
        hint = "Use update_job or replace=true to change it, or choose another id."
        raise IdConflictError(msg, hint=hint, details={"job_id": job.job_id})
    _check_end(request)
    job = settle(db, job, reason="the job was replaced", at=request.at)
    runs.keep_definition(db, job)
    fresh = request.job(name)
    replaced = job.model_copy(
        update={
            "definition": fresh.definition,
            "name": fresh.name,
            "trigger": fresh.trigger,
            "tags": fresh.tags,
            "state": fresh.state,
            "paused_until": None,
        }
    )
    following = None if request.is_paused else next_fire(replaced, after=request.at)
    replaced = replaced.model_copy(update={"next_run_at": following})
    return Made(jobs.save(db, replaced, fingerprint=request.fingerprint(name)), "replaced")


def _check_end(request: JobRequest) -> None:
    """Refuse a job without fires; one that is there already is found, however near its end is."""
    check_end(request.definition.policies.expires_at, trigger=request.trigger, at=request.at)


def _new(db: apsw.Connection, request: JobRequest, *, most_jobs: int) -> Made:
    _check_end(request)
    if request.origin.value != "system":
        current = job_lists.count_unfinished(db)
        if current >= most_jobs:
            msg = f"{current} unfinished jobs exist, {most_jobs} are allowed."
            hint = "Cancel some with cancel_job, or let the operator raise limits.max_jobs."
            raise LimitExceededError(
                msg, hint=hint, details={"limit": most_jobs, "current": current}
            )
    name = request.id
    if name is None:
        definition = request.definition
        name = definition.derived_id() if request.trigger else _unique(definition.derived_id())
    job = jobs.insert(db, request.job(name), fingerprint=request.fingerprint(name))
    if job.state is JobState.PAUSED:
        jobs.set_paused_at(db, job.serial, request.at)
    if request.trigger is not None:
        return Made(job, "created")
    run = Run(
        run_id=new_run_id(),
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=request.at,
        cause=Cause.QUEUE,
        state=RunState.PENDING,
        reason=f"waiting for queue '{job.definition.provider}'",
    )
    runs.insert(db, run, at=request.at)
    enqueue(db, job, run, at=request.at)
    return Made(job, "created", run.run_id)


def _unique(stem: str) -> str:
    return f"{stem[:50]}-{secrets.token_hex(5)}"


def _first_run_id(db: apsw.Connection, job: Job) -> str | None:
    found = db.execute(
        "select run_id from run where job_serial = ? order by seq limit 1", (job.serial,)
    ).get
    return None if found is None else str(found)


def _differences(job: Job, request: JobRequest) -> list[str]:
    names = {"trigger_requested": "trigger"}
    old, new = job.definition.model_dump(), request.definition.model_dump()
    return [names.get(key, key) for key in old if old[key] != new[key]]


def granted(job: Job) -> JsonObject:
    """Name the engine, the provider and the durability a job has."""
    given: JsonObject = {"backend": job.backend.value, "durable": job.definition.durable}
    if job.backend is Backend.ONEIRIC:
        given["queue_provider"] = job.definition.provider
    return given
