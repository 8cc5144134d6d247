"""The leader's errands: what the ledger says becomes what the engines do.

One loop looks at the ledger after every commit of any process: jobs that changed are armed or
applied, runs that wait are started or handed over, runs that someone asked to stop are stopped.
So an editor that does not lead has the same reach as the one that does.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.dispatcher.errands import Errands
from mahavishnu_sched_mcp.dispatcher.outgoing import Outgoing, take_receipt
from mahavishnu_sched_mcp.domain.engine import Backend, EngineState, Health
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import BackendUnavailableError, SchedulerError
from mahavishnu_sched_mcp.ledger import job_lists, jobs, outbox, reports, run_lists, runs, waiting
from mahavishnu_sched_mcp.runner import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import AlarmClock, SchedulerBackend
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.runner import Runner

_ROUND_SECONDS = 1.0
_MOST_BACKOFF_SECONDS = 30.0
_LEAST_STEP_SECONDS = 5.0
_GOING = {JobState.ACTIVE, JobState.PENDING}
_log = structlog.get_logger()


class Dispatcher:
    """Keeps alarm clock and engines in step with the ledger while this process leads.

    Args:
        engines: The engines that are switched on.
        resume: Resumes a job whose pause has run out, inside a transaction.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        leadership: Leadership,
        clock: Clock,
        alarm: AlarmClock,
        engines: Mapping[Backend, SchedulerBackend],
        runner: Runner,
        resume: Callable[[apsw.Connection, Job], Job],
    ) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._clock = clock
        self._alarm = alarm
        self._engines = engines
        self._runner = runner
        self._resume = resume
        self._change = 0
        self._loop: asyncio.Task[None] | None = None
        self._errands = Errands()
        self._outgoing = Outgoing(
            ledger=ledger, leadership=leadership, clock=clock, engines=engines
        )
        self._health: dict[Backend, Health] = {}
        self._reported = 0.0
        self._looked: tuple[datetime, float] | None = None

    async def start(self) -> None:
        """Arm every active job and begin to follow the ledger. Idempotent."""
        if self._loop is not None:
            return
        # What another leader did in between is unknown here.
        self._health, self._looked = {}, None
        # The number first: what changes between the looks is followed twice, never missed.
        self._change, everything, ended = self._ledger.read(
            lambda db: (
                job_lists.newest_change(db),
                job_lists.unfinished(db),
                job_lists.unapplied(db, backend=Backend.PREFECT),
            )
        )
        going = {job.backend for job in everything if job.state in _GOING}
        for backend in going | {job.backend for job in ended} | self._owed():
            if backend is not Backend.APSCHEDULER:
                self._errands.run(("start", backend), self._keep_started(backend))
        await self._alarm.start(self._runner)
        for job in (*everything, *ended):
            self._follow_job(job)
        await self._round()
        self._loop = asyncio.create_task(self._follow(), name="dispatcher")

    async def stop(self) -> None:
        """Send and start nothing more. Idempotent."""
        following, self._loop = self._loop, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await self._errands.stop()
        await self._alarm.stop()

    def health(self) -> dict[Backend, Health]:
        """Say how the engines are now."""
        return {name: engine.health() for name, engine in self._engines.items()}

    async def _follow(self) -> None:
        while True:
            seen = self._ledger.version
            try:
                await self._round()
            except SchedulerError as error:  # a full disk must not end the errands
                _log.warning("round_failed", code=error.code, error=error.message)
                await asyncio.sleep(_ROUND_SECONDS)
            except Exception:  # noqa: BLE001 - the leader's loop guard: without it nothing fires
                _log.exception("round_broke")
                await asyncio.sleep(_ROUND_SECONDS)
            await self._ledger.changed(since=seen, within=self._pause())

    async def _round(self) -> None:
        await self._follow_clock()
        changed, self._change = self._ledger.read(
            lambda db: job_lists.changed_since(db, self._change)
        )
        for job in changed:
            self._follow_job(job)
        await self._stop_cancelled()
        await self._runner.start_waiting()
        self._hand_over()
        await self._resume_due()
        await self._report_health()

    def _pause(self) -> float:
        """Give the seconds until the next look: a second, less where a retry is due before."""
        now = self._clock.now()
        due = self._ledger.read(lambda db: waiting.next_available(db, after=now))
        left = _ROUND_SECONDS if due is None else (due - now).total_seconds()
        return min(_ROUND_SECONDS, max(0.0, left))

    async def _follow_clock(self) -> None:
        """Shorten all waits by what the wall clock was set back: they are durations."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        before, self._looked = self._looked, (now, ticks)
        if before is None:
            return
        back = (ticks - before[1]) - (now - before[0]).total_seconds()
        if back >= _LEAST_STEP_SECONDS:
            await self._leadership.write(
                lambda db: waiting.bring_forward(db, seconds=back), durable=False
            )

    def _follow_job(self, job: Job) -> None:
        engine = self._engines.get(job.backend)
        if engine is not None and not engine.capabilities.makes_own_fires:
            if job.state is JobState.ACTIVE and job.next_run_at is not None:
                self._alarm.arm(job)
            else:
                self._alarm.disarm(job.serial)
        if engine is None or job.backend is Backend.APSCHEDULER or not _needs_receipt(job):
            return
        self._errands.run(("apply", job.serial), self._apply(job.serial))

    async def _apply(self, serial: int) -> None:
        """Bring one job to its engine, again and again until the newest revision is there."""
        tries = 0
        while True:
            job = self._ledger.read(lambda db: jobs.require(db, serial))
            if job.applied_revision >= job.revision:
                return
            try:
                receipt = await self._engines[job.backend].apply(job)
            except BackendUnavailableError as error:
                await self._note(job, f"Waiting for {job.backend}: {error.message}")
                await asyncio.sleep(min(2.0**tries, _MOST_BACKOFF_SECONDS))
                tries += 1
                continue
            except SchedulerError as error:
                await self._note(job, f"{job.backend} refused it: {error}")
                return
            await self._leadership.write(
                lambda db, job=job, given=receipt.reference: take_receipt(db, job, given)  # type: ignore[misc]  # bound now
            )

    async def _note(self, job: Job, note: str) -> None:
        if job.state is JobState.PENDING and job.note != note:
            await self._leadership.write(lambda db: jobs.set_note(db, job.serial, note))

    async def _keep_started(self, backend: Backend) -> None:
        """Start an engine that has unfinished work, until it is up."""
        tries = 0
        while backend in self._engines:
            try:
                await self._engines[backend].ensure_started()
            except BackendUnavailableError as error:
                _log.warning("engine_not_started", backend=backend, error=error.message)
                await asyncio.sleep(min(2.0**tries, _MOST_BACKOFF_SECONDS))
                tries += 1
            else:
                return

    def _hand_over(self) -> None:
        for backend, work in self._outgoing.due():
            if backend in self._engines:
                self._errands.run(("send", work.run_id), self._outgoing.send(backend, work))

    async def _stop_cancelled(self) -> None:
        for run_id in self._ledger.read(run_lists.cancel_requested):
            run = self._ledger.read(lambda db, wanted=run_id: runs.require(db, wanted))  # type: ignore[misc]  # bound now
            engine = self._engines.get(Backend(run.job_id.partition(":")[0]))
            is_mirrored = engine is not None and engine.capabilities.makes_own_fires
            if run.state is RunState.RUNNING and not is_mirrored:
                self._runner.cancel(run_id)
            if engine is not None and not self._runner.is_running(run_id):
                self._errands.run(("cancel", run_id), engine.cancel(run))
            if run.state is RunState.PENDING and not is_mirrored:
                at = self._clock.now()
                await self._leadership.write(
                    lambda db, idle=run, at=at: outcomes.cancel_waiting(  # type: ignore[misc]  # bound now
                        db, idle, reason="cancelled by request", at=at
                    )
                )

    async def _resume_due(self) -> None:
        now = self._clock.now()
        paused = self._ledger.read(lambda db: job_lists.pauses_over(db, now=now))
        for job in paused:
            await self._leadership.write(lambda db, due=job: self._resume(db, due))  # type: ignore[misc]  # bound now

    async def _report_health(self) -> None:
        """Write a new state down at once, new figures once a second: they move with every job."""
        found, moment = self.health(), self._clock.monotonic()
        is_news = _states(found) != _states(self._health)
        if not is_news and (found == self._health or moment < self._reported + _ROUND_SECONDS):
            return
        self._health, self._reported = found, moment
        at = self._clock.now()
        await self._leadership.write(
            lambda db: reports.save_health(db, found, at=at), durable=False
        )

    def _owed(self) -> set[Backend]:
        return {Backend(name) for name in self._ledger.read(outbox.waiting)}


def _states(health: Mapping[Backend, Health]) -> dict[Backend, tuple[EngineState, str]]:
    return {name: (one.state, one.detail) for name, one in health.items()}


def _needs_receipt(job: Job) -> bool:
    if job.applied_revision >= job.revision:
        return False
    if job.backend is Backend.PREFECT:
        return True
    return job.state is JobState.PENDING and job.trigger is not None


def idle(backend: Backend, *, is_on: bool) -> Health:
    """Say how an engine is that this process knows nothing of."""
    if not is_on:
        return Health(state=EngineState.DISABLED, detail=f"switched off by schedulers ({backend})")
    return Health(state=EngineState.IDLE, detail="not needed so far")
