"""The in-process engine, its job store and its trigger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.jobstores.base import ConflictingIdError, JobLookupError

from mahavishnu_sched_mcp.backends.apscheduler.alarm import ApschedulerAlarmClock
from mahavishnu_sched_mcp.backends.apscheduler.backend import ApschedulerBackend
from mahavishnu_sched_mcp.backends.apscheduler.executor import make_fire
from mahavishnu_sched_mcp.backends.apscheduler.job_store import HeapJobStore
from mahavishnu_sched_mcp.backends.apscheduler.trigger import ArmedTrigger
from mahavishnu_sched_mcp.backends.protocol import Dispatch, SchedulerBackend
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.engine import Backend, EngineState
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.domain.trigger import IntervalTrigger
from mahavishnu_sched_mcp.errors import BackendUnavailableError, InvalidStateError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LATER = datetime(2999, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class DeafListener:
    """A listener for clocks that must stay silent."""

    def on_due(self, fires: object) -> None:
        """Fail: nothing is due in these tests."""
        pytest.fail(f"fired {fires}")


@dataclass
class StoredJob:
    """What a job store looks at in a job."""

    id: str
    next_run_time: datetime | None
    note: str = ""


def a_job(*, state: JobState = JobState.ACTIVE, due: datetime | None = LATER) -> Job:
    """Make a job that is due in the far future."""
    return Job(
        serial=1,
        job_id="apscheduler:job",
        definition=JobDefinition(
            backend=Backend.APSCHEDULER,
            kind=JobKind.TASK,
            target="health_check",
            trigger_requested=None,
        ),
        name="job",
        state=state,
        trigger=IntervalTrigger(period=MINUTE, anchor=LATER),
        next_run_at=due,
        created_at=NOW,
        created_by="test",
    )


@pytest.fixture
async def alarm() -> AsyncIterator[ApschedulerAlarmClock]:
    """An alarm clock that is stopped in the end."""
    clock = ApschedulerAlarmClock(SystemClock())
    yield clock
    await clock.stop()


@pytest.fixture
def backend(alarm: ApschedulerAlarmClock) -> SchedulerBackend:
    """The engine."""
    return ApschedulerBackend(alarm, clock=SystemClock())


async def test_it_is_ready_when_the_alarm_clock_runs(
    alarm: ApschedulerAlarmClock, backend: SchedulerBackend
) -> None:
    """Before the leader starts the alarm clock the engine is idle."""
    before = backend.health()
    with pytest.raises(BackendUnavailableError, match="get_status"):
        await backend.ensure_started()

    await alarm.start(DeafListener())
    await backend.ensure_started()

    assert before.state is EngineState.IDLE
    assert backend.health().state is EngineState.READY
    assert backend.name is Backend.APSCHEDULER
    assert backend.capabilities.can_pause


async def test_apply_arms_what_is_active_and_disarms_the_rest(
    alarm: ApschedulerAlarmClock, backend: SchedulerBackend
) -> None:
    """The engine agrees with the job as it stands, whatever was there before."""
    await alarm.start(DeafListener())
    armed = []

    for job in (
        a_job(),
        a_job(state=JobState.PAUSED),
        a_job(),
        a_job(due=None),
        a_job(),
        a_job(state=JobState.CANCELLED),
    ):
        receipt = await backend.apply(job)
        armed.append(backend.health().figures["armed"])

    assert armed == [1, 0, 1, 0, 1, 0]
    assert receipt.reference == {}


async def test_a_job_is_not_applied_to_a_standing_clock(backend: SchedulerBackend) -> None:
    """An active job is applied again when the alarm clock runs; a removal needs no engine."""
    with pytest.raises(BackendUnavailableError):
        await backend.apply(a_job())

    await backend.apply(a_job(state=JobState.CANCELLED))


async def test_runs_are_not_dispatched_to_it(backend: SchedulerBackend) -> None:
    """The runner executes and stops runs of this process itself."""
    run = Run(
        run_id="run-1",
        job_id="apscheduler:job",
        job_serial=1,
        scheduled_for=NOW,
        cause=Cause.MANUAL,
        state=RunState.RUNNING,
    )
    work = Dispatch(run_id="run-1", job_id="apscheduler:job", target="t", scheduled_for=NOW)

    with pytest.raises(InvalidStateError, match="runs in this process"):
        await backend.dispatch(work)
    await backend.cancel(run)


async def test_a_stop_ends_the_alarm_clock(
    alarm: ApschedulerAlarmClock, backend: SchedulerBackend
) -> None:
    """Stopping is valid before a start, and twice."""
    await backend.stop()
    await alarm.start(DeafListener())

    await backend.stop()
    await backend.stop()

    assert not alarm.is_running


def test_the_store_lists_due_jobs_by_time() -> None:
    """Jobs come by their time, those of one time in the order they were added."""
    store = HeapJobStore()
    for name, minutes in (("c", 3), ("a", 1), ("b", 2), ("b2", 2), ("z", 9)):
        store.add_job(StoredJob(name, NOW + minutes * MINUTE))
    store.add_job(StoredJob("paused", None))

    assert [job.id for job in store.get_due_jobs(NOW + 3 * MINUTE)] == ["a", "b", "b2", "c"]
    assert [job.id for job in store.get_all_jobs()] == ["a", "b", "b2", "c", "z", "paused"]
    assert store.get_next_run_time() == NOW + MINUTE
    assert len(store) == 6


def test_the_store_follows_changes() -> None:
    """A changed job is found at its new time only; a removed one not at all."""
    store = HeapJobStore()
    for name, minutes in (("a", 1), ("b", 2), ("c", 3)):
        store.add_job(StoredJob(name, NOW + minutes * MINUTE))

    store.update_job(StoredJob("a", NOW + 9 * MINUTE, "moved from the top"))
    store.update_job(StoredJob("c", NOW, "moved to the top"))
    store.update_job(StoredJob("c", None, "paused"))
    store.update_job(StoredJob("c", NOW + 5 * MINUTE, "resumed"))
    store.remove_job("b")

    assert [job.id for job in store.get_due_jobs(NOW + 9 * MINUTE)] == ["c", "a"]
    assert store.get_next_run_time() == NOW + 5 * MINUTE
    assert store.lookup_job("b") is None
    store.shutdown()
    assert (len(store), store.get_next_run_time()) == (0, None)


def test_the_store_refuses_what_apscheduler_expects_refused() -> None:
    """Taken and unknown ids are errors of APScheduler's own kinds."""
    store = HeapJobStore()
    store.add_job(StoredJob("a", NOW))

    with pytest.raises(ConflictingIdError):
        store.add_job(StoredJob("a", NOW))
    with pytest.raises(JobLookupError):
        store.update_job(StoredJob("b", NOW))
    with pytest.raises(JobLookupError):
        store.remove_job("b")


