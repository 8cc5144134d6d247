"""What is written is what is read: keys, outbox, health, reminders, samples, runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.domain.dispatch import Dispatch
from mahavishnu_sched_mcp.domain.engine import Backend, EngineState, Health
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import Cause, NodeRun, Outcome, Run, RunError, RunState
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import IdempotencyConflictError
from mahavishnu_sched_mcp.ledger import jobs, keys, outbox, reports, run_lists, runs
from mahavishnu_sched_mcp.ledger.database import connect
from mahavishnu_sched_mcp.ledger.instant import from_micros, to_micros
from mahavishnu_sched_mcp.ledger.schema import migrate
from tests.factories import MINUTE, TWO_O_CLOCK, an_interval

LATER = TWO_O_CLOCK + MINUTE


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Open an empty ledger."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)
    yield connection
    connection.close()


def a_job(db: apsw.Connection, name: str = "a", **changes: object) -> Job:
    """Write an active job."""
    request: TriggerRequest = an_interval(60)
    definition = JobDefinition(
        backend=Backend.APSCHEDULER,
        kind=JobKind.TASK,
        target="greet",
        trigger_requested=request.as_requested(),
        params={"name": "Zoë"},
    )
    trigger = request.resolve(
        now=TWO_O_CLOCK, default_timezone="UTC", min_interval=timedelta(seconds=1)
    )
    job = Job(
        serial=0,
        job_id=f"apscheduler:{name}",
        definition=definition,
        name=name,
        state=JobState.ACTIVE,
        trigger=trigger,
        next_run_at=LATER,
        created_at=TWO_O_CLOCK,
        created_by="test",
        tags=("x", "y"),
        note="a word",
    )
    return jobs.insert(db, job.model_copy(update=changes), fingerprint="f")


def a_run(db: apsw.Connection, job: Job, run_id: str = "run-1", **changes: object) -> Run:
    """Write a pending run."""
    run = Run(
        run_id=run_id,
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=LATER,
        cause=Cause.MANUAL,
        state=RunState.PENDING,
        reason="waits",
    ).model_copy(update=changes)
    assert runs.insert(db, run, at=TWO_O_CLOCK)
    return run


def test_a_job_is_read_as_it_was_written(db: apsw.Connection) -> None:
    """All but the numbers the ledger gives."""
    job = a_job(db)

    assert job == jobs.require(db, job.serial) == jobs.find(db, "apscheduler:a")
    assert (job.serial, job.generation, job.revision) == (1, 1, 1)
    assert (job.tags, job.note, job.definition.params) == (("x", "y"), "a word", {"name": "Zoë"})
    assert job.trigger is not None
    assert job.trigger.next_after(TWO_O_CLOCK) == job.next_run_at == LATER


def test_two_unfinished_jobs_cannot_share_an_id(db: apsw.Connection) -> None:
    """Whatever the code above does, the file refuses it."""
    a_job(db)

    with pytest.raises(apsw.ConstraintError):
        a_job(db)


def test_nodes_come_by_their_start_and_those_that_never_ran_last(db: apsw.Connection) -> None:
    """At one instant the order in which they were first heard of decides, also after a change."""
    run = a_run(db, a_job(db))
    runs.begin_attempt(db, run.run_id, at=LATER, worker="w", term=3)
    for name in ("z", "b", "a"):
        runs.record_node(db, run.run_id, NodeRun(node=name, state=RunState.SKIPPED, attempts=0))
    for name in ("b", "z"):
        going = NodeRun(node=name, state=RunState.RUNNING, started_at=LATER)
        runs.record_node(db, run.run_id, going)

    found = runs.require(db, run.run_id)

    assert [node.node for node in found.nodes] == ["z", "b", "a"]


def test_a_new_attempt_begins_without_the_nodes_of_the_one_before(db: apsw.Connection) -> None:
    """What an interrupted attempt recorded of its nodes is no word on the next one."""
    run = a_run(db, a_job(db))
    runs.begin_attempt(db, run.run_id, at=LATER, worker="w", term=3)
    runs.record_node(db, run.run_id, NodeRun(node="a", state=RunState.INTERRUPTED))
    runs.end_attempt(db, run.run_id, outcome=RunState.INTERRUPTED, at=LATER)
    runs.return_to_pending(db, run.run_id, reason="interrupted, to run again")

    again = runs.begin_attempt(db, run.run_id, at=LATER, worker="w", term=4)

    assert again is not None
    assert (len(again.attempts), again.nodes) == (2, ())


def test_a_run_is_read_as_it_was_written(db: apsw.Connection) -> None:
    """With its attempts, nodes, output, error and the engine's ids."""
    run = a_run(db, a_job(db))
    begun = runs.begin_attempt(db, run.run_id, at=LATER, worker="w", term=3)
    node = NodeRun(node="n", state=RunState.FAILED, started_at=LATER, attempts=2, reason="no")
    runs.record_node(db, run.run_id, NodeRun(node="n", state=RunState.RUNNING))
    runs.record_node(db, run.run_id, node)
    runs.refer(db, run.run_id, {"message_id": "1"})
    runs.refer(db, run.run_id, {"url": "http://127.0.0.1"})
    outcome = Outcome(
        state=RunState.FAILED,
        reason="exit 1",
        output=Output(text="é", bytes=99, truncated=True),
        error=RunError(type="OSError", message="gone"),
    )
    runs.end_attempt(db, run.run_id, outcome=RunState.FAILED, at=LATER + MINUTE)
    runs.end(db, run.run_id, state=RunState.FAILED, outcome=outcome, at=LATER + MINUTE)
    ended = runs.require(db, run.run_id)

    assert begun is not None
    assert (begun.state, begun.reason, begun.worker) == (RunState.RUNNING, None, "w")
    assert (ended.state, ended.reason) == (RunState.FAILED, "exit 1")
    assert (ended.output, ended.error) == (outcome.output, outcome.error)
    assert ended.nodes == (node,)
    assert ended.reference == {"message_id": "1", "url": "http://127.0.0.1"}
    assert [(a.number, a.started_at, a.finished_at, a.outcome) for a in ended.attempts] == [
        (1, LATER, LATER + MINUTE, RunState.FAILED)
    ]
    assert (ended.lateness, ended.duration) == (timedelta(0), MINUTE)


