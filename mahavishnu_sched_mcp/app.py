"""MahavishnuApp: the only place that names concrete classes and puts them together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.apscheduler.alarm import ApschedulerAlarmClock
from mahavishnu_sched_mcp.backends.apscheduler.backend import ApschedulerBackend
from mahavishnu_sched_mcp.backends.oneiric.backend import OneiricBackend
from mahavishnu_sched_mcp.backends.prefect.backend import PrefectBackend
from mahavishnu_sched_mcp.composition import build_catalog, build_executor, build_registry
from mahavishnu_sched_mcp.dispatcher import Dispatcher, idle
from mahavishnu_sched_mcp.domain.clock import Clock, SystemClock
from mahavishnu_sched_mcp.domain.engine import Backend, Health
from mahavishnu_sched_mcp.leadership import Leadership
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.probes import LedgerMetricsProbe, LedgerReminders, LedgerStatusProbe
from mahavishnu_sched_mcp.retention import LedgerRetention
from mahavishnu_sched_mcp.runner import Runner
from mahavishnu_sched_mcp.runner.overlap import Bounds
from mahavishnu_sched_mcp.runner.work import Mirror, QueueWork
from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler
from mahavishnu_sched_mcp.scheduler.admission import Admission
from mahavishnu_sched_mcp.scheduler.change import resume_if_due
from mahavishnu_sched_mcp.scheduler.core import Parts
from mahavishnu_sched_mcp.scheduler.lead import Lead
from mahavishnu_sched_mcp.settings import unsupported
from mahavishnu_sched_mcp.upkeep import LEDGER_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import SchedulerBackend
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.settings import Settings

_LAST_SECONDS = 0.4
"""What still runs after the drain gets so long to end."""


class MahavishnuApp:
    """One scheduler, put together from settings.

    Building it checks the catalog, so wrong settings stop the start; nothing is opened yet.

    Args:
        settings: Loaded by `load_settings`.
        config_path: The file they came from; Prefect's own processes read it again.
        clock: The machine's, unless a test moves its own.

    Raises:
        SettingsError: the catalog cannot be built; names the key and the mend.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        config_path: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._config_path = config_path
        self._clock = clock or SystemClock()
        self.registry = build_registry(settings)
        self.catalog = build_catalog(settings, self.registry)
        self.scheduler = self._build_scheduler()

    @asynccontextmanager
    async def lifecycle(self) -> AsyncIterator[MahavishnuApp]:
        """Start the scheduler, and stop it at the end."""
        await self.start_scheduler()
        try:
            yield self
        finally:
            await self.stop_scheduler()

    async def start_scheduler(self) -> None:
        """Start the scheduler. Idempotent.

        With a damaged ledger every call that needs it is refused; see `scheduler.start`.

        Raises:
            StorageFullError: there is no room for the ledger.
        """
        await self.scheduler.start()

    async def stop_scheduler(self, *, drain: float = 0.7) -> None:
        """Stop the scheduler; runs may go on for `drain` seconds. Idempotent."""
        self._executor.hurry(grace_seconds=_LAST_SECONDS)
        await self.scheduler.stop(drain=drain)
        await self._executor.aclose(grace_seconds=_LAST_SECONDS)

    def _build_scheduler(self) -> MahavishnuScheduler:
        settings, clock = self.settings, self._clock
        data_dir = settings.data_path
        ledger = Ledger(data_dir / LEDGER_NAME)
        leadership = Leadership(data_dir / "leader.lock", ledger=ledger, clock=clock)
        enabled = _enabled(settings)
        admission = Admission(
            catalog=self.catalog,
            registry=self.registry,
            limits=settings.limits,
            enabled=enabled,
            timezone=settings.timezone,
        )
        engines: dict[Backend, SchedulerBackend] = {}

        def health() -> Mapping[Backend, Health]:
            known = {name: idle(name, is_on=name in enabled) for name in Backend}
            return known | {name: engine.health() for name, engine in engines.items()}

        ports = _ServerPorts(
            status=LedgerStatusProbe(
                leadership=leadership,
                clock=clock,
                data_dir=data_dir,
                health=health,
                blockages=lambda: self._executor.blockages.shown(),  # noqa: PLW0108 - not built yet
            ),
            metrics=LedgerMetricsProbe(
                ledger=ledger,
                leadership=leadership,
                clock=clock,
                ledger_path=data_dir / LEDGER_NAME,
            ),
            reminders=LedgerReminders(leadership=leadership, clock=clock),
            retention=LedgerRetention(
                ledger=ledger,
                leadership=leadership,
                clock=clock,
                runs_days=settings.retention.runs_days,
                runs_per_job=settings.retention.runs_per_job,
            ),
        )
        self._executor = build_executor(settings, self.registry, ports)
        alarm = ApschedulerAlarmClock(
            clock, grace=timedelta(seconds=settings.schedulers.misfire_grace_seconds)
        )
        runner = Runner(
            ledger=ledger,
            leadership=leadership,
            executor=self._executor,
            alarm=alarm,
            clock=clock,
            is_idempotent=lambda job: admission.is_idempotent(job.definition),
            slots=settings.limits.max_concurrent_runs,
            bounds=Bounds(
                together=settings.limits.max_overlap, queued=settings.limits.max_queued_per_job
            ),
            grace=timedelta(seconds=settings.schedulers.misfire_grace_seconds),
        )
        engines |= self._build_engines(
            enabled, alarm=alarm, runner=runner, ledger=ledger, leadership=leadership
        )

        def resumed(db: apsw.Connection, job: Job) -> Job:
            return resume_if_due(db, job.serial, at=clock.now())

        dispatcher = Dispatcher(
            ledger=ledger,
            leadership=leadership,
            clock=clock,
            alarm=alarm,
            engines=engines,
            runner=runner,
            resume=resumed,
        )
        lead = Lead(
            leadership=leadership,
            runner=runner,
            dispatcher=dispatcher,
            engines=engines,
        )
        parts = Parts(
            ledger=ledger,
            clock=clock,
            catalog=self.catalog,
            registry=self.registry,
            admission=admission,
            lead=lead,
            enabled=enabled,
            most_jobs=settings.limits.max_jobs,
            system_jobs=_system_jobs(settings, enabled),
            notices=unsupported(settings),
            remote=frozenset({Backend.PREFECT})
            if settings.schedulers.prefect_server_url
            else frozenset(),
        )
        return MahavishnuScheduler(parts)

    def _build_engines(
        self,
        enabled: frozenset[Backend],
        *,
        alarm: ApschedulerAlarmClock,
        runner: Runner,
        ledger: Ledger,
        leadership: Leadership,
    ) -> dict[Backend, SchedulerBackend]:
        settings, clock = self.settings, self._clock
        engines: dict[Backend, SchedulerBackend] = {}
        if Backend.APSCHEDULER in enabled:
            engines[Backend.APSCHEDULER] = ApschedulerBackend(alarm, clock=clock)
        if Backend.ONEIRIC in enabled:
            engines[Backend.ONEIRIC] = OneiricBackend(
                workflows=self.catalog.workflows,
                tasks=self.catalog.tasks,
                work=QueueWork(
                    runner=runner,
                    leadership=leadership,
                    ledger=ledger,
                    executor=self._executor,
                    clock=clock,
                ),
                clock=clock,
                queue_path=settings.data_path / "queue.db",
                concurrency=settings.queues.sqlite.concurrency,
                worker_name=runner.worker,
                max_output_bytes=settings.limits.max_output_bytes,
            )
        key = settings.prefect.api_key
        if Backend.PREFECT in enabled:
            engines[Backend.PREFECT] = PrefectBackend(
                data_dir=settings.data_path,
                config_path=self._config_path,
                flows=self.catalog.flows,
                workflows=self.catalog.workflows,
                mirror=Mirror(ledger=ledger, leadership=leadership, clock=clock),
                clock=clock,
                server_url=settings.schedulers.prefect_server_url,
                api_key=None if key is None else key.get_secret_value(),
                ui=settings.prefect.ui,
                work_pool=settings.prefect.work_pool,
                grace=timedelta(seconds=settings.schedulers.misfire_grace_seconds),
                max_output_bytes=settings.limits.max_output_bytes,
            )
        return engines


class _ServerPorts:
    """What built-in tasks may use in the server's process."""

    def __init__(
        self,
        *,
        status: LedgerStatusProbe,
        metrics: LedgerMetricsProbe,
        reminders: LedgerReminders,
        retention: LedgerRetention,
    ) -> None:
        self.status = status
        self.metrics = metrics
        self.reminders = reminders
        self.retention = retention


def _enabled(settings: Settings) -> frozenset[Backend]:
    schedulers = settings.schedulers
    switches = {
        Backend.APSCHEDULER: schedulers.apscheduler_enabled,
        Backend.ONEIRIC: schedulers.oneiric_queue_enabled,
        Backend.PREFECT: schedulers.prefect_deployments_enabled,
    }
    return frozenset(name for name, is_on in switches.items() if is_on)


def _system_jobs(settings: Settings, enabled: frozenset[Backend]) -> dict[str, float | None]:
    chores = settings.internal_tasks
    is_on = Backend.APSCHEDULER in enabled
    return {
        "health_check": chores.health_check_seconds if is_on else None,
        "metrics_collection": chores.metrics_collection_seconds if is_on else None,
        "cache_cleanup": chores.cache_cleanup_seconds if is_on else None,
    }
