"""The claim itself, on a ledger by hand: what the alarm clock cannot bring about."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mahavishnu_sched_mcp.backends.protocol import Fire
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import Cause, Outcome, Run, RunState
from mahavishnu_sched_mcp.ledger import jobs, run_lists, runs
from mahavishnu_sched_mcp.ledger.database import connect, query
from mahavishnu_sched_mcp.ledger.schema import migrate
from mahavishnu_sched_mcp.runner import claims, outcomes
from mahavishnu_sched_mcp.runner.overlap import Bounds
from mahavishnu_sched_mcp.runner.records import fire_run_id, record_gap
from mahavishnu_sched_mcp.runner.starting import Rules, Taken, release
from tests.factories import MINUTE, TWO_O_CLOCK, an_interval

GRACE = timedelta(seconds=60)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Open an empty ledger."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)
    yield connection
    connection.close()


def a_job(
    db: apsw.Connection,
    name: str = "a",
    *,
    seconds: float = 60,
    state: JobState = JobState.ACTIVE,
    **changes: object,
) -> Job:
    """Write a job that is due each minute, the first time a minute after two."""
    request = an_interval(seconds)
    trigger = request.resolve(
        now=TWO_O_CLOCK, default_timezone="UTC", min_interval=timedelta(seconds=1)
    )
    job = Job(
        serial=0,
        job_id=f"apscheduler:{name}",
        definition=JobDefinition(
            backend=Backend.APSCHEDULER,
            kind=JobKind.TASK,
            target="greet",
            trigger_requested=request.as_requested(),
            policies=Policies.model_validate(changes),
        ),
        name=name,
        state=state,
        trigger=trigger,
        next_run_at=trigger.next_after(TWO_O_CLOCK),
        created_at=TWO_O_CLOCK,
        created_by="test",
    )
    return jobs.insert(db, job, fingerprint="f")


def rules(now: datetime, *, slots: int = 9) -> Rules:
    """Claim at an instant."""
    return Rules(
        now=now,
        grace=GRACE,
        term=1,
        worker="w",
        slots=slots,
        bounds=Bounds(together=5, queued=100),
    )


def fire(job: Job) -> Fire:
    """Say that a job is due."""
    return Fire(serial=job.serial, revision=1, scheduled_for=TWO_O_CLOCK, next_run_at=None)


def runs_in(db: apsw.Connection) -> list[Run]:
    """Give all runs, the oldest fire first."""
    rows = query(db, "select run_id from run order by scheduled_for")
    return [runs.require(db, row["run_id"]) for row in rows]


def succeed(db: apsw.Connection, run: Run, *, at: datetime) -> None:
    """End a run well."""
    outcome = Outcome(state=RunState.SUCCEEDED)
    outcomes.record(db, run.run_id, outcome, at=at, is_idempotent=lambda _: False)


@pytest.mark.parametrize(
    "state", [JobState.PAUSED, JobState.CANCELLED, JobState.PENDING, JobState.QUARANTINED]
)
def test_only_an_active_job_is_claimed(state: JobState, db: apsw.Connection) -> None:
    """An alarm that rang for another state finds nothing to do."""
    job = a_job(db, state=state)

    taken = claims.take_due(db, [fire(job)], rules(TWO_O_CLOCK + MINUTE))

    assert (taken.started, taken.to_arm, runs_in(db)) == ([], [], [])


def test_an_alarm_for_an_unknown_job_is_nothing(db: apsw.Connection) -> None:
    """It may come from before a restore."""
    job = a_job(db).model_copy(update={"serial": 99})

    assert claims.take_due(db, [fire(job)], rules(TWO_O_CLOCK)).started == []


def test_an_alarm_that_is_early_arms_the_job_again(db: apsw.Connection) -> None:
    """The ledger knows the time, the alarm clock was told of another."""
    job = a_job(db)

    taken = claims.take_due(db, [fire(job)], rules(TWO_O_CLOCK))

    assert (taken.started, taken.to_arm) == ([], [job])


def test_a_job_whose_end_came_before_its_fire_completes(db: apsw.Connection) -> None:
    """No record is made of a fire after expires_at."""
    job = a_job(db, expires_at=TWO_O_CLOCK + MINUTE / 2)

    claims.take_due(db, [fire(job)], rules(TWO_O_CLOCK + 9 * MINUTE))

    assert jobs.require(db, job.serial).state is JobState.COMPLETED
    assert runs_in(db) == []


def test_a_fire_that_has_its_record_starts_nothing(db: apsw.Connection) -> None:
    """The job still moves on to the next."""
    job = a_job(db)
    now = TWO_O_CLOCK + MINUTE
    claims.take_due(db, [fire(job)], rules(now))
    (run,) = runs_in(db)
    succeed(db, run, at=now)
    jobs.advance(db, job.serial, next_run_at=now, fired=0)

    taken = claims.take_due(db, [fire(job)], rules(now))

    assert taken.started == []
    assert jobs.require(db, job.serial).next_run_at == now + MINUTE
    assert jobs.require(db, job.serial).counts.succeeded == 1
    assert len(runs_in(db)) == 1


def test_a_gap_that_has_its_record_is_not_counted_again(db: apsw.Connection) -> None:
    """Its first instant is taken."""
    job = a_job(db)
    span = (TWO_O_CLOCK, TWO_O_CLOCK + 3 * MINUTE)
    for _ in range(2):
        record_gap(db, job, span=span, state=RunState.MISSED, reason="policy", at=span[1])

    assert jobs.require(db, job.serial).counts.missed == 3


def test_a_run_someone_asked_to_stop_takes_no_slot(db: apsw.Connection) -> None:
    """The next one in line starts instead."""
    now = TWO_O_CLOCK + MINUTE
    for name in ("a", "b"):
        claims.take_due(db, [fire(a_job(db, name))], rules(now, slots=0))
    first, second = run_lists.all_open(db)
    runs.request_cancel(db, first.run_id, reason="asked")
    taken = Taken()

    release(db, rules(now, slots=1), taken)

    assert [run.run_id for _, run in taken.started] == [second.run_id]


def test_the_same_fire_has_the_same_id_whoever_makes_it(db: apsw.Connection) -> None:
    """Another generation has others."""
    job = a_job(db)
    later = job.model_copy(update={"generation": 2})

    assert fire_run_id(job, TWO_O_CLOCK) == fire_run_id(job, TWO_O_CLOCK)
    assert fire_run_id(job, TWO_O_CLOCK) != fire_run_id(later, TWO_O_CLOCK)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seconds=st.sampled_from([7, 20, 60, 61, 600]),
    policy=st.sampled_from(["run_once", "skip"]),
    window=st.integers(min_value=10, max_value=4000),
    steps=st.lists(st.integers(min_value=1, max_value=3000), min_size=1, max_size=6),
    slow=st.booleans(),
)
def test_every_fire_is_accounted_for_exactly_once(
    seconds: int, policy: str, window: int, steps: list[int], *, slow: bool, db: apsw.Connection
) -> None:
    """Whatever was slept through: records add up to the trigger's own fires."""
    db.execute("delete from attempt; delete from run; delete from job")
    job = a_job(db, seconds=seconds, missed_policy=policy, catchup_window_seconds=window)
    assert job.trigger is not None
    now = TWO_O_CLOCK
    for step in steps:
        now += timedelta(seconds=step)
        for _ in range(50):
            taken = claims.take_due(db, [fire(job)], rules(now))
            for _, run in taken.started if not slow else []:
                succeed(db, run, at=now)
            following = jobs.require(db, job.serial).next_run_at
            if following is None or following > now:
                break
    counted = job.trigger.gap(TWO_O_CLOCK, now)

    found = runs_in(db)
    assert sum(run.fires for run in found) == counted.count == jobs.require(db, job.serial).fired
    ends = [(run.scheduled_for, run.last_scheduled_for or run.scheduled_for) for run in found]
    assert all(ended < begun for (_, ended), (begun, _) in itertools.pairwise(ends))
    assert all(
        job.trigger.next_after(instant - timedelta(microseconds=1)) == instant
        for span in ends
        for instant in span
    )


@pytest.mark.parametrize("cause", [Cause.SCHEDULE, Cause.MANUAL])
def test_a_second_run_of_a_job_waits_for_the_first(cause: Cause, db: apsw.Connection) -> None:
    """Whatever made it."""
    job = a_job(db)
    claims.take_due(db, [fire(job)], rules(TWO_O_CLOCK + MINUTE))
    second = runs_in(db)[0].model_copy(
        update={
            "run_id": "run-2",
            "cause": cause,
            "state": RunState.PENDING,
            "scheduled_for": TWO_O_CLOCK + 2 * MINUTE,
        }
    )
    runs.insert(db, second, at=TWO_O_CLOCK)
    taken = Taken()

    release(db, rules(TWO_O_CLOCK + 2 * MINUTE), taken)

    assert taken.started == []
