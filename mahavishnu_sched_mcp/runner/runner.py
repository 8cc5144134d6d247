"""Runs what this process claimed, and records how it ended."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.run import Outcome, Run, RunError, RunState
from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.ledger import jobs, runs
from mahavishnu_sched_mcp.runner import claims, outcomes
from mahavishnu_sched_mcp.tasks.context import RunContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import timedelta

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import AlarmClock, Fire
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.tasks.executor import TaskExecutor

_RETRY_SECONDS = 0.5
_log = structlog.get_logger()


class Runner:
    """The leader's hands: it hears the alarm clock, claims, runs and records.

    Args:
        alarm: Told again of jobs whose next fire it does not know.
        is_idempotent: Whether a job's target may run twice.
        slots: How many runs may go on in this process at once.
        grace: Up to this late a fire counts as on time.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        executor: TaskExecutor,
        alarm: AlarmClock,
        clock: Clock,
        is_idempotent: Callable[[Job], bool],
        slots: int,
        grace: timedelta,
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._alarm = alarm
        self._clock = clock
        self._is_idempotent = is_idempotent
        self._slots = slots
        self._grace = grace
        self._reserved = 0
        self._term = 0
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: dict[str, asyncio.Event] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.worker = f"{socket.gethostname()}:{os.getpid()}"

    async def lead(self, term: int) -> list[Run]:
        """Begin to run in this term; accounts first for what the last leader left going."""
        self._term = term
        self._is_stopping = False
        self._executor.open()
        now = self._clock.now()

        def take_over(db: apsw.Connection) -> list[Run]:
            lost = outcomes.recover(db, at=now, is_idempotent=self._is_idempotent)
            jobs.end_ephemeral(db)
            outcomes.drop_orphans(db, at=now)
            return lost

        lost = await self._ledger.write(take_over)
        for run in lost:
            _log.warning("run_recovered", run_id=run.run_id, job_id=run.job_id, state=run.state)
        return lost

    def on_due(self, fires: Sequence[Fire]) -> None:
        """Take the fires of one pass of the alarm clock; see FireListener."""
        if not self._is_stopping:
            self._spawn(self._take(list(fires)))

    async def start_pending(self) -> None:
        """Start runs of in-process jobs that wait: manual ones, replays, re-runs, late ones."""
        waiting = self._ledger.read(_pending_here)
        if not waiting or self._is_stopping:
            return
        await self._claim(
            lambda db, rules, taken: claims.begin_waiting(db, waiting, rules, taken),
            most=len(waiting),
        )

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

    async def finish(self, run_id: str, outcome: Outcome) -> Run:
        """Record how the attempt of a run ended; tries until the ledger takes it."""
        at = self._clock.now()
        while True:
            try:
                run = await self._ledger.write(
                    lambda db: outcomes.record(
                        db, run_id, outcome, at=at, is_idempotent=self._is_idempotent
                    ),
                    durable=False,
                )
                break
            except SchedulerError as error:  # a full disk passes; the outcome must not be lost
                _log.warning("outcome_not_recorded", run_id=run_id, error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
        self._cancelled.pop(run_id, None)
        _log.info(
            "run_finished",
            job_id=run.job_id,
            run_id=run_id,
            state=run.state,
            duration_ms=None if run.duration is None else round(run.duration.total_seconds() * 1e3),
        )
        return run

    async def begin(self, run_id: str, *, worker: str) -> Run | None:
        """Claim an attempt of a run that came through a queue; None: do not run it."""
        now, term = self._clock.now(), self._term
        return await self._ledger.write(
            lambda db: runs.begin_attempt(db, run_id, at=now, worker=worker, term=term)
        )

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
        now = self._clock.now()
        await self._ledger.write(
            lambda db: outcomes.recover(db, at=now, is_idempotent=self._is_idempotent)
        )

    async def _take(self, fires: list[Fire]) -> None:
        while True:
            try:
                taken = await self._claim(
                    lambda db, rules, taken: _merge(taken, claims.take_due(db, fires, rules)),
                    most=len(fires),
                )
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
        self,
        change: Callable[[apsw.Connection, claims.Rules, claims.Taken], object],
        *,
        most: int,
    ) -> claims.Taken:
        slots = max(0, self._slots - len(self._running) - self._reserved)
        held = min(slots, most)
        rules = claims.Rules(
            now=self._clock.now(),
            grace=self._grace,
            term=self._term,
            worker=self.worker,
            slots=held,
        )
        taken = claims.Taken()

        def claim(db: apsw.Connection) -> claims.Taken:
            change(db, rules, taken)
            return taken

        self._reserved += held
        try:
            await self._ledger.write(claim)
        finally:
            self._reserved -= held
        for job, run in taken.started:
            self._begin(job, run)
        return taken

    def _begin(self, job: Job, run: Run) -> None:
        # Eagerly: a run that is cancelled before its first step would never be recorded.
        task = asyncio.Task(
            self._execute(job, run),
            loop=asyncio.get_running_loop(),
            name=f"run {run.run_id}",
            eager_start=True,
        )
        if not task.done():
            self._running[run.run_id] = task

    async def _execute(self, job: Job, run: Run) -> None:
        context = RunContext(
            job_id=job.job_id,
            run_id=run.run_id,
            attempt=len(run.attempts),
            scheduled_for=run.last_scheduled_for or run.scheduled_for,
        )
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
            await self.finish(run.run_id, outcome)
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


def _pending_here(db: apsw.Connection) -> list[Run]:
    waiting = runs.all_open(db, state=RunState.PENDING)
    return [run for run in waiting if run.job_id.startswith(f"{Backend.APSCHEDULER}:")]


def _merge(into: claims.Taken, found: claims.Taken) -> None:
    into.started += found.started
    into.to_arm += found.to_arm
    into.broken += found.broken
