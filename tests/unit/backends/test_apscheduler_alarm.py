"""The alarm clock, in real time: what is told, when, in which order."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from mahavishnu_sched_mcp.backends.apscheduler.alarm import ApschedulerAlarmClock
from mahavishnu_sched_mcp.backends.apscheduler.executor import make_fire
from mahavishnu_sched_mcp.backends.apscheduler.trigger import ArmedTrigger
from mahavishnu_sched_mcp.backends.protocol import Fire
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.trigger import IntervalTrigger

TICK = timedelta(milliseconds=200)
SOON = timedelta(milliseconds=50)
CLOCK = SystemClock()


class ShiftableClock(SystemClock):
    """The machine's clock with a wall that can be set."""

    shift = timedelta(0)

    def now(self) -> datetime:
        """Give the set wall time."""
        return super().now() + self.shift


class Ear:
    """A listener that keeps what it hears, with the time it heard it."""

    def __init__(self) -> None:
        """Begin with silence."""
        self.passes: list[list[Fire]] = []
        self.heard_at: list[datetime] = []
        self._news = asyncio.Event()

    @property
    def fires(self) -> list[Fire]:
        """All fires so far."""
        return [fire for one in self.passes for fire in one]

    def on_due(self, fires: Sequence[Fire]) -> None:
        """Keep one pass."""
        self.passes.append(list(fires))
        self.heard_at.append(CLOCK.now())
        self._news.set()

    async def hear(self, count: int) -> None:
        """Wait until this many fires were heard, three seconds at most."""
        async with asyncio.timeout(3):
            while len(self.fires) < count:
                self._news.clear()
                await self._news.wait()


def a_job(
    serial: int = 1,
    *,
    due: datetime | None,
    revision: int = 1,
    period: timedelta = TICK,
    has_trigger: bool = True,
) -> Job:
    """Make an active job whose interval is anchored at its next fire."""
    trigger = IntervalTrigger(period=period, anchor=due or CLOCK.now())
    return Job(
        serial=serial,
        job_id=f"apscheduler:job-{serial}",
        revision=revision,
        definition=JobDefinition(
            backend=Backend.APSCHEDULER,
            kind=JobKind.TASK,
            target="health_check",
            trigger_requested=None,
        ),
        name="job",
        state=JobState.ACTIVE,
        trigger=trigger if has_trigger else None,
        next_run_at=due,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        created_by="test",
    )


@pytest.fixture
def ear() -> Ear:
    """A listener."""
    return Ear()


@pytest.fixture
async def alarm(ear: Ear) -> AsyncIterator[ApschedulerAlarmClock]:
    """A running alarm clock."""
    clock = ApschedulerAlarmClock(CLOCK)
    await clock.start(ear)
    yield clock
    await clock.stop()


