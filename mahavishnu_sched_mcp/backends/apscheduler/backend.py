"""The engine for jobs that run inside this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.engine import (
    Backend,
    Capabilities,
    EngineState,
    Health,
    Receipt,
)
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.errors import BackendUnavailableError, InvalidStateError

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.backends.apscheduler.alarm import ApschedulerAlarmClock
    from mahavishnu_sched_mcp.backends.protocol import Dispatch
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.run import Run


class ApschedulerBackend:
    """Implements `SchedulerBackend` by arming jobs on the alarm clock.

    The alarm clock is started with its listener by whoever leads; runs are executed by the
    runner, so there is nothing to dispatch and nothing to cancel here.
    """

    def __init__(self, alarm_clock: ApschedulerAlarmClock, *, clock: Clock) -> None:
        """Join the parts.

        Args:
            alarm_clock: Where active jobs wait.
            clock: Dates the receipts.
        """
        self._alarm_clock = alarm_clock
        self._clock = clock

    @property
    def name(self) -> Backend:
        """Which engine it is."""
        return Backend.APSCHEDULER

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: everything but outlive this process."""
        return Capabilities()

    def health(self) -> Health:
        """Say how it is, from memory, at once."""
        if not self._alarm_clock.is_running:
            return Health(state=EngineState.IDLE, detail="The alarm clock is not started.")
        step = self._alarm_clock.last_step
        figures: dict[str, object] = {"armed": self._alarm_clock.armed}
        if step is not None:
            seconds = round(step.by.total_seconds(), 3)
            figures["clock_step"] = {"seconds": seconds, "at": step.at.isoformat()}
        return Health(state=EngineState.READY, figures=figures)

    async def ensure_started(self) -> None:
        """Return when the alarm clock runs.

        Raises:
            BackendUnavailableError: the leader has not started it yet, or stopped it.
        """
        if not self._alarm_clock.is_running:
            message = "The alarm clock of engine 'apscheduler' is not running in this process."
            raise BackendUnavailableError(
                message, hint="It starts with the leading server; get_status shows which one leads."
            )

    async def stop(self) -> None:
        """Stop the alarm clock. Idempotent; also valid before a start."""
        await self._alarm_clock.stop()

    async def apply(self, job: Job) -> Receipt:
        """Arm an active job that has a next fire; disarm every other one.

        Raises:
            BackendUnavailableError: the alarm clock does not run; apply the job again later.
        """
        if job.state is JobState.ACTIVE and job.next_run_at is not None:
            await self.ensure_started()
            self._alarm_clock.arm(job)
        else:
            self._alarm_clock.disarm(job.serial)
        return Receipt(at=self._clock.now())

    async def dispatch(self, work: Dispatch) -> Receipt:
        """Refuse: runs of this engine are executed in this process by the runner.

        Raises:
            InvalidStateError: always.
        """
        message = f"Run '{work.run_id}' of '{work.job_id}' runs in this process, not elsewhere."
        raise InvalidStateError(message, hint="Follow it with get_run.")

    async def cancel(self, run: Run) -> None:
        """Do nothing: the runner itself stops the runs of this process."""
