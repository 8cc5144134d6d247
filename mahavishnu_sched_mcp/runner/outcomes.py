"""How runs end: the attempt, the run, the job's counts, in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.backoff import delay_after
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.policy import OnInterrupt
from mahavishnu_sched_mcp.domain.run import Outcome, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, outbox, run_lists, runs, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import apsw

    from mahavishnu_sched_mcp.domain.job import Job

_FAILURES = {RunState.FAILED, RunState.TIMED_OUT}

_LONGEST_HAND_OVER = timedelta(seconds=30)

MOST_INTERRUPTIONS = 3
"""After the third interruption a run is dead: it may be what kills the server."""


def record(
    db: apsw.Connection,
    run_id: str,
    outcome: Outcome,
    *,
    at: datetime,
    is_idempotent: Callable[[Job], bool],
) -> Run:
    """Record how an attempt ended; a run that is final already stays as it is.

    An interrupted attempt gives its run back to wait for another one where the job reruns, a
    failed one where attempts are left. A run that someone asked to stop ends cancelled, whatever
    its attempt came to meanwhile.

    Args:
        is_idempotent: Whether the job's target may run twice; decides where the job does not.
    """
    run = runs.require(db, run_id)
    if run.state.is_final:
        return run
    job = jobs.of_run(db, run)
    if run.cancel_requested:
        reason = run.reason or "cancelled by request"
        outcome = Outcome(state=RunState.CANCELLED, reason=reason, output=outcome.output)
    runs.end_attempt(db, run_id, outcome=outcome.state, at=at)
    runs.close_nodes(db, run_id, state=outcome.state, at=at)
    verdict = _final(db, job, run, outcome, at=at, is_idempotent=is_idempotent)
    if verdict is not None:
        close(db, job, run_id, verdict, at=at)
    return runs.require(db, run_id)


def close(db: apsw.Connection, job: Job, run_id: str, outcome: Outcome, *, at: datetime) -> None:
    """Make a run final, count it, and complete its job where nothing is left to do."""
    runs.end(db, run_id, state=outcome.state, outcome=outcome, at=at)
    outbox.drop(db, run_id)
    jobs.count_outcome(db, job.serial, state=outcome.state, fires=1, run_id=run_id)
    jobs.complete_if_over(db, job.serial)


def cancel_waiting(db: apsw.Connection, run: Run, *, reason: str, at: datetime) -> None:
    """Cancel a run that has not started; one that is over meanwhile stays as it is."""
    if runs.require(db, run.run_id).state is not RunState.PENDING:
        return
    job = jobs.require(db, run.job_serial)
    state, output, error = RunState.CANCELLED, run.output, run.error  # of a retry's last attempt
    outcome = Outcome(state=state, reason=reason, output=output, error=error)
    close(db, job, run.run_id, outcome, at=at)


def going(db: apsw.Connection) -> list[str]:
    """Give the ids of all runs that go on, as far as the ledger knows."""
    return [run.run_id for run in run_lists.all_open(db, state=RunState.RUNNING)]


def recover(
    db: apsw.Connection,
    *,
    at: datetime,
    is_idempotent: Callable[[Job], bool],
    undead: Collection[str] = (),
) -> list[Run]:
    """Account for every run that was going when its server ended.

    Args:
        undead: Runs whose processes could not be ended: they do not run again by themselves.

    Returns:
        Those runs, as they are now: waiting to run again, held as interrupted, or dead.
    """
    lost = Outcome(
        state=RunState.INTERRUPTED, reason="the server ended while it ran", output=Output()
    )
    stuck = lost.model_copy(
        update={"reason": "the server ended while it ran, and its processes cannot be ended"}
    )
    return [
        record(
            db,
            run_id,
            stuck if run_id in undead else lost,
            at=at,
            is_idempotent=(lambda _: False) if run_id in undead else is_idempotent,
        )
        for run_id in going(db)
    ]


def drop_orphans(db: apsw.Connection, *, at: datetime) -> None:
    """Cancel what waits for a job that is cancelled: such a job starts nothing any more."""
    for run in run_lists.all_open(db, state=RunState.PENDING):
        if jobs.require(db, run.job_serial).state is JobState.CANCELLED:
            cancel_waiting(db, run, reason="the job was cancelled", at=at)


def cap_waits(db: apsw.Connection, *, at: datetime) -> None:
    """Let no wait last longer from now than it was meant to: the clock may have been set back."""
    for run in run_lists.all_open(db, state=RunState.PENDING):
        failures = _failures(run)
        if failures:
            first = jobs.require(db, run.job_serial).definition.policies.retry_backoff_seconds
            waiting.wake_by(db, run.run_id, at + _delay(run, failures, first=first))
    waiting.hand_over_by(db, at + _LONGEST_HAND_OVER)


def reruns(job: Job, *, is_idempotent: Callable[[Job], bool]) -> bool:
    """Whether an interrupted run of this job is run again by itself."""
    is_kept = job.definition.durable and job.state is not JobState.CANCELLED
    if not is_kept or job.backend is Backend.PREFECT:
        return False
    choice = job.definition.policies.on_interrupt
    return is_idempotent(job) if choice is None else choice is OnInterrupt.RERUN


def _final(
    db: apsw.Connection,
    job: Job,
    run: Run,
    outcome: Outcome,
    *,
    at: datetime,
    is_idempotent: Callable[[Job], bool],
) -> Outcome | None:
    """Give the run's final outcome; None where it waits for another attempt."""
    if outcome.state is RunState.INTERRUPTED:
        if not reruns(job, is_idempotent=is_idempotent):
            return outcome
        return _await_rerun(db, run, outcome)
    if outcome.state in _FAILURES:
        return _await_retry(db, job, run, outcome, at=at)
    return outcome


def _await_rerun(db: apsw.Connection, run: Run, outcome: Outcome) -> Outcome | None:
    count = runs.return_to_pending(db, run.run_id, reason="interrupted, to run again")
    if count >= MOST_INTERRUPTIONS:
        return Outcome(
            state=RunState.DEAD, reason=f"interrupted {count} times", output=outcome.output
        )
    outbox.drop(db, run.run_id)  # it is handed over again when it has its place
    return None


def _await_retry(
    db: apsw.Connection, job: Job, run: Run, outcome: Outcome, *, at: datetime
) -> Outcome | None:
    policies = job.definition.policies
    failures = _failures(run)
    if failures >= policies.max_attempts or job.state is JobState.CANCELLED:
        if policies.max_attempts == 1 or failures < policies.max_attempts:
            return outcome
        reason = f"{outcome.reason} (attempt {failures} of {policies.max_attempts})"
        return outcome.model_copy(update={"state": RunState.DEAD, "reason": reason})
    until = at + _delay(run, failures, first=policies.retry_backoff_seconds)
    runs.wait_for_retry(db, run.run_id, outcome, until=until)
    outbox.drop(db, run.run_id)  # it is handed over again when it has its place
    return None


def _failures(run: Run) -> int:
    """Count the attempts that ended by themselves, with the one that ends now."""
    return sum(attempt.outcome is not RunState.INTERRUPTED for attempt in run.attempts)


def _delay(run: Run, failures: int, *, first: float) -> timedelta:
    return delay_after(failures, first=timedelta(seconds=first), seed=run.run_id)
