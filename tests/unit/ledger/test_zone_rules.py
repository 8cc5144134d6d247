"""Fires that were computed under old rules of a time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.domain.trigger import CronTrigger, Trigger, TriggerRequest
from mahavishnu_sched_mcp.ledger import jobs, runs
from mahavishnu_sched_mcp.ledger.database import connect
from mahavishnu_sched_mcp.ledger.schema import migrate
from mahavishnu_sched_mcp.ledger.zone_rules import follow_zone_rules
from tests.factories import TWO_O_CLOCK, a_cron, an_interval

HOUR = timedelta(hours=1)
NOON = TWO_O_CLOCK + 10 * HOUR
BY_OLD_RULES = NOON + HOUR


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Open an empty ledger."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)
    yield connection
    connection.close()


def a_noon_job(
    db: apsw.Connection, *, armed: datetime = BY_OLD_RULES, trigger: Trigger | None = None
) -> Job:
    """Write a job that fires at noon, armed by rules under which noon was at another time."""
    request: TriggerRequest = a_cron("0 12 * * *")
    definition = JobDefinition(
        backend=Backend.APSCHEDULER,
        kind=JobKind.TASK,
        target="greet",
        trigger_requested=request.as_requested(),
    )
    job = Job(
        serial=0,
        job_id="apscheduler:noon",
        definition=definition,
        name="noon",
        state=JobState.ACTIVE,
        trigger=trigger or CronTrigger(expression="0 12 * * *"),
        next_run_at=armed,
        created_at=TWO_O_CLOCK,
        created_by="test",
    )
    return jobs.insert(db, job, fingerprint="noon")


def next_fire(db: apsw.Connection, job: Job) -> datetime | None:
    """Read when a job fires next."""
    return jobs.require(db, job.serial).next_run_at


def test_a_fire_to_come_follows_the_rules_of_today(db: apsw.Connection) -> None:
    """After a change of rules the next fire is computed again."""
    job = a_noon_job(db)

    moved = follow_zone_rules(db, now=TWO_O_CLOCK)

    assert (moved, next_fire(db, job)) == (1, NOON)


def test_a_due_fire_stays(db: apsw.Connection) -> None:
    """A fire that came due under the old rules is handled as it was announced."""
    job = a_noon_job(db)

    moved = follow_zone_rules(db, now=BY_OLD_RULES)

    assert (moved, next_fire(db, job)) == (0, BY_OLD_RULES)


def test_a_recorded_fire_is_not_asked_for_again(db: apsw.Connection) -> None:
    """Where a record is ahead of the clock, the next fire is later than that record."""
    job = a_noon_job(db)
    run = Run(
        run_id="run-noon",
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=NOON - HOUR,
        last_scheduled_for=NOON,
        fires=2,
        cause=Cause.SCHEDULE,
        state=RunState.MISSED,
        finished_at=NOON,
    )
    runs.insert(db, run, at=NOON)

    follow_zone_rules(db, now=TWO_O_CLOCK)

    assert next_fire(db, job) == NOON + 24 * HOUR


@pytest.mark.parametrize("armed", [NOON, NOON + 24 * HOUR])
def test_unchanged_rules_move_nothing(db: apsw.Connection, armed: datetime) -> None:
    """Without a change of rules the ledger is left alone."""
    job = a_noon_job(db, armed=armed)

    moved = follow_zone_rules(db, now=armed - HOUR)

    assert (moved, next_fire(db, job)) == (0, armed)


def test_an_interval_knows_no_zone(db: apsw.Connection) -> None:
    """A period is counted from its start, whatever the clocks of a zone show."""
    trigger = an_interval(60).resolve(
        now=TWO_O_CLOCK, default_timezone="UTC", min_interval=timedelta(seconds=1)
    )
    job = a_noon_job(db, trigger=trigger)

    assert follow_zone_rules(db, now=TWO_O_CLOCK) == 0
    assert next_fire(db, job) == BY_OLD_RULES
