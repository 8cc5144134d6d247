"""The leader's errands: what the ledger says becomes what the engines do.

One loop looks at the ledger after every commit of any process: jobs that changed are armed or
applied, runs that wait are started or handed over, runs that someone asked to stop are stopped.
So an editor that does not lead has the same reach as the one that does.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.engine import Backend, EngineState, Health
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import BackendUnavailableError, SchedulerError
from mahavishnu_sched_mcp.ledger import job_lists, jobs, outbox, reports, runs
from mahavishnu_sched_mcp.runner import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import AlarmClock, SchedulerBackend
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.dispatch import Dispatch
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.runner import Runner

_ROUND_SECONDS = 1.0
_MOST_BACKOFF_SECONDS = 30.0
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
        clock: Clock,
        alarm: AlarmClock,
        engines: Mapping[Backend, SchedulerBackend],
        runner: Runner,
        resume: Callable[[apsw.Connection, Job], Job],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._alarm = alarm
        self._engines = engines
        self._runner = runner
        self._resume = resume
        self._change = 0
        self._loop: asyncio.Task[None] | None = None
        self._errands: dict[object, asyncio.Task[None]] = {}
        self._health: dict[Backend, Health] = {}
        self._reported = 0.0

    async def start(self) -> None:
        """Arm every active job and begin to follow the ledger. Idempotent."""
        if self._loop is not None:
            return
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
                self._run_errand(("start", backend), self._keep_started(backend))
        await self._alarm.start(self._runner)
        for job in (*everything, *ended):
            self._follow_job(job)
        await self._round()
        self._loop = asyncio.create_task(self._follow(), name="dispatcher")

    async def stop(self) -> None:
        """Send and start nothing more. Idempotent."""
        tasks = [*self._errands.values(), *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop = None
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
            await self._ledger.changed(since=seen, within=_ROUND_SECONDS)

    async def _round(self) -> None:
        changed, self._change = self._ledger.read(
            lambda db: job_lists.changed_since(db, self._change)
        )
        for job in changed:
            self._follow_job(job)
        await self._stop_cancelled()
        await self._runner.start_pending()
        self._hand_over()
        await self._resume_due()
        await self._report_health()

    def _follow_job(self, job: Job) -> None:
        engine = self._engines.get(job.backend)
        if engine is not None and not engine.capabilities.makes_own_fires:
            if job.state is JobState.ACTIVE and job.next_run_at is not None:
                self._alarm.arm(job)
            else:
                self._alarm.disarm(job.serial)
        if engine is None or job.backend is Backend.APSCHEDULER or not _needs_receipt(job):
            return
        self._run_errand(("apply", job.serial), self._apply(job.serial))

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
            await self._ledger.write(
                lambda db, job=job, given=receipt.reference: _take_receipt(db, job, given)  # type: ignore[misc]  # bound now
            )

    async def _note(self, job: Job, note: str) -> None:
        if job.state is JobState.PENDING and job.note != note:
            await self._ledger.write(lambda db: jobs.set_note(db, job.serial, note))

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
        now = self._clock.now()
        for backend, work in self._ledger.read(lambda db: outbox.due(db, now=now)):
            if backend in self._engines:
                self._run_errand(("send", work.run_id), self._send(backend, work))

    async def _send(self, backend: Backend, work: Dispatch) -> None:
        job, tries = self._ledger.read(
            lambda db: (
                jobs.require(db, runs.require(db, work.run_id).job_serial),
                outbox.tries(db, work.run_id),
            )
        )
        fresh = work.model_copy(update={"reference": job.reference})
        try:
            receipt = await self._engines[backend].dispatch(fresh)
        except SchedulerError as refusal:
            error, wait = refusal.message, min(0.5 * 2.0**tries, _MOST_BACKOFF_SECONDS)
            again = self._clock.now() + timedelta(seconds=wait)
            _log.warning("hand_over_failed", run_id=work.run_id, error=error)
            await self._ledger.write(
                lambda db: outbox.mark_failed(db, work.run_id, error=error, next_try_at=again),
                durable=False,
            )
            return
        at = self._clock.now()

        def taken(db: apsw.Connection) -> None:
            outbox.mark_sent(db, work.run_id, at=at)
            runs.refer(db, work.run_id, receipt.reference)
            if job.trigger is None and job.backend is Backend.ONEIRIC:
                _take_receipt(db, jobs.require(db, job.serial), receipt.reference)

        await self._ledger.write(taken)

    async def _stop_cancelled(self) -> None:
        for run_id in self._ledger.read(runs.cancel_requested):
            run = self._ledger.read(lambda db, wanted=run_id: runs.require(db, wanted))  # type: ignore[misc]  # bound now
            engine = self._engines.get(Backend(run.job_id.partition(":")[0]))
            is_mirrored = engine is not None and engine.capabilities.makes_own_fires
            if run.state is RunState.RUNNING and not is_mirrored:
                self._runner.cancel(run_id)
            if engine is not None and not self._runner.is_running(run_id):
                self._run_errand(("cancel", run_id), engine.cancel(run))
            if run.state is RunState.PENDING and not is_mirrored:
                at = self._clock.now()
                await self._ledger.write(
                    lambda db, waiting=run, at=at: outcomes.cancel_waiting(  # type: ignore[misc]  # bound now
                        db, waiting, reason="cancelled by request", at=at
                    )
                )

    async def _resume_due(self) -> None:
        now = self._clock.now()
        paused = self._ledger.read(lambda db: job_lists.pauses_over(db, now=now))
        for job in paused:
            await self._ledger.write(lambda db, due=job: self._resume(db, due))  # type: ignore[misc]  # bound now

    async def _report_health(self) -> None:
        """Write a new state down at once, new figures once a second: they move with every job."""
        found, moment = self.health(), self._clock.monotonic()
        is_news = _states(found) != _states(self._health)
        if not is_news and (found == self._health or moment < self._reported + _ROUND_SECONDS):
            return
        self._health, self._reported = found, moment
        at = self._clock.now()
        await self._ledger.write(lambda db: reports.save_health(db, found, at=at), durable=False)

    def _owed(self) -> set[Backend]:
        return {Backend(name) for name in self._ledger.read(outbox.waiting)}

    def _run_errand(self, key: object, work: Coroutine[None, None, None]) -> None:
        """Run something beside the loop, unless the same errand is under way."""
        if key in self._errands:
            work.close()
            return
        task = asyncio.create_task(self._guarded(work))
        self._errands[key] = task
        task.add_done_callback(lambda _: self._errands.pop(key, None))

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await work
            except Exception:  # noqa: BLE001 - the errands' loop guard
                # One errand's defect must not end the others; the ledger still has the work.
                _log.exception("errand_failed")
                await asyncio.sleep(_ROUND_SECONDS)


def _states(health: Mapping[Backend, Health]) -> dict[Backend, tuple[EngineState, str]]:
    return {name: (one.state, one.detail) for name, one in health.items()}


def _needs_receipt(job: Job) -> bool:
    if job.applied_revision >= job.revision:
        return False
    if job.backend is Backend.PREFECT:
        return True
    return job.state is JobState.PENDING and job.trigger is not None


def _take_receipt(db: apsw.Connection, job: Job, reference: dict[str, object]) -> None:
    jobs.record_receipt(db, job.serial, revision=job.revision, reference=reference)
    jobs.complete_if_over(db, job.serial)


def idle(backend: Backend, *, is_on: bool) -> Health:
    """Say how an engine is that this process knows nothing of."""
    if not is_on:
        return Health(state=EngineState.DISABLED, detail=f"switched off by schedulers ({backend})")
    return Health(state=EngineState.IDLE, detail="not needed so far")
