"""What the ledger forgets, and what it never does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Cause, RunState
from mahavishnu_sched_mcp.ledger import job_lists, jobs, keys, outbox, reports, runs
from mahavishnu_sched_mcp.ledger.database import connect, query
from mahavishnu_sched_mcp.ledger.schema import migrate

from .past import DAY, NOW, a_job, a_key, a_run, is_over, job_rows, left, size, sweep

HOUR = timedelta(hours=1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Open a ledger of its own for each test."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)
    yield connection
    connection.close()


def test_a_run_leaves_when_it_is_older_than_runs_days(db: apsw.Connection) -> None:
    """Its attempts and nodes leave with it; the age counts from its end."""
    job = a_job(db)
    old, young, last = (a_run(db, job, age=age * DAY) for age in (31, 29, 1))

    removed = sweep(db, runs_days=30)

    assert left(db) == [young, last]
    assert (removed["runs"], removed["attempts"]) == (1, 1)
    assert size(db, "attempt") == 2
    assert runs.get(db, old) is None


def test_runs_beyond_the_newest_of_their_job_id_leave(db: apsw.Connection) -> None:
    """An id that was used again counts as one."""
    first = a_job(db)
    old = [a_run(db, first, age=9 * DAY) for _ in range(3)]
    is_over(db, first, since=8 * DAY)
    second = a_job(db)
    new = [a_run(db, second, age=DAY) for _ in range(3)]

    sweep(db, runs_per_job=2)

    assert second.generation == 2
    assert left(db) == [old[-1], *new[-2:]]  # the last run of a generation stays with it


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.RUNNING])
def test_an_unfinished_run_never_leaves(state: RunState, db: apsw.Connection) -> None:
    """Neither by age nor by count."""
    job = a_job(db)
    open_run = a_run(db, job, state, age=400 * DAY)
    newer = [a_run(db, job, age=DAY) for _ in range(5)]

    sweep(db, runs_days=1, runs_per_job=1)

    assert left(db) == [open_run, newer[-1]]


def test_what_an_unfinished_run_replays_stays(db: apsw.Connection) -> None:
    """Until the replay is over, its origin can be looked at."""
    job = a_job(db)
    origin = a_run(db, job, RunState.FAILED, age=40 * DAY)
    replay = a_run(db, job, RunState.PENDING, age=HOUR, replay_of=origin)
    last = a_run(db, job, age=HOUR)

    sweep(db, runs_days=1, runs_per_job=1)

    assert left(db) == [origin, replay, last]


def test_a_jobs_last_run_stays_with_its_job(db: apsw.Connection) -> None:
    """A job that ran a year ago still shows how that ended."""
    job = a_job(db)
    last = a_run(db, job, age=365 * DAY)

    sweep(db)

    assert left(db) == [last]
    assert jobs.require(db, job.serial).last_run is not None


def test_counts_do_not_fall(db: apsw.Connection) -> None:
    """They are the job's own; a record that stands for a gap counts with its number."""
    job = a_job(db)
    a_run(db, job, RunState.MISSED, age=40 * DAY, fires=120)
    for _ in range(4):
        a_run(db, job, age=35 * DAY)
    before = jobs.require(db, job.serial).counts

    sweep(db)

    assert len(left(db)) == 1
    assert jobs.require(db, job.serial).counts == before
    assert (before.missed, before.succeeded) == (120, 4)


def test_an_interrupted_run_waits_for_its_decision_until_it_is_too_old(
    db: apsw.Connection,
) -> None:
    """Newer runs do not push it out; once it is replayed, they do."""
    job = a_job(db)
    decided, waiting, aged = (
        a_run(db, job, RunState.INTERRUPTED, age=age * DAY) for age in (9, 9, 31)
    )
    a_run(db, job, age=2 * DAY, replay_of=decided)
    newest = [a_run(db, job, age=DAY) for _ in range(2)]

    sweep(db, runs_per_job=2)

    assert aged not in left(db)
    assert left(db) == [waiting, *newest]


def test_the_newest_dead_runs_of_a_job_are_kept_beside_the_others(db: apsw.Connection) -> None:
    """A dead letter is not pushed out by successes, and many are no flood."""
    job = a_job(db)
    dead = [a_run(db, job, RunState.DEAD, age=9 * DAY) for _ in range(4)]
    newest = [a_run(db, job, age=DAY) for _ in range(3)]

    sweep(db, runs_per_job=2)

    assert left(db) == [*dead[-2:], *newest[-2:]]


