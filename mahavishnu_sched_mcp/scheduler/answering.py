"""Questions: jobs, catalog, previews, the right engine, how everything is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mahavishnu_sched_mcp.classifier import classify
from mahavishnu_sched_mcp.dispatcher import idle
from mahavishnu_sched_mcp.domain.answer import CatalogPage, JobDetail, Preview, Status
from mahavishnu_sched_mcp.domain.engine import Backend, EngineState, Health
from mahavishnu_sched_mcp.ledger import reports
from mahavishnu_sched_mcp.scheduler import reading
from mahavishnu_sched_mcp.scheduler.checks import read_instant
from mahavishnu_sched_mcp.scheduler.core import SchedulerCore
from mahavishnu_sched_mcp.scheduler.status import read_status, shown

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.classifier import Classification
    from mahavishnu_sched_mcp.domain.catalog import Catalog
    from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics
    from mahavishnu_sched_mcp.domain.job import Job, JobState
    from mahavishnu_sched_mcp.domain.page import Page
    from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
    from mahavishnu_sched_mcp.domain.value import JsonObject

_TICK = timedelta(microseconds=1)


class Answering(SchedulerCore):
    """Nothing here changes anything."""

    @property
    def catalog(self) -> Catalog:
        """All that may be scheduled now."""
        return self._parts.catalog.model_copy(update={"tasks": self._parts.registry.entries()})

    async def list_jobs(
        self,
        *,
        backend: Backend | None = None,
        state: JobState | None = None,
        tag: str | None = None,
        include_system: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Give a page of the jobs of all engines, the oldest first.

        Args:
            state: None leaves out completed and cancelled jobs.

        Raises:
            InvalidArgumentsError: the cursor is not one of this list's.
        """
        self._require_open()
        now = self._clock.now()
        return self._ledger.read(
            lambda db: reading.job_page(
                db,
                backend=backend,
                state=state,
                tag=tag,
                include_system=include_system,
                limit=limit,
                cursor=cursor,
                now=now,
            )
        )

    async def get_job(self, job_id: str) -> JobDetail:
        """Give one job with its next fires and its newest runs.

        Raises:
            JobNotFoundError: there is none.
        """
        self._require_open()
        now = self._clock.now()
        return self._ledger.read(lambda db: reading.job_detail(db, job_id, now=now))

    def list_catalog(
        self,
        *,
        kind: str | None = None,
        query: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> CatalogPage:
        """Give the entries of the catalog that match.

        Raises:
            InvalidArgumentsError: the cursor is not one of this list's.
        """
        return reading.catalog_page(
            self.catalog, kind=kind, query=query, limit=limit, cursor=cursor
        )

    def preview(
        self,
        trigger: TriggerRequest,
        *,
        count: int = 5,
        start: str | None = None,
        timezone: str | None = None,
    ) -> Preview:
        """Say what a trigger would do, before anything is made.

        Args:
            start: Count from this RFC 3339 instant instead of now.
            timezone: For a trigger that names none.

        Raises:
            InvalidTriggerError: it cannot be read, never fires, or fires too often.
        """
        begin = read_instant("start", start) or self._clock.now()
        wanted = trigger
        if timezone is not None and trigger.timezone is None:
            wanted = trigger.model_copy(update={"timezone": timezone})
        resolved = self._parts.admission.resolve(wanted, now=begin)
        zone = ZoneInfo(resolved.zone)
        fires = resolved.fires(begin, count=count)
        warnings: tuple[str, ...] = ()
        if len(fires) < count:
            times = "once" if len(fires) == 1 else f"{len(fires)} times"
            warnings = (f"It fires {times} only.",)
        return Preview(
            in_words=resolved.in_words(),
            fires=tuple(fire.astimezone(zone) for fire in fires),
            warnings=warnings,
        )

    def classify(
        self,
        task_name: str,
        *,
        description: str | None = None,
        characteristics: TaskCharacteristics | None = None,
        interval_seconds: float | None = None,
    ) -> Classification:
        """Say which engine suits a task, why, and which call to make."""
        return classify(
            task_name,
            description=description,
            characteristics=characteristics,
            interval_seconds=interval_seconds,
            catalog=self.catalog,
            enabled=self._parts.enabled,
        )

    async def status(self) -> Status:
        """Say how everything is, with what needs attention."""
        self._require_open()
        now, health = self._clock.now(), self._health()
        return self._ledger.read(
            lambda db: read_status(
                db,
                now=now,
                is_leader=self._parts.lead.has_newest_term(),
                is_led=self._parts.lead.is_somebody_leading(),
                health=health,
                notices=self._parts.notices,
                troubles=self._ledger.troubles(),
            )
        )

    def engines(self) -> JsonObject:
        """Say how each engine is, in short."""
        return {name.value: shown(value) for name, value in self._health().items()}

    def _health(self) -> dict[Backend, Health]:
        known = {name: idle(name, is_on=name in self._parts.enabled) for name in Backend}
        if self.is_leader:
            return known | self._parts.lead.health()
        if not self._parts.lead.is_somebody_leading():
            gone = Health(state=EngineState.STOPPED, detail="no server runs on this data dir")
            return known | dict.fromkeys(self._parts.enabled, gone)
        seen = self._ledger.read(reports.health)
        return known | {name: value for name, value in seen.items() if name in self._parts.enabled}