def test_a_final_run_never_changes(db: apsw.Connection) -> None:
    """Neither another end nor another attempt."""
    run = a_run(db, a_job(db))
    runs.end(db, run.run_id, state=RunState.DEAD, outcome=Outcome(state=RunState.DEAD), at=LATER)

    runs.end(
        db,
        run.run_id,
        state=RunState.SUCCEEDED,
        outcome=Outcome(state=RunState.SUCCEEDED),
        at=LATER,
    )

    assert runs.require(db, run.run_id).state is RunState.DEAD
    assert runs.begin_attempt(db, run.run_id, at=LATER, worker="w", term=1) is None
    assert runs.return_to_pending(db, run.run_id, reason="again") == 0


def test_a_run_someone_asked_to_stop_does_not_start(db: apsw.Connection) -> None:
    """The request and the start are decided in the ledger."""
    run = a_run(db, a_job(db))
    runs.request_cancel(db, run.run_id, reason="asked")

    assert runs.begin_attempt(db, run.run_id, at=LATER, worker="w", term=1) is None
    assert run_lists.cancel_requested(db) == [run.run_id]


@pytest.mark.parametrize(
    ("cause", "is_second_written"), [(Cause.SCHEDULE, False), (Cause.MANUAL, True)]
)
def test_a_fire_has_one_record(cause: Cause, is_second_written: bool, db: apsw.Connection) -> None:
    """Unique are job generation and instant, for the causes of the schedule."""
    job = a_job(db)
    a_run(db, job, "run-1", cause=cause)
    second = runs.require(db, "run-1").model_copy(update={"run_id": "run-2"})

    assert runs.insert(db, second, at=LATER) is is_second_written