def test_a_run_that_has_just_ended_is_left_to_those_who_wait_for_it(db: apsw.Connection) -> None:
    """For ten seconds."""
    job = a_job(db)
    fresh = [a_run(db, job, age=timedelta(seconds=age)) for age in (11, 9, 8)]

    sweep(db, runs_per_job=1)

    assert left(db) == fresh[1:]


def test_runs_of_prefect_stay_while_its_server_may_tell_of_them_again(db: apsw.Connection) -> None:
    """A new leader reads the last day once more, and must not count anything twice."""
    job = a_job(db, backend=Backend.PREFECT)
    ended = [a_run(db, job, age=hours * HOUR) for hours in (26, 24, 2, 1)]

    sweep(db, runs_per_job=1)

    assert left(db) == ended[1:]


def test_a_removed_fire_is_not_made_again(db: apsw.Connection) -> None:
    """The ledger refuses it as if its record were still there, also after the clock went back."""
    job = a_job(db)
    gone = runs.require(db, a_run(db, job, age=40 * DAY))
    a_run(db, job, age=DAY)
    sweep(db)
    again = gone.model_copy(update={"state": RunState.PENDING, "attempts": ()})
    earlier = again.model_copy(update={"scheduled_for": gone.scheduled_for - HOUR, "run_id": "r0"})
    later = again.model_copy(update={"scheduled_for": gone.scheduled_for + HOUR, "run_id": "r1"})
    manual = earlier.model_copy(update={"cause": Cause.MANUAL, "run_id": "r2"})

    made = [runs.insert(db, run, at=NOW) for run in (again, earlier, later, manual)]

    assert made == [False, False, True, True]


def test_a_gap_is_remembered_to_its_end(db: apsw.Connection) -> None:
    """No fire of a removed range is made again."""
    job = a_job(db)
    run_id = a_run(db, job, RunState.MISSED, age=40 * DAY, fires=5)
    gap = runs.require(db, run_id)
    db.execute(
        "update run set last_scheduled_for = scheduled_for + 3600000000 where run_id = ?", (run_id,)
    )
    a_run(db, job, age=DAY)
    sweep(db)
    inside = gap.model_copy(update={"scheduled_for": gap.scheduled_for + HOUR, "run_id": "r0"})

    assert not runs.insert(db, inside, at=NOW)


def test_a_record_of_a_clock_that_ran_ahead_stays(db: apsw.Connection) -> None:
    """Otherwise the fires until then would be refused."""
    job = a_job(db)
    ahead = a_run(db, job, age=-300 * DAY)
    db.execute("update run set finished_at = created_at - 400 * 86400000000")
    newer = [a_run(db, job, age=DAY) for _ in range(2)]

    sweep(db, runs_per_job=1)

    assert left(db) == [ahead, newer[-1]]


def test_a_job_that_is_over_leaves_with_its_last_run(db: apsw.Connection) -> None:
    """It is kept runs_days from the sweep that first saw it over."""
    job = a_job(db)
    a_run(db, job, age=50 * DAY)
    a_job(db, "b")
    jobs.set_state(db, job.serial, JobState.CANCELLED)
    db.execute("update job set change = 1")  # so that it is not the newest change
    a_job(db, "c")

    sweep(db, now=NOW)
    seen = [job.serial in job_rows(db)]
    sweep(db, now=NOW + 29 * DAY)
    seen.append(job.serial in job_rows(db))
    removed = sweep(db, now=NOW + 31 * DAY)

    assert seen == [True, True]
    assert job.serial not in job_rows(db)
    assert (removed["jobs"], removed["runs"]) == (1, 1)
    assert (len(job_rows(db)), left(db)) == (2, [])


def test_a_job_stays_while_a_run_of_it_does(db: apsw.Connection) -> None:
    """A run without its job could not be understood."""
    job = a_job(db)
    waiting = a_run(db, job, RunState.PENDING, age=50 * DAY)
    last = a_run(db, job, age=50 * DAY)
    is_over(db, job, since=40 * DAY)
    a_job(db, "b")

    sweep(db)

    assert left(db) == [waiting, last]
    assert job.serial in job_rows(db)


def test_a_job_of_prefect_stays_until_prefect_has_heard_of_its_end(db: apsw.Connection) -> None:
    """Its deployment would fire on."""
    job = a_job(db, backend=Backend.PREFECT)
    is_over(db, job, since=40 * DAY)
    db.execute("update job set applied_revision = revision - 1")
    a_job(db, "b")

    sweep(db)
    stayed = job.serial in job_rows(db)
    db.execute("update job set applied_revision = revision")
    sweep(db)

    assert stayed
    assert job.serial not in job_rows(db)


