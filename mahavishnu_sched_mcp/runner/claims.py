"""Fires become runs: which ones start, which are skipped, which were missed.

Everything here happens in one transaction with the job's advance, so that no fire is ever
without a record or has two.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import apsw

from mahavishnu_sched_mcp.domain.dispatch import Dispatch
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.policy import MissedPolicy
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, outbox, runs
from mahavishnu_sched_mcp.ledger.instant import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.backends.protocol import Fire

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Rules:
    """What the runner claims by.

    Attributes:
        grace: Up to this late a fire counts as on time.
        slots: How many runs may start now in this process.
    """

    now: datetime
    grace: timedelta
    term: int
    worker: str
    slots: int


@dataclass
class Taken:
    """What became of a pass of fires.

    Attributes:
        broken: Jobs that were put in quarantine: their fires could not be computed.
        started: Claimed for this process, committed when the transaction is.
        to_arm: Jobs whose next fire the alarm clock has to hear of again.
    """

    started: list[tuple[Job, Run]] = field(default_factory=list)
    broken: list[tuple[Job, Exception]] = field(default_factory=list)
    to_arm: list[Job] = field(default_factory=list)


def fire_run_id(job: Job, scheduled_for: datetime) -> str:
    """Give the id of a fire's run: the same fire has the same id, whoever makes it."""
    # The creation instant keeps equal jobs of two data dirs apart: runs are ended by their id.
    birth = f"{job.job_id}|{job.generation}|{to_micros(job.created_at)}"
    text = f"{birth}|{to_micros(scheduled_for)}"
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def take_due(db: apsw.Connection, fires: Sequence[Fire], rules: Rules) -> Taken:
    """Record every due fire of these jobs and claim what may start."""
    taken = Taken()
    for fire in fires:
        job = jobs.get(db, fire.serial)
        if job is None or job.state is not JobState.ACTIVE or job.next_run_at is None:
            continue
        if job.next_run_at > rules.now:
            taken.to_arm.append(job)
            continue
        _take_apart(db, job, rules, taken)
    return taken


def begin(db: apsw.Connection, job: Job, run: Run, rules: Rules, taken: Taken) -> None:
    """Start a pending run where there is room and its job's previous run is over."""
    if len(taken.started) >= rules.slots:
        return
    if any(other.state is RunState.RUNNING for other in runs.open_of(db, job.serial)):
        return
    claimed = runs.begin_attempt(db, run.run_id, at=rules.now, worker=rules.worker, term=rules.term)
    if claimed is not None:
        taken.started.append((job, claimed))


def begin_waiting(db: apsw.Connection, waiting: Sequence[Run], rules: Rules, taken: Taken) -> None:
    """Start those pending runs for which there is room, in their order."""
    for run in waiting:
        begin(db, jobs.require(db, run.job_serial), run, rules, taken)


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
    span = (job.next_run_at - _TICK, min(at, job.definition.policies.expires_at or at))
    record_gap(db, job, span=span, state=RunState.SKIPPED, reason=reason, at=at)


def _take_apart(db: apsw.Connection, job: Job, rules: Rules, taken: Taken) -> None:
    """Take the fires of one job so that its defect cannot keep the others from firing."""
    before = len(taken.started), len(taken.to_arm)
    db.execute("savepoint job")
    try:
        _take_job(db, job, rules, taken)
    except apsw.Error:
        raise  # the ledger's trouble is nobody's fault: the fires are taken again
    except Exception as error:  # noqa: BLE001 - the runner's guard: one job's defect stays its own
        db.execute("rollback to job")
        del taken.started[before[0] :], taken.to_arm[before[1] :]
        taken.broken.append((job, error))
        note = f"its fires could not be computed ({type(error).__name__}): cancel it, make it anew"
        jobs.set_state(db, job.serial, JobState.QUARANTINED, note=note)
    db.execute("release job")


