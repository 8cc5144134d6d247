"""Runs get their places: which fires are let in, and which waiting runs start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job
from mahavishnu_sched_mcp.domain.policy import OverlapPolicy
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, outbox, run_lists, runs, waiting
from mahavishnu_sched_mcp.runner import outcomes
from mahavishnu_sched_mcp.runner.overlap import Bounds, Verdict, judge
from mahavishnu_sched_mcp.runner.records import enqueue, record_fire

if TYPE_CHECKING:
    import apsw

    from mahavishnu_sched_mcp.ledger.waiting import Waiting

MOST_AT_ONCE = 200
"""So many waiting runs are looked at in one transaction; the rest follows in the next."""

OVERTAKEN = "cancelled by the next fire (overlap_policy cancel_previous)"
_FREE = "waiting for a free slot"
_QUEUED = "waiting for the job's runs before it"


@dataclass(frozen=True)
class Rules:
    """What the runner claims by.

    Attributes:
        grace: Up to this late a fire counts as on time.
        slots: How many runs may start now in this process.
        bounds: How many runs of one job may go on and wait.
    """

    now: datetime
    grace: timedelta
    term: int
    worker: str
    slots: int
    bounds: Bounds


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


def is_exclusive(job: Job) -> bool:
    """Whether of fires due at one instant only the last is let in."""
    return job.definition.policies.overlap_policy is OverlapPolicy.SKIP


def let_in(
    db: apsw.Connection, job: Job, due: datetime, rules: Rules, *, cause: Cause = Cause.SCHEDULE
) -> None:
    """Record a fire as the job's overlap policy has it; one that may start waits for `release`."""
    unfinished = run_lists.open_of(db, job.serial)
    policy = job.definition.policies.overlap_policy
    state, reason = RunState.PENDING, _QUEUED if unfinished else _FREE
    match judge(policy, unfinished, bounds=rules.bounds):
        case Verdict.SKIP:
            state, reason = RunState.SKIPPED, "overlap"
        case Verdict.DROP:
            state, reason = RunState.MISSED, "queue_full"
        case Verdict.REPLACE:
            for run in unfinished:
                runs.request_cancel(db, run.run_id, reason=OVERTAKEN)
                outcomes.cancel_waiting(db, run, reason=OVERTAKEN, at=rules.now)
    record_fire(db, job, due, state=state, reason=reason, at=rules.now, cause=cause)


def line_up(db: apsw.Connection, job: Job, due: datetime, rules: Rules) -> None:
    """Record a missed fire that is made up for in its turn: it waits for what goes on."""
    state, cause = RunState.PENDING, Cause.CATCH_UP
    record_fire(db, job, due, state=state, reason=_QUEUED, at=rules.now, cause=cause)


def release(
    db: apsw.Connection, rules: Rules, taken: Taken, *, job_serial: int | None = None
) -> None:
    """Start the waiting runs whose time has come, as far as there are places and slots.

    A run of this process is claimed, one that goes through a queue is written into the outbox.

    Args:
        job_serial: Only those of one job.
    """
    given: Counter[int] = Counter()  # to runs that had none: `busy` knows the others
    regained: Counter[int] = Counter()
    catching_up: set[int] = set()
    for found in _startable(db, rules, limit=MOST_AT_ONCE, job_serial=job_serial):
        taken_now = given[found.job_serial] + found.has_begun * regained[found.job_serial]
        if found.busy + taken_now >= found.places:
            continue
        if found.cause is Cause.CATCH_UP and found.job_serial in catching_up:
            continue
        if not _start(db, found, rules, taken):
            continue
        (regained if found.has_begun else given)[found.job_serial] += 1
        if found.cause is Cause.CATCH_UP:
            catching_up.add(found.job_serial)


def begin_queued(
    db: apsw.Connection, run_id: str, *, at: datetime, worker: str, term: int
) -> Run | None:
    """Claim an attempt of a run whose message came back from its queue; None: do not run it.

    Of a paused job the run gives its place back and is handed over again after the pause.
    """
    run = runs.get(db, run_id)
    if run is None or not outbox.has(db, run_id):  # a message from before it lost its place
        return None
    if waiting.is_held(db, run_id):
        outbox.drop(db, run_id)
        return None
    return runs.begin_attempt(db, run_id, at=at, worker=worker, term=term)


def has_startable(db: apsw.Connection, rules: Rules) -> bool:
    """Whether `release` would start anything."""
    return bool(_startable(db, rules, limit=1))


def _startable(
    db: apsw.Connection, rules: Rules, *, limit: int, job_serial: int | None = None
) -> list[Waiting]:
    return waiting.startable(
        db,
        now=rules.now,
        together=rules.bounds.together,
        has_slots=rules.slots > 0,
        limit=limit,
        job_serial=job_serial,
    )


def _start(db: apsw.Connection, found: Waiting, rules: Rules, taken: Taken) -> bool:
    if found.backend is not Backend.APSCHEDULER:
        run = runs.require(db, found.run_id)
        enqueue(db, jobs.of_run(db, run), run, at=rules.now)
        return True
    if len(taken.started) >= rules.slots:
        return False
    claimed = runs.begin_attempt(
        db, found.run_id, at=rules.now, worker=rules.worker, term=rules.term
    )
    if claimed is None:
        return False
    taken.started.append((jobs.of_run(db, claimed), claimed))
    return True