def test_no_change_number_is_given_twice(db: apsw.Connection) -> None:
    """Who follows the changes would miss the second one: the newest change stays."""
    a_job(db)
    newest = a_job(db, "b")
    is_over(db, newest, since=40 * DAY)
    before = job_lists.newest_change(db)

    sweep(db)

    assert job_lists.newest_change(db) == before
    assert newest.serial in job_rows(db)


def test_no_generation_is_given_twice(db: apsw.Connection) -> None:
    """The ids of runs derive from it."""
    for _ in range(3):
        is_over(db, a_job(db), since=40 * DAY)
    a_job(db, "b")
    sweep(db)

    again, other = a_job(db), a_job(db, "c")

    rows = job_rows(db)
    assert len(rows) == 3
    assert rows[again.serial]["generation"] == rows[other.serial]["generation"] == 4


def test_a_key_lives_a_week_and_as_long_as_its_work(db: apsw.Connection) -> None:
    """A retried call finds what the first one made, or makes it again."""
    job = a_job(db)
    pending = a_run(db, job, RunState.PENDING, age=9 * DAY)
    done = a_run(db, job, age=9 * DAY)
    a_key(db, "young", job=job, run_id=done, age=6 * DAY)
    a_key(db, "old", job=job, run_id=done, age=8 * DAY)
    a_key(db, "open run", job=job, run_id=pending, age=8 * DAY)
    a_key(db, "open job", job=job, age=8 * DAY)

    removed = sweep(db)

    rows = query(db, "select key from idempotency_key")
    assert {row["key"] for row in rows} == {"young", "open run", "open job"}
    assert removed["idempotency_keys"] == 1


def test_what_a_key_names_stays_with_the_key(db: apsw.Connection) -> None:
    """Its answer names a job and a run that can be looked at."""
    job = a_job(db)
    run_id = a_run(db, job, age=6 * DAY)
    is_over(db, job, since=5 * DAY)
    a_key(db, "k", job=job, run_id=run_id, age=6 * DAY)
    a_job(db, "b")

    sweep(db, runs_days=1, runs_per_job=1)
    made = keys.recall(db, keys.Call("local", "run_job_now", "k", {}))
    sweep(db, now=NOW + 2 * DAY, runs_days=1, runs_per_job=1)

    assert made == (job.serial, run_id)
    assert (left(db), size(db, "idempotency_key")) == ([], 0)


def test_reminders_and_samples_leave_after_their_time(db: apsw.Connection) -> None:
    """A day of reminders, a week of samples; in steps."""
    for hours in range(1, 200):
        reports.add_reminder(db, f"run-{hours}", "tea", at=NOW - hours * HOUR)
        reports.add_sample(db, {}, at=NOW - hours * HOUR)

    removed = sweep(db, most=10)

    assert (size(db, "reminder"), size(db, "metric_sample")) == (24, 168)
    assert (removed["reminders"], removed["metric_samples"]) == (175, 31)


def test_what_was_to_be_handed_over_for_a_finished_run_leaves(db: apsw.Connection) -> None:
    """Of unfinished runs it stays."""
    job = a_job(db)
    for state in (RunState.PENDING, RunState.SUCCEEDED):
        run_id = a_run(db, job, state, age=HOUR)
        db.execute(
            "insert into outbox (run_id, backend, work, created_at, next_try_at)"
            " values (?, 'oneiric', '{}', 0, 0)",
            (run_id,),
        )

    removed = sweep(db, most=1)

    assert removed["outbox_rows"] == 1
    assert outbox.waiting(db) == {"oneiric": 1}


def test_any_number_of_days_is_accepted(db: apsw.Connection) -> None:
    """More than the calendar has means for ever."""
    job = a_job(db)
    kept = [a_run(db, job, age=9000 * DAY) for _ in range(2)]

    sweep(db, runs_days=1e12)

    assert left(db) == kept


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("select 1 from run where job_serial = 1 and state in ('pending', 'running')", "run_open"),
        ("select 1 from run where job_serial = 1", "run_of_serial"),
    ],
)  # fmt: skip
def test_unfinished_runs_are_found_without_reading_the_others(
    question: str, index: str, db: apsw.Connection
) -> None:
    """However many are kept."""
    plan = query(db, f"explain query plan {question}")

    assert any(row["detail"].split(" (")[0].endswith(f" {index}") for row in plan)