def test_the_store_does_not_grow_with_changes() -> None:
    """Entries left behind by changes are swept when they are the majority."""
    store = HeapJobStore()
    store.add_job(StoredJob("top", NOW))
    for number in range(5000):
        name = "a"
        job = StoredJob(name, NOW + number * MINUTE)
        store.add_job(job) if number == 0 else store.update_job(job)

    assert len(store._heap) < 1100
    assert [job.id for job in store.get_due_jobs(LATER)] == ["top", "a"]


def test_a_trigger_goes_on_from_the_fire_before() -> None:
    """The next fire follows the last one, not the moment of asking; a long gap ends it."""
    trigger = ArmedTrigger(IntervalTrigger(period=MINUTE, anchor=NOW), grace=5 * MINUTE)

    assert trigger.get_next_fire_time(None, NOW) == NOW + MINUTE
    assert trigger.get_next_fire_time(NOW, NOW + 5 * MINUTE) == NOW + MINUTE
    assert trigger.get_next_fire_time(NOW, NOW + 6 * MINUTE) is None


def test_an_alarm_job_is_never_run_by_itself() -> None:
    """Only the gathering executor, which knows the due time, may make a fire."""
    with pytest.raises(TypeError, match="gathering executor"):
        make_fire(1, 1, ArmedTrigger(None, grace=MINUTE))
