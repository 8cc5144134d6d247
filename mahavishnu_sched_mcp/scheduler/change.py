"""Changing a job: update, pause, resume, cancel; each one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobState, Origin
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import ForbiddenError, InvalidStateError, JobNotFoundError, nearest
from mahavishnu_sched_mcp.ledger import job_lists, jobs, outbox, run_lists, runs
from mahavishnu_sched_mcp.runner import outcomes, records
from mahavishnu_sched_mcp.scheduler.request import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from mahavishnu_sched_mcp.domain.trigger import Trigger

_PAUSABLE = {JobState.ACTIVE, JobState.PENDING, JobState.PAUSED}


def require_job(db: apsw.Connection, job_id: str) -> Job:
    """Give the newest generation of a job id.

    Raises:
        JobNotFoundError: there is none; the nearest id is suggested.
    """
    job = jobs.find(db, job_id)
    if job is None:
        known = [found.job_id for found in job_lists.unfinished(db)]
        msg = f"No job is called '{job_id[:100]}'."
        prefixed = [name for name in known if name.partition(":")[2] == job_id]
        suggestion = f"Did you mean '{prefixed[0]}'?" if prefixed else nearest(job_id, known)
        raise JobNotFoundError(msg, hint=f"{suggestion} See list_jobs.".strip())
    return job


def require_changeable(db: apsw.Connection, job_id: str) -> Job:
    """Give a job that is not over and not the server's own.

    Raises:
        JobNotFoundError: there is none.
        ForbiddenError: it is the server's own.
        InvalidStateError: it is completed or cancelled.
    """
    job = require_job(db, job_id)
    if job.origin is Origin.SYSTEM:
        msg = f"Job '{job_id}' is the server's own."
        raise ForbiddenError(msg, hint="The operator sets it under internal_tasks.")
    if job.state.is_over:
        msg = f"Job '{job_id}' is {job.state}."
        raise InvalidStateError(
            msg, hint="Make it anew with the tool that made it; its id is free."
        )
    return job


def require_readable(job: Job) -> None:
    """Refuse to change a job of which only the id is known.

    Raises:
        InvalidStateError: its record is damaged.
    """
    if job.is_damaged:
        msg = f"The record of job '{job.job_id}' is damaged."
        raise InvalidStateError(msg, hint="Take it away with cancel_job, then make it anew.")


def update(
    db: apsw.Connection,
    job: Job,
    *,
    definition: JobDefinition,
    trigger: Trigger | None,
    name: str | None,
    tags: Sequence[str] | None,
    note: str | None,
    at: datetime,
) -> Job:
    """Write a changed job; one that is as asked already stays as it is.

    Args:
        trigger: The newly anchored one, where the trigger changed; None keeps the old.
    """
    changed = job.model_copy(
        update={
            "definition": definition,
            "name": job.name if name is None else name,
            "tags": job.tags if tags is None else tuple(tags),
            "note": job.note if note is None else note,
        }
        | ({} if trigger is None else {"trigger": trigger})
    )
    if trigger is not None:
        fired = records.settle(db, job, reason="the trigger was changed", at=at).fired
        changed = changed.model_copy(update={"fired": fired})
    if job.state is not JobState.PAUSED and (trigger is not None or _ends_elsewhere(job, changed)):
        # A fire that is due and not taken yet is still to be taken, unless the trigger changed.
        due = None if trigger is not None else job.next_run_at
        following = records.next_fire(changed, after=at if due is None else due - records.TICK)
        changed = changed.model_copy(update={"next_run_at": following})
    if changed == job:
        return job
    if definition != job.definition:
        runs.keep_definition(db, job)
    digest = fingerprint(definition, name=changed.name, tags=changed.tags)
    saved = jobs.save(db, changed, fingerprint=digest)
    jobs.complete_if_over(db, saved.serial)
    return jobs.require(db, saved.serial)


def pause(
    db: apsw.Connection, job_id: str, *, note: str | None, until: datetime | None, at: datetime
) -> Job:
    """Hold the fires of a job; a run that has started goes on.

    Raises:
        JobNotFoundError, ForbiddenError, InvalidStateError: it cannot be paused.
    """
    job = require_changeable(db, job_id)
    if job.state not in _PAUSABLE:
        msg = f"Job '{job_id}' is {job.state} and cannot be paused."
        raise InvalidStateError(msg, hint="See get_job for what it waits for.")
    held = job.model_copy(
        update={
            "state": JobState.PAUSED,
            "next_run_at": None,
            "paused_until": until,
            "note": job.note if note is None else note,
        }
    )
    if held == job:
        return job
    if job.state is not JobState.PAUSED:
        records.settle(db, job, reason="paused", at=at)
        jobs.set_paused_at(db, job.serial, _last_accounted(job, at=at))
        if job.backend is Backend.ONEIRIC:  # they get their places anew after the pause
            outbox.withdraw(db, job.serial)
    return jobs.save(db, held)


def resume(db: apsw.Connection, job: Job, *, at: datetime) -> Job:
    """Let a paused job fire again; the fires of the pause are recorded as skipped.

    Raises:
        InvalidStateError: it is over or waits for something else.
    """
    if job.state in {JobState.ACTIVE, JobState.PENDING}:
        return job
    if job.state is not JobState.PAUSED:
        msg = f"Job '{job.job_id}' is {job.state} and cannot be resumed."
        raise InvalidStateError(msg, hint="See get_job for what it waits for.")
    records.settle(db, job, reason="paused", at=at)
    newest = None if job.backend is Backend.PREFECT else runs.newest_fire(db, job.serial)
    following = records.next_fire(job, after=max(at, newest or at))  # the clock may be set back
    jobs.set_paused_at(db, job.serial, None)
    going = job.model_copy(
        update={
            "state": JobState.ACTIVE,
            "next_run_at": following,
            "paused_until": None,
        }
    )
    saved = jobs.save(db, going)
    jobs.complete_if_over(db, saved.serial)
    return jobs.require(db, saved.serial)


def resume_if_due(db: apsw.Connection, serial: int, *, at: datetime) -> Job:
    """Resume a job whose pause is over, if nobody has changed that meanwhile.

    It is resumed at the instant at which its pause ended: what came due since is late or missed.
    """
    job = jobs.require(db, serial)
    end = job.paused_until
    is_over = job.state is JobState.PAUSED and end is not None and end <= at
    return resume(db, job, at=end) if is_over and end is not None else job


def cancel(db: apsw.Connection, job_id: str, *, at: datetime) -> Job:
    """Take away a job's future fires and its waiting runs; a cancelled job stays cancelled.

    A run that has started goes on; `cancel_run` stops it.

    Raises:
        JobNotFoundError, ForbiddenError: it cannot be cancelled.
    """
    job = require_job(db, job_id)
    if job.state.is_over:
        return job
    job = require_changeable(db, job_id)
    records.settle(db, job, reason="the job was cancelled", at=at)
    for run in run_lists.open_of(db, job.serial):
        if run.state is RunState.PENDING:
            runs.request_cancel(db, run.run_id, reason="the job was cancelled")
            outcomes.cancel_waiting(db, run, reason="the job was cancelled", at=at)
    ended = job.model_copy(update={"state": JobState.CANCELLED, "next_run_at": None})
    return jobs.save(db, ended)


def _last_accounted(job: Job, *, at: datetime) -> datetime:
    """Give the instant up to which every fire has its record when a job is paused.

    The leader, another process, may have taken a fire since the caller looked at its clock.
    """
    if job.trigger is None or job.next_run_at is None:
        return at
    following = job.trigger.next_after(at)
    is_taken = following is not None and following < job.next_run_at
    return job.next_run_at - records.TICK if is_taken else at


def _ends_elsewhere(job: Job, changed: Job) -> bool:
    """Whether a change lets the job's fires end earlier or later than before."""
    before, after = job.definition.policies, changed.definition.policies
    return (before.max_runs, before.expires_at) != (after.max_runs, after.expires_at)
