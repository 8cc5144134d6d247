"""The alarm clock that tells the runner what is due."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from apscheduler.jobstores.base import JobLookupError

from mahavishnu_sched_mcp.backends.apscheduler.clock import WakingScheduler
from mahavishnu_sched_mcp.backends.apscheduler.executor import GatheringExecutor, make_fire
from mahavishnu_sched_mcp.backends.apscheduler.job_store import HeapJobStore
from mahavishnu_sched_mcp.backends.apscheduler.trigger import ArmedTrigger

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.backends.apscheduler.step_watch import Step
    from mahavishnu_sched_mcp.backends.protocol import Fire, FireListener
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job

_GRACE = timedelta(seconds=60)


class ApschedulerAlarmClock:
    """Implements `AlarmClock` with APScheduler, in memory.

    Each pass hands the listener one fire per due job, ordered by time, 200 at most; more follow
    in the next pass, at once. `scheduled_for` is the
    armed time, `next_run_at` the nominal one after it. Where that one is due already, too (a
    late loop, a step of the wall clock), it comes in the next pass, at once.

    A fire older than `grace` is the start of a gap (the machine slept). It is told once, with
    `scheduled_for` the oldest time, and the job is then disarmed: the listener accounts for the
    whole gap in its own transaction and arms the job again. So no gap is ever enumerated.
    """

    def __init__(self, clock: Clock, *, grace: timedelta = _GRACE) -> None:
        """Make a clock that stands.

        Args:
            clock: Decides what is due.
            grace: How old a fire may be before it counts as the start of a gap.
        """
        self._grace = grace
        self._listener: FireListener | None = None
        self._waiting: dict[int, Job] = {}
        self._store = HeapJobStore()
        executor = GatheringExecutor(self._tell)
        self._scheduler = WakingScheduler(clock=clock, job_store=self._store, executor=executor)

    @property
    def is_running(self) -> bool:
        """Whether it tells time."""
        return bool(self._scheduler.running)

    @property
    def armed(self) -> int:
        """How many jobs it has."""
        return len(self._store) + len(self._waiting)

    @property
    def last_step(self) -> Step | None:
        """When and by how much the wall clock was last set while it told time, if ever."""
        return self._scheduler.step_watch.last

    def arm(self, job: Job) -> None:
        """Fire this job at `job.next_run_at` and on; replaces what was armed for its serial.

        A job without `next_run_at` is disarmed. Before a start it is kept for that start.
        """
        if job.next_run_at is None:
            self.disarm(job.serial)
        elif self.is_running:
            self._add(job)
        else:
            self._waiting[job.serial] = job

    def disarm(self, serial: int) -> None:
        """Fire this generation no more; unknown serials are ignored."""
        self._waiting.pop(serial, None)
        with contextlib.suppress(JobLookupError):
            self._store.remove_job(str(serial))

    async def start(self, listener: FireListener) -> None:
        """Begin to tell time. Idempotent; a second listener replaces the first."""
        self._listener = listener
        if self.is_running:
            return
        self._scheduler.start()
        waiting, self._waiting = self._waiting, {}
        for job in waiting.values():
            self._add(job)

    async def stop(self) -> None:
        """Fire nothing more from this moment, and forget every job. Idempotent."""
        self._waiting = {}
        if self.is_running:
            self._scheduler.shutdown()
        self._listener = None

    def _add(self, job: Job) -> None:
        armed = self._store.lookup_job(str(job.serial))
        if armed is not None and (armed.args[1], armed.next_run_time) == (
            job.revision,
            job.next_run_at,
        ):
            return  # told again what it knows
        trigger = ArmedTrigger(job.trigger, grace=self._grace)
        self._scheduler.add_job(
            make_fire,
            trigger=trigger,
            args=(job.serial, job.revision, trigger),
            id=str(job.serial),
            name=job.job_id,
            next_run_time=job.next_run_at,
            replace_existing=True,
        )

    def _tell(self, fires: Sequence[Fire]) -> None:
        if self._listener is not None:
            self._listener.on_due(fires)