def test_a_key_remembers_what_it_made(db: apsw.Connection) -> None:
    """For one tool and one principal; other arguments are refused."""
    call = keys.Call("local", "run_job_now", "k", {"job_id": "a", "nested": {"x": 1, "y": 2}})
    keys.remember(db, call, keys.Made(7, "run-1"), at=TWO_O_CLOCK)

    same = call._replace(arguments={"nested": {"y": 2, "x": 1}, "job_id": "a"})
    assert keys.recall(db, same) == keys.Made(7, "run-1")
    assert keys.recall(db, call._replace(tool="replay_run")) is None
    assert keys.recall(db, call._replace(principal="other")) is None
    with pytest.raises(IdempotencyConflictError, match="'k'"):
        keys.recall(db, call._replace(arguments={"job_id": "b"}))


def test_what_waits_in_the_outbox_is_given_until_it_is_sent(db: apsw.Connection) -> None:
    """A failed hand-over waits for its next try; a run without a place has no row."""
    run = a_run(db, a_job(db))
    work = Dispatch(
        run_id=run.run_id, job_id=run.job_id, target="t", scheduled_for=LATER, params={"a": 1}
    )
    outbox.put(db, work, backend=Backend.ONEIRIC, at=TWO_O_CLOCK)
    outbox.put(db, work, backend=Backend.ONEIRIC, at=TWO_O_CLOCK)

    assert outbox.due(db, now=TWO_O_CLOCK) == [(Backend.ONEIRIC, work)]
    assert outbox.waiting(db) == {"oneiric": 1}

    outbox.mark_failed(db, run.run_id, error="away", next_try_at=LATER)
    assert outbox.due(db, now=TWO_O_CLOCK) == []
    assert outbox.next_try(db) == LATER
    assert outbox.tries(db, run.run_id) == 1

    outbox.mark_sent(db, run.run_id, at=LATER)
    assert (outbox.due(db, now=LATER), outbox.next_try(db)) == ([], None)

    outbox.drop(db, run.run_id)
    assert not outbox.has(db, run.run_id)
    assert (outbox.waiting(db), outbox.tries(db, run.run_id)) == ({}, 0)


def test_the_health_of_the_engines_is_for_followers(db: apsw.Connection) -> None:
    """The newest word of the leader."""
    seen = {
        Backend.ONEIRIC: Health(state=EngineState.READY, figures={"depth": 3}),
        Backend.PREFECT: Health(state=EngineState.UNAVAILABLE, detail="away", url="http://x"),
    }
    reports.save_health(db, seen, at=TWO_O_CLOCK)
    reports.save_health(db, {Backend.PREFECT: Health(state=EngineState.READY)}, at=LATER)

    assert reports.health(db) == seen | {Backend.PREFECT: Health(state=EngineState.READY)}


def test_reminders_and_samples_are_given_newest_first(db: apsw.Connection) -> None:
    """One reminder per run; old ones are left out."""
    reports.add_reminder(db, "run-0", "old", at=TWO_O_CLOCK - MINUTE)
    for number in (1, 2):
        at: datetime = TWO_O_CLOCK + number * MINUTE
        reports.add_reminder(db, f"run-{number}", "first", at=at)
        reports.add_reminder(db, f"run-{number}", "word", at=at)
        reports.add_sample(db, {"n": number}, at=at)

    assert reports.reminders(db, since=TWO_O_CLOCK, limit=5) == [
        ("run-2", "word"),
        ("run-1", "word"),
    ]
    assert reports.samples(db, limit=1) == [{"n": 2}]


def test_instants_keep_their_microseconds() -> None:
    """Before 1970, too; nothing stays nothing."""
    instants = [
        TWO_O_CLOCK + timedelta(microseconds=1),
        datetime.fromisoformat("1969-12-31T23:59:59.999999Z"),
    ]

    assert [from_micros(to_micros(instant)) for instant in instants] == instants
    assert to_micros(instants[1]) == -1
    assert from_micros(to_micros(None)) is None
