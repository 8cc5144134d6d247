"""Fires become records: one per fire, one for a whole gap, never a second."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.dispatch import Dispatch
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, outbox, runs
from mahavishnu_sched_mcp.ledger.instant import to_micros

if TYPE_CHECKING:
    import apsw

    from mahavishnu_sched_mcp.domain.job import Job

TICK = timedelta(microseconds=1)
"""The ledger's resolution: spans exclude their start."""


def fire_run_id(job: Job, scheduled_for: datetime) -> str:
    """Give the id of a fire's run: the same fire has the same id, whoever makes it."""
    # The creation instant keeps equal jobs of two data dirs apart: runs are ended by their id.
    birth = f"{job.job_id}|{job.generation}|{to_micros(job.created_at)}"
    text = f"{birth}|{to_micros(scheduled_for)}"
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def record_fire(
    db: apsw.Connection,
    job: Job,
    scheduled_for: datetime,
    *,
    state: RunState,
    reason: str,
    at: datetime,
    cause: Cause = Cause.SCHEDULE,
) -> Run | None:
    """Write the record of one fire; None where it has one already, which then stays."""
    run = Run(
        run_id=fire_run_id(job, scheduled_for),
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=scheduled_for,
        cause=cause,
        state=state,
        reason=reason,
        finished_at=at if state.is_final else None,
    )
    if not runs.insert(db, run, at=at):
        return None
    if state.is_final:
        jobs.count_outcome(db, job.serial, state=state, fires=1, run_id=run.run_id)
    return run


def record_gap(
    db: apsw.Connection,
    job: Job,
    *,
    span: tuple[datetime, datetime],
    state: RunState,
    reason: str,
    at: datetime,
) -> int:
    """Write one record for all fires of a job in (after, until]; gives how many there were."""
    assert job.trigger is not None  # noqa: S101 - only jobs with a trigger have fires
    gap = job.trigger.gap(*span)
    if gap.count == 0 or gap.first is None:
        return 0
    run = Run(
        run_id=fire_run_id(job, gap.first),
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=gap.first,
        last_scheduled_for=gap.last if gap.count > 1 else None,
        cause=Cause.SCHEDULE,
        state=state,
        reason=reason,
        fires=gap.count,
        finished_at=at,
    )
    if runs.insert(db, run, at=at):
        jobs.count_outcome(db, job.serial, state=state, fires=gap.count, run_id=run.run_id)
    return gap.count


def skip_due(db: apsw.Connection, job: Job, *, reason: str, at: datetime) -> None:
    """Record the fires that are due and not taken: a change would let them go unnoticed."""
    is_ours = job.trigger is not None and job.backend is not Backend.PREFECT
    if not is_ours or job.next_run_at is None or job.next_run_at > at:
        return
    span = (job.next_run_at - TICK, min(at, job.definition.policies.expires_at or at))
    record_gap(db, job, span=span, state=RunState.SKIPPED, reason=reason, at=at)


def enqueue(db: apsw.Connection, job: Job, run: Run, *, at: datetime) -> None:
    """Write down that the job's engine has to be handed this run."""
    options = job.definition.options.get("metadata", {})
    work = Dispatch(
        run_id=run.run_id,
        job_id=job.job_id,
        target=job.definition.target,
        scheduled_for=run.last_scheduled_for or run.scheduled_for,
        provider=job.definition.provider,
        params=job.definition.params,
        metadata={key: value for key, value in options.items() if key != "schedule_time"},
        reference=job.reference,
    )
    outbox.put(db, work, backend=job.backend, at=at)
