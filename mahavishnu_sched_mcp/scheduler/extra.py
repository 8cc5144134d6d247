"""Runs beside the schedule: run now, replay, cancel; each one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.errors import ApprovalRequiredError, InvalidStateError
from mahavishnu_sched_mcp.ledger import jobs, keys, run_lists, runs
from mahavishnu_sched_mcp.runner.records import enqueue
from mahavishnu_sched_mcp.scheduler.change import require_job
from mahavishnu_sched_mcp.scheduler.creation import new_run_id
from mahavishnu_sched_mcp.scheduler.reading import require_run

if TYPE_CHECKING:
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.ledger.keys import Call

_REPLAYABLE = {
    RunState.DEAD,
    RunState.FAILED,
    RunState.TIMED_OUT,
    RunState.INTERRUPTED,
    RunState.MISSED,
    RunState.CANCELLED,
}


def run_now(db: apsw.Connection, job_id: str, *, call: Call | None, by: str, at: datetime) -> Run:
    """Write one run of a job beside its schedule.

    Raises:
        JobNotFoundError: there is no such job.
        InvalidStateError: the job is over, or its engine has not confirmed it.
        ApprovalRequiredError: the operator has not approved it.
        IdempotencyConflictError: the key was used for another call.
    """
    known = _recall(db, call)
    if known is not None:
        return known
    job = require_job(db, job_id)
    _require_runnable(job)
    return _insert(
        db, job, scheduled_for=at, cause=Cause.MANUAL, replay_of=None, call=call, by=by, at=at
    )


def replay(db: apsw.Connection, run_id: str, *, call: Call | None, by: str, at: datetime) -> Run:
    """Write a new run for one that did not succeed, linked to it.

    Raises:
        RunNotFoundError: there is no such run.
        InvalidStateError: it succeeded, was skipped, or is not over; or its job is cancelled.
        IdempotencyConflictError: the key was used for another call.
    """
    known = _recall(db, call)
    if known is not None:
        return known
    origin = require_run(db, run_id)
    if origin.state not in _REPLAYABLE:
        msg = f"Run '{run_id}' is {origin.state} and cannot be replayed."
        hint = "Use run_job_now for an extra run of its job."
        raise InvalidStateError(msg, hint=hint)
    job = jobs.require(db, origin.job_serial)
    if job.state is JobState.CANCELLED:
        msg = f"Job '{job.job_id}' of run '{run_id}' is cancelled."
        raise InvalidStateError(msg, hint="Make the job anew with the tool that made it.")
    if job.backend is Backend.PREFECT:
        _require_runnable(job)
    due = origin.last_scheduled_for or origin.scheduled_for
    return _insert(
        db, job, scheduled_for=due, cause=Cause.REPLAY, replay_of=run_id, call=call, by=by, at=at
    )


def request_cancel(db: apsw.Connection, run_id: str) -> Run:
    """Ask for the end of a run; one that is over stays as it is.

    Raises:
        RunNotFoundError: there is no such run.
    """
    run = require_run(db, run_id)
    if not run.state.is_final:
        runs.request_cancel(db, run_id, reason="cancelled by request")
    return require_run(db, run_id)


def _recall(db: apsw.Connection, call: Call | None) -> Run | None:
    made = None if call is None else keys.recall(db, call)
    return None if made is None or made.run_id is None else require_run(db, made.run_id)


def _require_runnable(job: Job) -> None:
    if job.state is JobState.PENDING_APPROVAL:
        msg = f"Job '{job.job_id}' waits for the operator's approval."
        raise ApprovalRequiredError(msg, hint="Ask the operator.")
    if job.state.is_over or job.state is JobState.QUARANTINED:
        msg = f"Job '{job.job_id}' is {job.state}."
        raise InvalidStateError(
            msg, hint="Make it anew with the tool that made it; its id is free."
        )
    if job.state is JobState.PENDING and job.backend is Backend.PREFECT:
        msg = f"Job '{job.job_id}' is pending: Prefect has not confirmed it yet."
        raise InvalidStateError(msg, hint="Call get_job until it is active, then try again.")


def _insert(
    db: apsw.Connection,
    job: Job,
    *,
    scheduled_for: datetime,
    cause: Cause,
    replay_of: str | None,
    call: Call | None,
    by: str,
    at: datetime,
) -> Run:
    is_busy = any(run.state is RunState.RUNNING for run in run_lists.open_of(db, job.serial))
    waiting = "waits for the job's run in progress" if is_busy else "about to start"
    run = Run(
        run_id=new_run_id(),
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=scheduled_for,
        cause=cause,
        state=RunState.PENDING,
        reason=f"asked for by {by}, {waiting}",
        replay_of=replay_of,
    )
    runs.insert(db, run, at=at)
    if job.backend is Backend.PREFECT:  # the others wait for their place in the ledger
        enqueue(db, job, run, at=at)
    if call is not None:
        keys.remember(db, call, keys.Made(job.serial, run.run_id), at=at)
    return runs.require(db, run.run_id)
