"""Ledgers with a past: jobs and runs as they were written, and the sweeps over them."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import apsw

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import Cause, Outcome, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, keys, runs
from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.retention import RetentionRules
from mahavishnu_sched_mcp.ledger.sweeps import SWEEPS

NOW = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
_numbers = itertools.count(1)


def a_job(
    db: apsw.Connection,
    name: str = "a",
    *,
    backend: Backend = Backend.APSCHEDULER,
    age: timedelta = 100 * DAY,
) -> Job:
    """Write a job that was made so long ago."""
    kind = JobKind.DEPLOYMENT if backend is Backend.PREFECT else JobKind.TASK
    definition = JobDefinition(backend=backend, kind=kind, target="greet", trigger_requested=None)
    job = Job(
        serial=0,
        job_id=f"{backend}:{name}",
        definition=definition,
        name=name,
        state=JobState.ACTIVE,
        created_at=NOW - age,
        created_by="test",
    )
    return jobs.insert(db, job, fingerprint="-")


def a_run(
    db: apsw.Connection,
    job: Job,
    state: RunState = RunState.SUCCEEDED,
    *,
    age: timedelta,
    cause: Cause = Cause.SCHEDULE,
    fires: int = 1,
    replay_of: str | None = None,
) -> str:
    """Write a run that was due and ended so long ago, as the runner would; give its id."""
    at, number = NOW - age, next(_numbers)
    run = Run(
        run_id=f"run-{number}",
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=at - number * timedelta(microseconds=1),  # no two fires at one instant
        cause=Cause.REPLAY if replay_of else cause,
        state=RunState.PENDING,
        fires=fires,
        replay_of=replay_of,
    )
    assert runs.insert(db, run, at=at)
    if state is not RunState.PENDING and state not in {RunState.SKIPPED, RunState.MISSED}:
        runs.begin_attempt(db, run.run_id, at=at, worker="test", term=1)
    if state.is_final:
        runs.end_attempt(db, run.run_id, outcome=state, at=at)
        runs.end(db, run.run_id, state=state, outcome=Outcome(state=state, output=Output()), at=at)
        jobs.count_outcome(db, job.serial, state=state, fires=fires, run_id=run.run_id)
    return run.run_id


def a_key(
    db: apsw.Connection, key: str, *, job: Job, run_id: str | None = None, age: timedelta
) -> None:
    """Bind an idempotency key that was used so long ago."""
    call = keys.Call("local", "run_job_now", key, {})
    keys.remember(db, call, keys.Made(job.serial, run_id), at=NOW - age)


def is_over(
    db: apsw.Connection, job: Job, *, since: timedelta, state: JobState = JobState.CANCELLED
) -> None:
    """End a job, which retention saw so long ago."""
    jobs.set_state(db, job.serial, state)
    db.execute(
        "update job set over_since = ?, applied_revision = revision where serial = ?",
        (to_micros(NOW - since), job.serial),
    )


def sweep(
    db: apsw.Connection,
    *,
    now: datetime = NOW,
    runs_days: float = 30,
    runs_per_job: int = 1000,
    most: int = 200,
) -> Counter[str]:
    """Carry out all sweeps to their end, and count what they removed."""
    rules = RetentionRules(now=now, runs_days=runs_days, runs_per_job=runs_per_job, most=most)
    removed: Counter[str] = Counter()
    for take_step, start in SWEEPS:
        step = take_step(db, rules, start)
        removed += step.removed
        while step.after is not None:
            step = take_step(db, rules, step.after)
            removed += step.removed
    return removed


def left(db: apsw.Connection) -> list[str]:
    """Give the ids of the runs that are there, the oldest first."""
    return [row["run_id"] for row in query(db, "select run_id from run order by seq")]


def size(db: apsw.Connection, table: str) -> int:
    """Count the rows of a table."""
    return int(scalar(db, f"select count(*) from {table}"))  # noqa: S608 - the tests' own words


def job_rows(db: apsw.Connection) -> dict[int, dict[str, Any]]:
    """Give the jobs that are there by their serial."""
    return {row["serial"]: row for row in query(db, "select * from job")}