async def test_a_job_fires_at_each_of_its_times(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """Fires come in order, never early, each naming the one after it."""
    due = CLOCK.now() + TICK

    alarm.arm(a_job(due=due))
    await ear.hear(3)

    times = [due + n * TICK for n in range(4)]
    assert [(f.scheduled_for, f.next_run_at) for f in ear.fires[:3]] == [*pairwise(times)]
    assert all(
        heard >= fire.scheduled_for for heard, fire in zip(ear.heard_at, ear.fires, strict=True)
    )


async def test_jobs_due_together_are_told_in_one_call(
    alarm: ApschedulerAlarmClock, ear: Ear
) -> None:
    """Each pass hands over all its fires at once, ordered by time, then by age of the job."""
    now = CLOCK.now()

    for serial in range(200, 0, -1):
        due = now - timedelta(milliseconds=serial % 2)
        alarm.arm(a_job(serial, due=due, period=timedelta(hours=1)))
    await ear.hear(200)

    assert len(ear.passes) == 1
    assert [fire.serial for fire in ear.fires] == [*range(1, 200, 2), *range(2, 201, 2)]


async def test_a_storm_is_told_in_portions(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """Hundreds of jobs due at once leave the loop room to breathe, and keep their order."""
    due = CLOCK.now() - timedelta(seconds=1)

    for serial in range(1, 451):
        alarm.arm(a_job(serial, due=due, period=timedelta(hours=1)))
    await ear.hear(450)

    assert [len(one) for one in ear.passes] == [200, 200, 50]
    assert [fire.serial for fire in ear.fires] == list(range(1, 451))


async def test_many_changes_in_one_tick_cost_one_pass(
    alarm: ApschedulerAlarmClock, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred arms between two looks at the clock are looked at once."""
    looks: list[datetime] = []
    look = alarm._store.get_first_due_jobs

    def counted(now: datetime, *, count: int) -> list[Any]:
        looks.append(now)
        return look(now, count=count)

    monkeypatch.setattr(alarm._store, "get_first_due_jobs", counted)

    for serial in range(200):
        alarm.arm(a_job(serial, due=CLOCK.now() + timedelta(hours=1)))
    alarm.arm(a_job(900, due=CLOCK.now(), period=timedelta(hours=1)))
    await ear.hear(1)

    assert len(looks) == 1
    assert alarm.armed == 201


async def test_arming_again_replaces(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """A job has one alarm: the one armed last for its serial."""
    due, hour = CLOCK.now() + SOON, timedelta(hours=1)

    for _ in range(2):
        alarm.arm(a_job(due=due, period=hour))
    alarm.arm(a_job(due=due + SOON, revision=2, period=hour))
    alarm.arm(a_job(2, due=due + 2 * SOON, period=hour))
    await ear.hear(2)

    assert [(fire.serial, fire.revision) for fire in ear.fires] == [(1, 2), (2, 1)]


async def test_a_disarmed_job_does_not_fire(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """Disarming, also by arming without a next fire, holds all fires; unknown ones are ignored."""
    due = CLOCK.now() + SOON
    for serial in (1, 2):
        alarm.arm(a_job(serial, due=due))
    alarm.arm(a_job(3, due=due + SOON))

    alarm.disarm(1)
    alarm.arm(a_job(2, due=None))
    alarm.disarm(99)
    await ear.hear(1)

    assert {fire.serial for fire in ear.fires} == {3}


async def test_a_late_pass_tells_every_time_one_by_one(
    alarm: ApschedulerAlarmClock, ear: Ear
) -> None:
    """Times that passed while the loop was busy come one per pass, the earliest first."""
    due = CLOCK.now() - timedelta(seconds=20)

    alarm.arm(a_job(due=due, period=timedelta(seconds=6)))
    await ear.hear(4)

    assert [len(one) for one in ear.passes] == [1, 1, 1, 1]
    assert [fire.scheduled_for for fire in ear.fires] == [
        due + n * timedelta(seconds=6) for n in range(4)
    ]


async def test_a_long_gap_is_told_once(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """A fire older than the grace stands for its gap; the job waits to be armed again."""
    due = CLOCK.now() - timedelta(days=30)
    alarm.arm(a_job(due=due, period=timedelta(seconds=1)))

    await ear.hear(1)
    armed = alarm.armed
    alarm.arm(a_job(due=CLOCK.now(), period=timedelta(hours=1)))
    await ear.hear(2)

    assert armed == 0
    assert ear.fires[0].scheduled_for == due
    assert ear.fires[0].next_run_at == due + timedelta(seconds=1)
    assert len(ear.fires) == 2


async def test_a_last_fire_names_no_next_one(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """A job without a trigger fires once, and is then forgotten."""
    alarm.arm(a_job(due=CLOCK.now(), has_trigger=False))

    await ear.hear(1)

    assert ear.fires[0].next_run_at is None
    assert alarm.armed == 0


async def test_the_wall_clock_is_looked_at_every_second(ear: Ear) -> None:
    """A step of the wall clock is noticed within a second, even where nothing announces it."""
    clock = ShiftableClock()
    alarm = ApschedulerAlarmClock(clock)
    await alarm.start(ear)
    due = clock.now() + timedelta(hours=1)
    alarm.arm(a_job(due=due, period=timedelta(hours=9)))
    try:
        clock.shift = timedelta(hours=1)
        await ear.hear(1)
    finally:
        await alarm.stop()

    assert ear.fires[0].scheduled_for == due


async def test_jobs_armed_before_the_start_fire_after_it(ear: Ear) -> None:
    """A standing alarm clock keeps what it is told until it is started."""
    alarm = ApschedulerAlarmClock(CLOCK)
    for serial in (1, 2):
        alarm.arm(a_job(serial, due=CLOCK.now(), period=timedelta(hours=1)))
    alarm.disarm(2)
    assert (alarm.is_running, alarm.armed) == (False, 1)

    await alarm.start(ear)
    await ear.hear(1)
    await alarm.stop()

    assert [fire.serial for fire in ear.fires] == [1]


async def test_nothing_fires_after_a_stop(ear: Ear) -> None:
    """A stop is at once, forgets every job, and may come twice; a new start begins empty."""
    alarm = ApschedulerAlarmClock(CLOCK)
    await alarm.start(ear)
    await alarm.start(ear)
    alarm.arm(a_job(1, due=CLOCK.now()))

    await alarm.stop()
    await alarm.stop()
    await alarm.start(ear)
    alarm.arm(a_job(2, due=CLOCK.now(), period=timedelta(hours=1)))
    await ear.hear(1)
    await alarm.stop()

    assert [fire.serial for fire in ear.fires] == [2]
    assert alarm.armed == 0


async def test_it_tells_time_without_timerfd(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no timerfd the loop's own timers are used."""
    monkeypatch.delattr(os, "timerfd_create", raising=False)
    alarm = ApschedulerAlarmClock(CLOCK)
    await alarm.start(ear)

    alarm.arm(a_job(due=CLOCK.now() + SOON, period=SOON))
    await ear.hear(2)
    await alarm.stop()

    assert ear.fires[1].scheduled_for == ear.fires[0].scheduled_for + SOON


async def test_a_job_that_cannot_be_computed_does_not_hold_up_others(
    alarm: ApschedulerAlarmClock, ear: Ear
) -> None:
    """Its fire is delivered as its last one, for the listener to decide; the pass goes on."""

    class BrokenTrigger(ArmedTrigger):
        def following(self, fire: datetime) -> datetime | None:
            raise RuntimeError(fire)

    broken = BrokenTrigger(None, grace=TICK)
    due = CLOCK.now()
    alarm._scheduler.add_job(
        make_fire, broken, args=(1, 1, broken), id="1", next_run_time=due - SOON
    )
    alarm.arm(a_job(2, due=due, period=timedelta(hours=1)))
    await ear.hear(2)

    assert [(fire.serial, bool(fire.next_run_at)) for fire in ear.fires] == [(1, False), (2, True)]
    assert alarm.armed == 1


async def test_a_listener_that_fails_does_not_stop_the_clock(
    alarm: ApschedulerAlarmClock, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever one pass runs into, the next ones come."""

    def fail_once(_fires: Sequence[Fire]) -> None:
        monkeypatch.setattr(ear, "on_due", hear)
        raise RuntimeError

    hear: Any = ear.on_due
    monkeypatch.setattr(ear, "on_due", fail_once)

    alarm.arm(a_job(due=CLOCK.now()))
    await ear.hear(1)

    assert ear.fires[0].serial == 1


async def test_a_clock_set_while_arming_is_looked_at_again(
    alarm: ApschedulerAlarmClock, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses to arm a timer when the wall clock was just set: look again at once."""
    refused = []

    def refuse_once(*arguments: Any, **options: Any) -> None:
        if options["initial"]:
            refused.append(options["initial"])
            monkeypatch.setattr(os, "timerfd_settime_ns", arm)
            raise OSError(errno.ECANCELED, "the clock was set")
        arm(*arguments, **options)

    arm: Any = os.timerfd_settime_ns
    monkeypatch.setattr(os, "timerfd_settime_ns", refuse_once)

    alarm.arm(a_job(due=CLOCK.now() + SOON))
    await ear.hear(1)

    assert len(refused) == 1


async def test_a_listener_may_stop_the_clock_in_the_middle_of_a_pass(
    alarm: ApschedulerAlarmClock, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stop inside a pass no timer is armed again."""
    stopped = asyncio.Event()

    def stop(_fires: Sequence[Fire]) -> None:
        alarm._scheduler.shutdown()
        stopped.set()

    monkeypatch.setattr(ear, "on_due", stop)
    alarm.arm(a_job(due=CLOCK.now()))
    async with asyncio.timeout(3):
        await stopped.wait()

    assert not alarm.is_running


async def test_a_wake_from_another_thread_is_heard(alarm: ApschedulerAlarmClock, ear: Ear) -> None:
    """The scheduler may be woken from any thread."""
    trigger = ArmedTrigger(None, grace=timedelta(minutes=1))

    await asyncio.to_thread(
        alarm._scheduler.add_job,
        make_fire,
        trigger,
        args=(1, 1, trigger),
        id="1",
        next_run_time=CLOCK.now(),
    )
    await ear.hear(1)

    assert [fire.serial for fire in ear.fires] == [1]