def _take_job(db: apsw.Connection, job: Job, rules: Rules, taken: Taken) -> None:
    assert job.trigger is not None  # noqa: S101 - a job with a next fire has a trigger
    assert job.next_run_at is not None  # noqa: S101 - the caller has looked
    first = job.next_run_at
    until = min(rules.now, job.definition.policies.expires_at or rules.now)
    if first > until:
        _finish_schedule(db, job, first, fired=0, taken=taken)
        return
    if rules.now - first <= rules.grace:
        newest, fired = _take_late(db, job, first, until, rules, taken)
    else:
        newest, fired = _take_gap(db, job, first, until, rules, taken)
    _finish_schedule(db, job, newest, fired=fired, taken=taken)


def _take_late(
    db: apsw.Connection, job: Job, first: datetime, until: datetime, rules: Rules, taken: Taken
) -> tuple[datetime, int]:
    """Handle fires inside the grace: as due at one instant, so the newest one runs."""
    assert job.trigger is not None  # noqa: S101 - see _take_job
    due = [first, *job.trigger.fires(first, count=_left(job, 1000) - 1, until=until)]
    for instant in due[:-1]:
        _record(db, job, instant, RunState.SKIPPED, "overlap", at=rules.now)
    _start(db, job, due[-1], Cause.SCHEDULE, rules, taken)
    return due[-1], len(due)


def _take_gap(
    db: apsw.Connection, job: Job, first: datetime, until: datetime, rules: Rules, taken: Taken
) -> tuple[datetime, int]:
    """Handle a gap by the job's missed_policy, without walking through it."""
    assert job.trigger is not None  # noqa: S101 - see _take_job
    policies, before = job.definition.policies, first - _TICK
    gap = job.trigger.gap(before, until)
    last = gap.last or first
    horizon = rules.now - timedelta(seconds=policies.catchup_window_seconds)
    edge = min(max(horizon, before), until)
    record = {"state": RunState.MISSED, "at": rules.now}
    record_gap(db, job, span=(before, edge), reason="catchup_window", **record)  # type: ignore[arg-type]  # two fixed keys
    if last > edge and policies.missed_policy is MissedPolicy.RUN_ONCE:
        record_gap(db, job, span=(edge, last - _TICK), reason="policy", **record)  # type: ignore[arg-type]  # two fixed keys
        _start(db, job, last, Cause.CATCH_UP, rules, taken)
    else:
        record_gap(db, job, span=(edge, until), reason="policy", **record)  # type: ignore[arg-type]  # two fixed keys
    return last, gap.count


def _start(
    db: apsw.Connection, job: Job, at: datetime, cause: Cause, rules: Rules, taken: Taken
) -> None:
    if runs.has_open(db, job.serial):
        _record(db, job, at, RunState.SKIPPED, "overlap", at=rules.now, cause=cause)
        return
    run = _record(
        db, job, at, RunState.PENDING, "waiting for a free slot", at=rules.now, cause=cause
    )
    if run is None:
        return
    if job.backend is Backend.APSCHEDULER:
        begin(db, job, run, rules, taken)
    else:
        enqueue(db, job, run, at=rules.now)


def _record(
    db: apsw.Connection,
    job: Job,
    scheduled_for: datetime,
    state: RunState,
    reason: str,
    *,
    at: datetime,
    cause: Cause = Cause.SCHEDULE,
) -> Run | None:
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


def _finish_schedule(
    db: apsw.Connection, job: Job, newest: datetime, *, fired: int, taken: Taken
) -> None:
    """Advance the job to its next fire, or complete it where that was the last one."""
    assert job.trigger is not None  # noqa: S101 - see _take_job
    following = job.trigger.next_after(newest)
    policies = job.definition.policies
    is_over = (policies.max_runs is not None and job.fired + fired >= policies.max_runs) or (
        policies.expires_at is not None and (following is None or following > policies.expires_at)
    )
    jobs.advance(db, job.serial, next_run_at=None if is_over else following, fired=fired)
    jobs.complete_if_over(db, job.serial)
    taken.to_arm.append(jobs.require(db, job.serial))


def _left(job: Job, most: int) -> int:
    limit = job.definition.policies.max_runs
    return most if limit is None else max(1, min(most, limit - job.fired))
