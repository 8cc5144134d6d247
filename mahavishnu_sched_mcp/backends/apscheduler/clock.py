"""APScheduler's asyncio scheduler with a precise, unmissable wake-up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

import structlog

from mahavishnu_sched_mcp.backends.apscheduler.library import AsyncIOScheduler, BaseScheduler
from mahavishnu_sched_mcp.backends.apscheduler.step_watch import StepWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from mahavishnu_sched_mcp.backends.apscheduler.executor import GatheringExecutor
    from mahavishnu_sched_mcp.backends.apscheduler.job_store import HeapJobStore
    from mahavishnu_sched_mcp.domain.clock import Clock

_RETRY_SECONDS = 1.0
_FURTHEST = 1.0  # the wall clock is looked at again at least every second
_MOST_PER_PASS = 200  # a storm of due jobs must not hold up the loop
_NANOSECONDS = 1_000_000_000

_log = structlog.get_logger()


class WakingScheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler ships no types
    """Wakes at the due instant of the wall clock, and at once when that clock is set.

    On Linux a timerfd on CLOCK_REALTIME wakes the loop (asyncio's own timers round up to a
    millisecond and do not see the wall clock step); elsewhere `call_later` does. It is never
    armed further ahead than a second. Many changes in one tick of the loop cost one pass.

    Attributes:
        step_watch: Compares the clocks at each wake.
    """

    _eventloop: asyncio.AbstractEventLoop | None = None

    def __init__(
        self, *, clock: Clock, job_store: HeapJobStore, executor: GatheringExecutor
    ) -> None:
        """Join the parts.

        Args:
            clock: Decides what is due.
            job_store: The only one.
            executor: The only one.
        """
        super().__init__(
            timezone=UTC,
            jobstores={"default": job_store},
            executors={"default": executor},
            job_defaults={"misfire_grace_time": None, "coalesce": False, "max_instances": 1},
        )
        self.step_watch = StepWatch(clock)
        self._clock = clock
        self._store = job_store
        self._executor = executor
        self._timer_fd: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_wake_pending = False
        self._thread_id = 0

    def start(self, paused: bool = False) -> None:
        """Begin to tell time on the running loop."""
        loop = self._eventloop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._is_wake_pending = False
        if hasattr(os, "timerfd_create"):
            flags = os.TFD_NONBLOCK | os.TFD_CLOEXEC
            self._timer_fd = os.timerfd_create(time.CLOCK_REALTIME, flags=flags)
            loop.add_reader(self._timer_fd, self._ring, self._timer_fd)
        super().start(paused)

    def shutdown(self, wait: bool = True) -> None:
        """Stop at once: no pass comes after this returns."""
        # AsyncIOScheduler would do it in a later tick of the loop
        BaseScheduler.shutdown(self, wait)
        self._stop_timer()
        if self._eventloop is not None and self._timer_fd is not None:
            self._eventloop.remove_reader(self._timer_fd)
            os.close(self._timer_fd)
        self._eventloop = self._timer_fd = None

    def wakeup(self) -> None:
        """Ask for a pass; many requests before it make one."""
        if self._is_wake_pending or self._eventloop is None:
            return
        self._is_wake_pending = True
        is_here = threading.get_ident() == self._thread_id
        soon: Callable[..., Any] = (
            self._eventloop.call_soon if is_here else self._eventloop.call_soon_threadsafe
        )
        soon(self._run)

    def _ring(self, timer_fd: int) -> None:
        # ECANCELED says that the wall clock was set, EAGAIN that another wake came first
        with contextlib.suppress(OSError):
            os.read(timer_fd, 8)
        self._run()

    def _run(self) -> None:
        self._is_wake_pending = False
        if not self.running:
            return
        wait: float | None = _RETRY_SECONDS
        try:
            self.step_watch.look()
            wait = self._process_jobs()
        except Exception:  # noqa: BLE001 - loop guard: the alarm clock goes on after any pass
            _log.exception("alarm_pass_failed", retry_seconds=_RETRY_SECONDS)
        finally:
            if self.running:
                self._start_timer(wait)

    def _process_jobs(self) -> float | None:
        """Fire each due job once, hand the fires over, and say how long to wait.

        A job whose following fire is due as well comes again in the next pass, at once; so do
        due jobs beyond the most that one pass takes.
        """
        now = self._clock.now()
        with self._jobstores_lock:
            for job in self._store.get_first_due_jobs(now, count=_MOST_PER_PASS):
                try:
                    self._fire(job, now)
                except Exception:  # noqa: BLE001 - loop guard: one job must not hold up the rest
                    _log.exception("alarm_disarmed", job_id=job.name, serial=job.id)
                    self._executor.submit_last(job, job.next_run_time)
                    self._store.remove_job(job.id)
        self._executor.hand_over()
        earliest = self._store.get_next_run_time()
        return (
            None if earliest is None else max(0.0, (earliest - self._clock.now()).total_seconds())
        )

    def _fire(self, job: Any, now: datetime) -> None:
        due = job.next_run_time
        following = job.trigger.get_next_fire_time(due, now)
        self._executor.submit_job(job, [due])
        if following is None:
            self._store.remove_job(job.id)
        else:
            job._modify(next_run_time=following)  # noqa: SLF001 - as APScheduler's own pass does
            self._store.update_job(job)

    def _start_timer(self, wait_seconds: float | None) -> None:
        self._stop_timer()
        if wait_seconds is None:
            return
        wait = min(wait_seconds, _FURTHEST)
        if self._timer_fd is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._run)
            return
        try:
            os.timerfd_settime_ns(
                self._timer_fd,
                flags=os.TFD_TIMER_ABSTIME | os.TFD_TIMER_CANCEL_ON_SET,
                initial=time.time_ns() + max(1, int(wait * _NANOSECONDS)),
            )
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            self.wakeup()  # the wall clock was set in between: look again

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._timer_fd is not None:
            os.timerfd_settime_ns(self._timer_fd, initial=0)
