"""The three creating calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.engine import Backend, EngineState
from mahavishnu_sched_mcp.domain.job import Creation, JobDefinition, JobState
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import (
    BackendUnavailableError,
    CapabilityError,
    InvalidArgumentsError,
)
from mahavishnu_sched_mcp.scheduler import creation
from mahavishnu_sched_mcp.scheduler.checks import check_id, check_texts
from mahavishnu_sched_mcp.scheduler.core import RECEIPT_SECONDS, SchedulerCore
from mahavishnu_sched_mcp.scheduler.reading import next_fires, with_next_fire
from mahavishnu_sched_mcp.scheduler.request import JobRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mahavishnu_sched_mcp.domain.value import JsonObject

_SHOWN_FIRES = 3


class Creating(SchedulerCore):
    """Jobs are made here, and only here."""

    async def schedule_internal_task(
        self,
        func: str | Callable[..., Awaitable[Any]],
        *,
        trigger: TriggerRequest | None = None,
        params: JsonObject | None = None,
        id: str | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
        durable: bool = True,
        policies: Policies | None = None,
        tags: Sequence[str] = (),
        replace: bool = False,
        created_by: str = "python",
        trigger_type: str | None = None,
        **trigger_fields: Any,
    ) -> Creation:
        """Schedule a task inside this server, by interval, cron or date (APScheduler).

        From Python the trigger may also be given in words of its own, as
        `trigger_type="interval", seconds=30`.

        Args:
            func: A task of the catalog by name, or an async callable; a callable that is not in
                the catalog makes a job that is not durable.
            durable: False keeps the job with this process only.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was made.
        """
        self._require_open()
        wanted = trigger or TriggerRequest.model_validate({"type": trigger_type, **trigger_fields})
        if callable(func):
            entry = self._parts.registry.register_callable(func)
            func, durable = entry.name, durable and entry.source != "callable"
        if not durable and not self.is_leader:
            msg = "durable=false keeps a job in the leading server, and this one does not lead."
            raise CapabilityError(msg, hint="Leave durable at true; get_status names the leader.")
        definition = self._parts.admission.task(
            func,
            trigger=wanted,
            params=params or {},
            policies=policies or Policies(),
            durable=durable,
        )
        return await self._create(
            "schedule_internal_task",
            definition,
            wanted,
            id=id,
            name=name,
            key=idempotency_key,
            tags=tags,
            replace=replace,
            created_by=created_by,
        )

    async def enqueue_workflow(
        self,
        workflow_key: str,
        *,
        queue_provider: str | None = None,
        context: JsonObject | None = None,
        metadata: JsonObject | None = None,
        trigger: TriggerRequest | None = None,
        id: str | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
        policies: Policies | None = None,
        tags: Sequence[str] = (),
        replace: bool = False,
        created_by: str = "python",
    ) -> Creation:
        """Put a workflow on a queue: now, at a time, or each time a trigger fires (Oneiric).

        Args:
            metadata: Travels with the message; `schedule_time` (RFC 3339) delays a one-shot.
            trigger: None enqueues now.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was made.
        """
        self._require_open()
        beside = metadata or {}
        when = trigger or _delayed(beside)
        if trigger is not None and "schedule_time" in beside:
            msg = "Both trigger and metadata.schedule_time say when to run."
            raise InvalidArgumentsError(msg, hint="Give one of them.")
        definition = self._parts.admission.workflow(
            workflow_key,
            trigger=when,
            provider=queue_provider,
            context=context or {},
            metadata=beside,
            policies=policies or Policies(),
        )
        return await self._create(
            "enqueue_workflow",
            definition,
            when,
            id=id,
            name=name,
            key=idempotency_key,
            tags=tags,
            replace=replace,
            created_by=created_by,
        )

    async def schedule_deployment(
        self,
        flow_name: str,
        *,
        schedule_config: JsonObject,
        name: str | None = None,
        parameters: JsonObject | None = None,
        work_pool_name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        paused: bool = False,
        policies: Policies | None = None,
        idempotency_key: str | None = None,
        created_by: str = "python",
    ) -> Creation:
        """Deploy a flow, or a workflow as a flow, on a schedule that people watch (Prefect).

        Args:
            schedule_config: `{"cron": …}`, `{"interval_seconds": …}` or `{"rrule": …}`.
            name: The `<id>`; the flow's name where it is None.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was made.
        """
        self._require_open()
        when = TriggerRequest.from_schedule_config(schedule_config)
        check_texts({"description": description}, tags=())
        definition = self._parts.admission.deployment(
            flow_name,
            trigger=when,
            parameters=parameters or {},
            policies=policies or Policies(),
            work_pool_name=work_pool_name,
            description=description,
        )
        await self._require_reachable(Backend.PREFECT)
        return await self._create(
            "schedule_deployment",
            definition,
            when,
            id=name or flow_name,
            name=None,
            key=idempotency_key,
            tags=tags,
            replace=False,
            created_by=created_by,
            is_paused=paused,
        )

    async def _create(
        self,
        tool: str,
        definition: JobDefinition,
        when: Any,
        *,
        id: str | None,
        name: str | None,
        key: str | None,
        tags: Sequence[str],
        replace: bool,
        created_by: str,
        is_paused: bool = False,
    ) -> Creation:
        check_texts({"name": name, "idempotency_key": key}, tags=tags)
        now = self._clock.now()
        arguments = definition.model_dump(mode="json") | {
            "id": id,
            "name": name,
            "tags": sorted(tags),
            "replace": replace,
            "paused": is_paused,
        }
        request = JobRequest(
            definition=definition,
            trigger=None if when is None else self._parts.admission.resolve(when, now=now),
            id=check_id(id),
            name=name,
            tags=tags,
            created_by=created_by,
            at=now,
            call=self._call(tool, key, arguments),
            replace=replace,
            is_paused=is_paused,
            needs_receipt=definition.backend is not Backend.APSCHEDULER,
        )
        most = self._parts.most_jobs
        # A job that is kept in memory only is the leader's; it may have been replaced just now.
        ledger = self._ledger if definition.durable else self._parts.lead
        made = await ledger.write(lambda db: creation.create(db, request, most_jobs=most))
        return await self._answer(made, request)

    async def _answer(self, made: creation.Made, request: JobRequest) -> Creation:
        job = made.job
        if definition_waits(job.state, job.backend):
            job = await self._settled(job.serial)
        warnings = list(request.warnings)
        if job.state is JobState.PENDING:
            waiting = job.note or f"engine '{job.backend}' is still starting"
            warnings.append(
                f"The job is pending: {waiting}. It becomes active by itself; see get_job."
            )
        if not job.definition.durable:
            warnings.append("durable=false: the job ends with this server and is not made up for.")
        now = self._clock.now()
        shown = with_next_fire(job, now=now)
        return Creation(
            job=shown,
            outcome=made.outcome,
            requested=creation.granted(request.job(request.id or "x")),
            granted=creation.granted(job),
            next_fires=next_fires(shown, now=now, count=_SHOWN_FIRES),
            warnings=tuple(warnings),
            run_id=made.run_id,
        )

    async def _require_reachable(self, backend: Backend) -> None:
        """Refuse work for a server of the user's own that does not answer now."""
        engine = self._parts.lead.engines.get(backend)
        if backend not in self._parts.remote or engine is None or not self.is_leader:
            return
        try:
            await asyncio.wait_for(asyncio.shield(engine.ensure_started()), RECEIPT_SECONDS)
        except TimeoutError:
            health = engine.health()
            if health.state is EngineState.UNAVAILABLE:
                msg = f"Backend '{backend}' does not answer: {health.detail}"
                raise BackendUnavailableError(msg) from None


def definition_waits(state: JobState, backend: Backend) -> bool:
    """Whether a job that was just written has an engine's receipt to wait for."""
    return state is JobState.PENDING or backend is Backend.PREFECT


def _delayed(metadata: JsonObject) -> TriggerRequest | None:
    at = metadata.get("schedule_time")
    if at is None:
        return None
    if not isinstance(at, str):
        msg = f"metadata.schedule_time={at!r} is not text."
        raise InvalidArgumentsError(msg, hint="Write it like '2026-12-01T09:00:00+01:00'.")
    return TriggerRequest(type="date", run_at=at)
