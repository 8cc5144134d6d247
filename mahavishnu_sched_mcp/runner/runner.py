"""Runs what this process claimed, and records how it ended."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.run import Outcome, Run, RunError, RunState
from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.leadership import DeposedError
from mahavishnu_sched_mcp.runner import claims, starting
from mahavishnu_sched_mcp.runner.recorder import Recorder
from mahavishnu_sched_mcp.runner.starting import Rules, Taken
from mahavishnu_sched_mcp.tasks.context import RunContext
from mahavishnu_sched_mcp.tasks.permission import require_permission

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import timedelta

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import AlarmClock, Fire
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.runner.overlap import Bounds
    from mahavishnu_sched_mcp.tasks.executor import TaskExecutor

_RETRY_SECONDS = 0.5
_log = structlog.get_logger()


class Runner:
    """The leader's hands: it hears the alarm clock, claims, runs and records.

    Whatever it writes it writes as the leader: once another process leads, nothing of it counts.

    Args:
        leadership: Whether this process leads, and in which term.
        alarm: Told again of jobs whose next fire it does not know.
        is_idempotent: Whether a job's target may run twice.
        slots: How many runs may go on in this process at once.
        bounds: How many runs of one job may go on and wait.
        grace: Up to this late a fire counts as on time.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        leadership: Leadership,
        executor: TaskExecutor,
        alarm: AlarmClock,
        clock: Clock,
        is_idempotent: Callable[[Job], bool],
        slots: int,
        bounds: Bounds,
        grace: timedelta,
    ) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._executor = executor
        self._alarm = alarm
        self._clock = clock
        self._recorder = Recorder(
            ledger=ledger, leadership=leadership, clock=clock, is_idempotent=is_idempotent
        )
        self._slots = slots
        self._bounds = bounds
        self._grace = grace
        self._reserved = 0
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: dict[str, asyncio.Event] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.worker = f"{socket.gethostname()}:{os.getpid()}"

    async def lead(self) -> list[Run]:
        """Begin to run; accounts first for what the last leader left going."""
        self._is_stopping = False
        self._executor.open()
        return await self._recorder.take_over()

    def on_due(self, fires: Sequence[Fire]) -> None:
        """Take the fires of one pass of the alarm clock; see FireListener."""
        if not self._is_stopping:
            self._spawn(self._take(list(fires)))

    async def start_waiting(self) -> None:
        """Start runs that wait and may go on: queued, manual, replayed, retried, made up for."""
        if self._is_stopping or not self._leadership.is_leader:
            return
        rules = self._rules(held=self._free_slots())
        if self._ledger.read(lambda db: starting.has_startable(db, rules)):
            await self._claim(starting.release, most=starting.MOST_AT_ONCE)

    def is_running(self, run_id: str) -> bool:
        """Whether this process executes the run now."""
        return run_id in self._running

    def cancel(self, run_id: str) -> None:
        """Stop a run that goes on here; its end is recorded as cancelled."""
        asked = self.cancellation(run_id)
        task = self._running.get(run_id)
        if task is not None and not asked.is_set():  # a second cancel would break the clean-up
            task.cancel()
        asked.set()

    def cancellation(self, run_id: str) -> asyncio.Event:
        """Give the event that is set when someone asks to stop a run."""
        return self._cancelled.setdefault(run_id, asyncio.Event())

    async def finish(self, run_id: str, outcome: Outcome, *, term: int = 0) -> Run | None:
        """Record how the attempt of a run ended; see `Recorder.finish`."""
        run = await self._recorder.finish(run_id, outcome, term=term)
        self._cancelled.pop(run_id, None)
        return run

    async def begin(self, run_id: str, *, worker: str, term: int) -> Run | None:
        """Claim an attempt of a run that came through a queue; None: do not run it.

        Raises:
            DeposedError: another process leads.
        """
        now = self._clock.now()
        run = await self._leadership.write(
            lambda db: starting.begin_queued(db, run_id, at=now, worker=worker, term=term),
            term=term,
        )
        return run if run is not None and await self.may_start([run], term=term) else None

    async def may_start(self, claimed: Sequence[Run], *, term: int) -> bool:
        """Whether this process still leads: it may have been stopped since the claim.

        Where it does not, the new leader has accounted for what was claimed.

        Args:
            term: The term of the claim.
        """
        if not claimed or (self._leadership.is_trusted and self._leadership.term == term):
            return True
        while self._leadership.term == term:
            try:
                await self._leadership.renew()
            except DeposedError:
                break
            except SchedulerError as error:  # a full disk passes; nobody else can lead either
                _log.warning("lease_not_renewed", code=error.code, error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return True
        _log.warning("claims_of_lost_term", runs=[run.run_id for run in claimed])
        return False

    async def stop(self, *, drain: float) -> None:
        """Take no more fires, let runs go on for `drain` seconds, then end and record them."""
        self._is_stopping = True
        going = list(self._running.values())
        if going and drain > 0:
            await asyncio.wait(going, timeout=drain)
        for task in (*self._running.values(), *self._background):
            if not task.cancelling():  # a second cancel would break the clean-up
                task.cancel()
        await asyncio.gather(*self._running.values(), *self._background, return_exceptions=True)

    async def close_books(self) -> None:
        """Record as interrupted whatever still counts as running when the engines are down."""
        await self._recorder.close()

    async def _take(self, fires: list[Fire]) -> None:
        while not self._is_stopping:
            try:
                taken = await self._claim(
                    lambda db, rules, taken: _merge(taken, claims.take_due(db, fires, rules)),
                    most=len(fires),
                )
            except DeposedError:
                return  # the new leader takes them
            except SchedulerError as error:  # a full disk passes; the fires must not be lost
                _log.warning("claim_failed", code=error.code, error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for job in taken.to_arm:
                self._alarm.arm(job)
            for job, defect in taken.broken:
                self._alarm.disarm(job.serial)
                _log.error("job_quarantined", job_id=job.job_id, exc_info=defect)
            return

    async def _claim(
        self, change: Callable[[apsw.Connection, Rules, Taken], object], *, most: int
    ) -> Taken:
        held = min(self._free_slots(), most)
        rules, taken = self._rules(held=held), Taken()

        def claim(db: apsw.Connection) -> None:
            change(db, rules, taken)

        self._reserved += held
        try:
            await self._leadership.write(claim)
        finally:
            self._reserved -= held
        if await self.may_start([run for _, run in taken.started], term=rules.term):
            for job, run in taken.started:
                self._begin(job, run, term=rules.term)
        return taken

    def _free_slots(self) -> int:
        return max(0, self._slots - len(self._running) - self._reserved)

    def _rules(self, *, held: int) -> Rules:
        return Rules(
            now=self._clock.now(),
            grace=self._grace,
            term=self._leadership.term,
            worker=self.worker,
            slots=held,
            bounds=self._bounds,
        )

    def _begin(self, job: Job, run: Run, *, term: int) -> None:
        # Eagerly: a run that is cancelled before its first step would never be recorded.
        task = asyncio.Task(
            self._execute(job, run, term=term),
            loop=asyncio.get_running_loop(),
            name=f"run {run.run_id}",
            eager_start=True,
        )
        if not task.done():
            self._running[run.run_id] = task

    async def _execute(self, job: Job, run: Run, *, term: int) -> None:
        context = RunContext(
            job_id=job.job_id,
            run_id=run.run_id,
            attempt=len(run.attempts),
            scheduled_for=run.last_scheduled_for or run.scheduled_for,
        )
        require_permission(lambda: self.may_start([run], term=term))
        try:
            outcome = await self._executor.execute(
                job.definition.target,
                job.definition.params,
                context=context,
                timeout_seconds=job.definition.policies.timeout_seconds,
            )
        except asyncio.CancelledError:
            outcome = self._stopped(run)
        except Exception as error:  # noqa: BLE001 - the runner records whatever happens
            # A task may raise anything, and so may a defect of ours: the run is recorded.
            _log.exception("run_broke", run_id=run.run_id)
            outcome = Outcome(
                state=RunState.FAILED,
                reason="the server met a defect while it ran this; its log has more",
                error=RunError(type=type(error).__name__, message=""),
            )
        try:
            await self.finish(run.run_id, outcome, term=term)
        finally:
            self._running.pop(run.run_id, None)

    def _stopped(self, run: Run) -> Outcome:
        if self.cancellation(run.run_id).is_set():
            return Outcome(state=RunState.CANCELLED, reason="cancelled by request")
        return Outcome(state=RunState.INTERRUPTED, reason="the server stopped while it ran")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._put_away)

    def _put_away(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The ledger still has the fires: the job's next pass takes them as late ones.
            _log.error("fires_not_taken", exc_info=error)


def _merge(into: Taken, found: Taken) -> None:
    into.started += found.started
    into.to_arm += found.to_arm
    into.broken += found.broken
