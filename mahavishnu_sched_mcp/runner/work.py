"""What queue workers and mirrored engines ask of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.run import Cause, Outcome, Run, RunState
from mahavishnu_sched_mcp.leadership import DeposedError
from mahavishnu_sched_mcp.ledger import job_lists, jobs, runs
from mahavishnu_sched_mcp.runner import outcomes
from mahavishnu_sched_mcp.runner.records import fire_run_id
from mahavishnu_sched_mcp.tasks.context import RunContext
from mahavishnu_sched_mcp.tasks.permission import require_permission

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import MirroredRun
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.run import NodeRun
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.runner.runner import Runner
    from mahavishnu_sched_mcp.tasks.executor import TaskExecutor


class _Begun(NamedTuple):
    """An attempt that goes on here.

    Attributes:
        at: On the monotonic clock: nobody sets that.
    """

    term: int
    at: float


class QueueWork:
    """The WorkPort of queue workers in this process."""

    def __init__(
        self,
        *,
        runner: Runner,
        leadership: Leadership,
        ledger: Ledger,
        executor: TaskExecutor,
        clock: Clock,
    ) -> None:
        self._runner = runner
        self._leadership = leadership
        self._clock = clock
        self._ledger = ledger
        self._executor = executor
        self._begun: dict[str, _Begun] = {}

    async def begin(self, run_id: str, *, worker: str) -> Run | None:
        """Claim an attempt; None: do not run it, acknowledge its message.

        Raises:
            DeposedError: another process leads; the message is its own affair.
        """
        term = self._leadership.term
        run = await self._runner.begin(run_id, worker=worker, term=term)
        if run is not None:
            self._begun[run_id] = _Begun(term, self._clock.monotonic())
        return run

    async def record_node(self, run_id: str, node: NodeRun) -> None:
        """Remember how a node of this run is."""
        await self._leadership.write(
            lambda db: runs.record_node(db, run_id, node),
            durable=False,
            term=self._term_of(run_id),
        )

    async def finish(self, run_id: str, outcome: Outcome) -> Run:
        """Record how the attempt ended.

        Raises:
            DeposedError: another process leads, and has accounted for the attempt.
        """
        run = await self._runner.finish(run_id, outcome, term=self._term_of(run_id))
        self._begun.pop(run_id, None)
        if run is None:
            msg = f"The attempt of run {run_id} belongs to a term that is over."
            raise DeposedError(msg, hint="get_status shows who leads.")
        return run

    async def execute_task(
        self,
        task: str,
        params: JsonObject,
        *,
        run: Run,
        timeout_seconds: float | None,
        node: str,
        upstream: JsonObject,
    ) -> Outcome:
        """Run one task of the catalog as a node of a run, within what is left of the job's time."""
        left = self._left(run)
        if left is not None and left <= 0:
            return Outcome(state=RunState.TIMED_OUT, reason="the job's timeout is used up")
        limits = [limit for limit in (timeout_seconds, left) if limit is not None]
        context = RunContext(
            job_id=run.job_id,
            run_id=run.run_id,
            attempt=len(run.attempts),
            scheduled_for=run.last_scheduled_for or run.scheduled_for,
            node=node,
            upstream=upstream,
        )
        term = self._term_of(run.run_id)
        require_permission(lambda: self._runner.may_start([run], term=term))
        return await self._executor.execute(
            task, params, context=context, timeout_seconds=min(limits, default=None)
        )

    def _left(self, run: Run) -> float | None:
        """Give the seconds that the job's own timeout leaves this attempt; None without one."""
        job = self._ledger.read(lambda db: jobs.of_run(db, run))
        limit, begun = job.definition.policies.timeout_seconds, self._begun.get(run.run_id)
        if limit is None or begun is None:
            return None
        return limit - (self._clock.monotonic() - begun.at)

    def _term_of(self, run_id: str) -> int:
        begun = self._begun.get(run_id)
        return 0 if begun is None else begun.term

    async def cancelled(self, run_id: str) -> None:
        """Return when someone asks to stop this run."""
        await self._runner.cancellation(run_id).wait()


class Mirror:
    """The MirrorPort of Prefect, whose own scheduler makes the fires."""

    def __init__(self, *, ledger: Ledger, leadership: Leadership, clock: Clock) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._clock = clock

    async def mirrored_jobs(self) -> Sequence[Job]:
        """Give the unfinished jobs of Prefect that have a receipt."""
        found = self._ledger.read(lambda db: job_lists.unfinished(db, backend=Backend.PREFECT))
        return [job for job in found if job.reference]

    async def mirror(self, job_serial: int, runs: Sequence[MirroredRun]) -> None:
        """Write the engine's runs into the ledger: one record per fire, never a second."""
        now, seen = self._clock.now(), list(runs)

        def write(db: apsw.Connection) -> None:
            for run in seen:
                _mirror_run(db, job_serial, run, at=now)

        await self._leadership.write(write, durable=False)


def _mirror_run(db: apsw.Connection, serial: int, seen: MirroredRun, *, at: datetime) -> None:
    job = jobs.require(db, serial)
    run_id = seen.run_id or fire_run_id(job, seen.scheduled_for)
    known = runs.get(db, run_id)
    if known is None:
        fresh = Run(
            run_id=run_id,
            job_id=job.job_id,
            job_serial=serial,
            scheduled_for=seen.scheduled_for,
            cause=Cause.SCHEDULE,
            state=RunState.PENDING,
            reason="waiting for Prefect's worker",
        )
        if not runs.insert(db, fresh, at=at):
            return
        known = fresh
    if known.state.is_final:
        return
    runs.refer(db, run_id, seen.reference)
    if seen.started_at is not None and known.state is RunState.PENDING:
        runs.begin_attempt(db, run_id, at=seen.started_at, worker="prefect", term=0)
    for node in seen.nodes:
        runs.record_node(db, run_id, node)
    if seen.is_skipped:
        reason = seen.outcome.reason if seen.outcome else None
        skipped = Outcome(state=RunState.SKIPPED, reason=reason or "skipped by Prefect")
        outcomes.close(db, job, run_id, skipped, at=seen.finished_at or at)
    elif seen.outcome is not None:
        ended = seen.finished_at or at
        runs.end_attempt(db, run_id, outcome=seen.outcome.state, at=ended)
        outcomes.close(db, job, run_id, seen.outcome, at=ended)
