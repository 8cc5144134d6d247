"""Fires become records: one per fire, one for a whole gap, never a second."""

from __future__ import annotations

import hashlib
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.dispatch import Dispatch
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, outbox, runs
from mahavishnu_sched_mcp.ledger.instant import from_micros, to_micros

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
    """Write one record for all fires of a job in (after, until]; gives for how many.

    Where the first of them has its record already, that stays, and the gap begins after it.
    """
    assert job.trigger is not None  # noqa: S101 - only jobs with a trigger have fires
    after, until = span
    gap = job.trigger.gap(after, until)
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
    # Its record is of an older trigger, before the clock was set back, or gone by retention.
    if not runs.insert(db, run, at=at):
        rest = (runs.accounted_until(db, job.serial, gap.first), until)
        return record_gap(db, job, span=rest, state=state, reason=reason, at=at)
    jobs.count_outcome(db, job.serial, state=state, fires=gap.count, run_id=run.run_id)
    return gap.count


def settle(db: apsw.Connection, job: Job, *, reason: str, at: datetime) -> Job:
    """Record the fires up to now of a job that changes, so that none goes unnoticed.

    Of a paused job they are those of the pause, which do not count for `max_runs`; of another
    one those that are due and not taken.

    Args:
        reason: Why the due ones are skipped.

    Returns:
        The job as it is then.
    """
    if job.trigger is None:
        return job
    if job.state is JobState.PAUSED:
        _record_pause(db, job, at=at)
    elif job.backend is not Backend.PREFECT and job.next_run_at is not None:
        until = min(at, job.definition.policies.expires_at or at)
        span = _allowed(job, after=job.next_run_at - TICK, until=until)
        count = record_gap(db, job, span=span, state=RunState.SKIPPED, reason=reason, at=at)
        jobs.advance(db, job.serial, next_run_at=job.next_run_at, fired=count)
    return jobs.require(db, job.serial)


def next_fire(job: Job, *, after: datetime) -> datetime | None:
    """Give the fire with which a changed job goes on; None where it has no more."""
    if job.trigger is None or fires_left(job) == 0:
        return None
    end, fire = job.definition.policies.expires_at, job.trigger.next_after(after)
    return None if fire is None or (end is not None and fire > end) else fire


def fires_left(job: Job) -> int:
    """Say how many fires `max_runs` leaves a job; without it, more than there can be."""
    limit = job.definition.policies.max_runs
    return sys.maxsize if limit is None else max(0, limit - job.fired)


def _record_pause(db: apsw.Connection, job: Job, *, at: datetime) -> None:
    since = from_micros(jobs.paused_at(db, job.serial))
    if since is None or fires_left(job) == 0:
        return
    span = (since, min(at, job.definition.policies.expires_at or at))
    record_gap(db, job, span=span, state=RunState.SKIPPED, reason="paused", at=at)
    jobs.set_paused_at(db, job.serial, max(since, at))


def _allowed(job: Job, *, after: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Shorten a span to the fires that `max_runs` leaves."""
    assert job.trigger is not None  # noqa: S101 - the caller has looked
    left = fires_left(job)
    if left == 0:
        return after, after
    if job.trigger.gap(after, until).count > left:
        until = job.trigger.instant_of(after, until, number=left)
    return after, until


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
