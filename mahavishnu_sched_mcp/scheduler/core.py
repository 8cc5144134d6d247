"""What all calls of the scheduler share: its parts, its life, its waiting."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState, Origin
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import LedgerCorruptError, ShuttingDownError
from mahavishnu_sched_mcp.ledger import jobs, run_lists, runs
from mahavishnu_sched_mcp.ledger.keys import Call
from mahavishnu_sched_mcp.scheduler import creation
from mahavishnu_sched_mcp.scheduler.checks import RESERVED_PREFIX
from mahavishnu_sched_mcp.scheduler.request import JobRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from mahavishnu_sched_mcp.domain.catalog import Catalog
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.run import Run
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.scheduler.admission import Admission
    from mahavishnu_sched_mcp.scheduler.lead import Lead
    from mahavishnu_sched_mcp.tasks.registry import TaskRegistry

RECEIPT_SECONDS = 1.4
"""A call waits so long for an engine's receipt; every call has to answer within 2 s."""

PRINCIPAL = "local"
"""Over stdio there is one principal."""

type Progress = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the scheduler is made of.

    Attributes:
        system_jobs: The server's own chores: task name to period in seconds; None switches
            one off.
        most_jobs: `limits.max_jobs`.
        notices: What the operator should know of the settings.
        remote: Engines whose server is the user's own: when it does not answer, a creating
            call is refused instead of kept pending.
    """

    ledger: Ledger
    clock: Clock
    catalog: Catalog
    registry: TaskRegistry
    admission: Admission
    lead: Lead
    enabled: frozenset[Backend]
    most_jobs: int
    system_jobs: Mapping[str, float | None]
    notices: Sequence[str] = ()
    remote: frozenset[Backend] = frozenset()


class SchedulerCore:
    """The parts and their life; what the calls are built on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._clock = parts.clock
        self._is_started = False
        self._is_stopping = False
        self._refused: LedgerCorruptError | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this process fires the jobs of the data dir."""
        return self._parts.lead.is_leader

    async def start(self, *, lead: bool = True) -> None:
        """Open the ledger and take the lead or wait for it. Idempotent.

        With a ledger that is damaged or newer than this version nothing is led and nothing is
        written: the calls that need it are refused, the others are answered.

        Args:
            lead: False only looks and asks: this process never fires.

        Raises:
            StorageFullError: there is no room.
        """
        if self._is_started:
            return
        self._refused = None
        try:
            await self._ledger.open()
        except LedgerCorruptError as error:
            self._refused = error
        self._is_started, self._is_stopping = True, False
        if lead and self._refused is None:
            await self._parts.lead.start(self._keep_system_jobs)

    async def stop(self, *, drain: float = 0.7) -> None:
        """Refuse new calls, let runs go on for `drain` seconds, end everything. Idempotent."""
        if not self._is_started or self._is_stopping:
            return
        self._is_stopping = True
        await self._parts.lead.stop(drain=drain)
        await self._ledger.close()
        self._is_started = False

    @asynccontextmanager
    async def lifecycle(self) -> AsyncIterator[None]:
        """Start, and stop at the end."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def _require_open(self) -> None:
        if self._is_stopping or not self._is_started:
            msg = "The server is shutting down and takes no new calls."
            raise ShuttingDownError(msg, hint="Call again when it is back; nothing was changed.")
        if self._refused is not None:
            raise self._refused

    def _require_ledger(self) -> None:
        if not self._is_started:
            msg = "The server stopped before the answer to this call was known."
            raise ShuttingDownError(msg, hint="Ask with get_job or get_run when it is back.")

    async def _settled(self, serial: int) -> Job:
        """Wait for the engine's receipt as long as a call may, and give the job as it is then."""
        end = self._clock.monotonic() + RECEIPT_SECONDS
        while True:
            self._require_ledger()
            seen = self._ledger.version
            job = self._ledger.read(lambda db: jobs.require(db, serial))
            left = end - self._clock.monotonic()
            if left <= 0 or not _waits_for_engine(job):
                return job
            await self._ledger.changed(since=seen, within=left)

    async def _finished(
        self, run_id: str, *, wait_seconds: float, on_progress: Progress | None
    ) -> Run:
        """Wait for a run's end, telling how far it is, and give it as it is then."""
        began = self._clock.monotonic()
        while True:
            self._require_ledger()
            seen = self._ledger.version
            run = self._ledger.read(lambda db: runs.require(db, run_id))
            gone = self._clock.monotonic() - began
            if run.state.is_final or gone >= wait_seconds:
                return run
            if on_progress is not None:
                words = run.state.value if run.reason is None else f"{run.state}: {run.reason}"
                await on_progress(gone, wait_seconds, words)
            await self._ledger.changed(since=seen, within=min(1.0, wait_seconds - gone))

    def _call(self, tool: str, key: str | None, arguments: JsonObject) -> Call | None:
        return None if key is None else Call(PRINCIPAL, tool, key, arguments)

    async def _keep_system_jobs(self) -> None:
        """Make the server's own chores as the settings have them."""
        now = self._clock.now()
        for task, period in self._parts.system_jobs.items():
            name = f"{RESERVED_PREFIX}{task.replace('_', '-')}"
            if period is None:
                await self._parts.lead.write(lambda db, gone=name: _end_system_job(db, gone))  # type: ignore[misc]  # bound now
                continue
            trigger = TriggerRequest(type="interval", seconds=period)
            definition = self._parts.admission.chore(task, trigger=trigger)
            request = JobRequest(
                definition=definition,
                trigger=self._parts.admission.resolve(trigger, now=now),
                id=name,
                name=None,
                tags=(),
                created_by="mahavishnu-sched-mcp",
                at=now,
                origin=Origin.SYSTEM,
                replace=True,
            )
            await self._parts.lead.write(
                lambda db, wanted=request: creation.create(db, wanted, most_jobs=0)  # type: ignore[misc]  # bound now
            )


def _waits_for_engine(job: Job) -> bool:
    if job.state is JobState.PENDING:
        return True
    return job.backend is Backend.PREFECT and job.applied_revision < job.revision


def _end_system_job(db: Any, name: str) -> None:
    job = jobs.find(db, f"{Backend.APSCHEDULER}:{name}")
    if job is not None and not job.state.is_over:
        for run in run_lists.open_of(db, job.serial):
            if run.state is RunState.PENDING:
                runs.request_cancel(db, run.run_id, reason="switched off")
        jobs.set_state(db, job.serial, JobState.CANCELLED)
