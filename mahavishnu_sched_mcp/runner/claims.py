"""Fires that are due are taken: which start, which are skipped, which were missed.

Everything here happens in one transaction with the job's advance, so that no fire is ever
without a record or has two.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import apsw

from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.policy import MissedPolicy
from mahavishnu_sched_mcp.domain.run import Cause, RunState
from mahavishnu_sched_mcp.ledger import jobs
from mahavishnu_sched_mcp.runner.records import TICK, record_fire, record_gap
from mahavishnu_sched_mcp.runner.starting import (
    Rules,
    Taken,
    is_exclusive,
    let_in,
    line_up,
    release,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.backends.protocol import Fire

MOST_CATCH_UPS = 100
"""`run_all` makes up for so many missed fires of a gap, the newest ones."""

_MOST_LATE = 1000


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
        newest, fired = _take_late(db, job, first, until, rules)
    else:
        newest, fired = _take_gap(db, job, first, until, rules)
    release(db, rules, taken, job_serial=job.serial)
    _finish_schedule(db, job, newest, fired=fired, taken=taken)


def _take_late(
    db: apsw.Connection, job: Job, first: datetime, until: datetime, rules: Rules
) -> tuple[datetime, int]:
    """Handle fires inside the grace: in their order, as due at one instant."""
    assert job.trigger is not None  # noqa: S101 - see _take_job
    due = [first, *job.trigger.fires(first, count=_left(job, _MOST_LATE) - 1, until=until)]
    if is_exclusive(job):
        for instant in due[:-1]:
            record_fire(db, job, instant, state=RunState.SKIPPED, reason="overlap", at=rules.now)
        let_in(db, job, due[-1], rules)
    else:
        for instant in due:
            let_in(db, job, instant, rules)
    return due[-1], len(due)


def _take_gap(
    db: apsw.Connection, job: Job, first: datetime, until: datetime, rules: Rules
) -> tuple[datetime, int]:
    """Handle a gap by the job's missed_policy, without walking through it."""
    assert job.trigger is not None  # noqa: S101 - see _take_job
    policies, before = job.definition.policies, first - TICK
    gap, left = job.trigger.gap(before, until), _left(job, sys.maxsize)
    if gap.count > left:  # the job ends inside the gap
        until = job.trigger.instant_of(before, until, number=left)
        gap = job.trigger.gap(before, until)
    last = gap.last or first
    horizon = rules.now - timedelta(seconds=policies.catchup_window_seconds)
    edge = min(max(horizon - TICK, before), until)  # a fire just at the window's edge is inside

    def missed(after: datetime, to: datetime, reason: str) -> None:
        state = RunState.MISSED
        record_gap(db, job, span=(after, to), state=state, reason=reason, at=rules.now)

    missed(before, edge, "catchup_window")
    if policies.missed_policy is MissedPolicy.RUN_ONCE and last > edge:
        missed(edge, last - TICK, "policy")
        let_in(db, job, last, rules, cause=Cause.CATCH_UP)
    elif policies.missed_policy is MissedPolicy.RUN_ALL and last > edge:
        made_up = job.trigger.newest(edge, until, count=MOST_CATCH_UPS)
        missed(edge, made_up[0] - TICK, "catchup_limit")
        for instant in made_up:
            line_up(db, job, instant, rules)
    else:
        missed(edge, until, "policy")
    return last, gap.count


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
