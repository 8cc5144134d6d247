"""The three ways to schedule, one per engine."""

from __future__ import annotations

from typing import Annotated, Any

from fastmcp.tools import ToolResult
from pydantic import Field

from mahavishnu_sched_mcp.domain.job import ID_PATTERN
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.server import schemas
from mahavishnu_sched_mcp.server.arguments import (
    LONGEST_TEXT,
    TRIGGER_EXAMPLES,
    AttemptsArgument,
    BackoffArgument,
    ExpiryArgument,
    IdArgument,
    InterruptArgument,
    InterruptName,
    KeyArgument,
    ListedTrigger,
    MaxRunsArgument,
    MissedArgument,
    MissedName,
    NameArgument,
    OverlapArgument,
    OverlapName,
    ReplaceArgument,
    TagsArgument,
    TimeoutArgument,
    UnlistedTrigger,
    WindowArgument,
    read_policies,
)
from mahavishnu_sched_mcp.server.declaration import Effect, ToolDeclaration, answer
from mahavishnu_sched_mcp.server.dependencies import CALL, Call
from mahavishnu_sched_mcp.server.views import creation_view


async def schedule_internal_task(
    *,
    task: Annotated[str, Field(description="From list_catalog")],
    trigger: ListedTrigger,
    params: Annotated[JsonObject, Field(description="By the task's params_schema")] = {},  # noqa: B006 - never changed; shown as the default
    id: IdArgument = None,
    name: NameArgument = None,
    idempotency_key: KeyArgument = None,
    durable: Annotated[bool, Field(description="false: in memory only")] = True,
    missed_policy: MissedArgument = "run_once",
    catchup_window_seconds: WindowArgument = 86400,
    overlap_policy: OverlapArgument = "skip",
    timeout_seconds: TimeoutArgument = None,
    max_attempts: AttemptsArgument = 1,
    retry_backoff_seconds: BackoffArgument = 5,
    on_interrupt: InterruptArgument = None,
    max_runs: MaxRunsArgument = None,
    expires_at: ExpiryArgument = None,
    tags: TagsArgument = [],  # noqa: B006 - never changed; shown as the default
    replace: ReplaceArgument = False,
    call: Call = CALL,
) -> ToolResult:
    """Schedule a small task inside this server, once or repeatedly (APScheduler).

    For simple, frequent chores. A durable workflow: enqueue_workflow. Work people watch:
    schedule_deployment. Unsure: classify_task.
    Returns {job, next_fires, warnings}; watch with list_runs(job_id).
    Example: {"task": "health_check", "trigger": {"type": "interval", "seconds": 30}}
    """
    creation = await call.scheduler.schedule_internal_task(
        task,
        trigger=trigger,
        params=params,
        id=id,
        name=name,
        idempotency_key=idempotency_key,
        durable=durable,
        policies=read_policies(
            "schedule_internal_task",
            missed_policy=missed_policy,
            catchup_window_seconds=catchup_window_seconds,
            overlap_policy=overlap_policy,
            timeout_seconds=timeout_seconds,
            max_attempts=max_attempts,
            retry_backoff_seconds=retry_backoff_seconds,
            on_interrupt=on_interrupt,
            max_runs=max_runs,
            expires_at=expires_at,
        ),
        tags=tags,
        replace=replace,
        created_by=call.created_by,
    )
    return answer(creation_view(creation))


async def enqueue_workflow(
    *,
    workflow_key: Annotated[str, Field(description="From list_catalog")],
    queue_provider: Annotated[
        str | None, Field(description="From list_catalog; default by the settings")
    ] = None,
    context: Annotated[JsonObject, Field(description="Arguments for its nodes")] = {},  # noqa: B006 - never changed; shown as the default
    metadata: Annotated[
        JsonObject, Field(description="schedule_time (RFC 3339) delays a one-shot")
    ] = {},  # noqa: B006 - never changed; shown as the default
    trigger: Annotated[
        UnlistedTrigger | None, Field(description=f"Absent: now. {TRIGGER_EXAMPLES}")
    ] = None,
    id: IdArgument = None,
    name: NameArgument = None,
    idempotency_key: KeyArgument = None,
    missed_policy: MissedName = "run_once",
    catchup_window_seconds: int = 86400,
    overlap_policy: OverlapName = "skip",
    timeout_seconds: float | None = None,
    max_attempts: int = 1,
    retry_backoff_seconds: float = 5,
    on_interrupt: InterruptName | None = None,
    max_runs: int | None = None,
    expires_at: str | None = None,
    tags: TagsArgument = [],  # noqa: B006 - never changed; shown as the default
    replace: bool = False,
    call: Call = CALL,
) -> ToolResult:
    """Send a workflow through a durable queue, now, later or on a schedule (Oneiric).

    For work that outlives this process or runs elsewhere. A small chore:
    schedule_internal_task. Work people watch: schedule_deployment.
    Returns {job, warnings} and, without trigger, run_id for get_run.
    Example: {"workflow_key": "daily_backup", "idempotency_key": "backup-12-01"}
    """
    creation = await call.scheduler.enqueue_workflow(
        workflow_key,
        queue_provider=queue_provider,
        context=context,
        metadata=metadata,
        trigger=trigger,
        id=id,
        name=name,
        idempotency_key=idempotency_key,
        policies=read_policies(
            "enqueue_workflow",
            missed_policy=missed_policy,
            catchup_window_seconds=catchup_window_seconds,
            overlap_policy=overlap_policy,
            timeout_seconds=timeout_seconds,
            max_attempts=max_attempts,
            retry_backoff_seconds=retry_backoff_seconds,
            on_interrupt=on_interrupt,
            max_runs=max_runs,
            expires_at=expires_at,
        ),
        tags=tags,
        replace=replace,
        created_by=call.created_by,
    )
    return answer(creation_view(creation))


async def schedule_deployment(
    *,
    flow_name: Annotated[str, Field(description="Flow or workflow, from list_catalog")],
    schedule_config: Annotated[
        dict[str, Any],
        Field(description='One of cron, interval_seconds, rrule; with "timezone"'),
    ],
    name: Annotated[
        str | None, Field(pattern=ID_PATTERN, description="Its id; default flow_name")
    ] = None,
    parameters: Annotated[JsonObject, Field(description="By the flow's params_schema")] = {},  # noqa: B006 - never changed; shown as the default
    work_pool_name: str | None = None,
    description: Annotated[str | None, Field(max_length=LONGEST_TEXT)] = None,
    tags: TagsArgument = [],  # noqa: B006 - never changed; shown as the default
    paused: bool = False,
    concurrency_limit: Annotated[int | None, Field(ge=1, description="Runs at once")] = None,
    retries: Annotated[int, Field(ge=0, le=100)] = 0,
    retry_delay_seconds: Annotated[float, Field(ge=0)] = 10,
    missed_policy: MissedArgument = "run_once",
    catchup_window_seconds: WindowArgument = 86400,
    idempotency_key: KeyArgument = None,
    call: Call = CALL,
) -> ToolResult:
    """Schedule a flow or workflow that people watch in a UI (Prefect).

    For user-facing, complex or multi-repository work. Through a queue: enqueue_workflow.
    A small chore: schedule_internal_task.
    Returns {job, next_fires, warnings}; get_job has the UI link in reference.
    Example: {"flow_name": "code_sweep", "schedule_config": {"cron": "0 2 * * *"}}
    """
    creation = await call.scheduler.schedule_deployment(
        flow_name,
        schedule_config=schedule_config,
        name=name,
        parameters=parameters,
        work_pool_name=work_pool_name,
        description=description,
        tags=tags,
        paused=paused,
        policies=read_policies(
            "schedule_deployment",
            concurrency_limit=concurrency_limit,
            retries=retries,
            retry_delay_seconds=retry_delay_seconds,
            missed_policy=missed_policy,
            catchup_window_seconds=catchup_window_seconds,
        ),
        idempotency_key=idempotency_key,
        created_by=call.created_by,
    )
    return answer(creation_view(creation))


TOOLS = (
    ToolDeclaration(
        schedule_internal_task,
        title="Schedule a task in this server",
        effect=Effect.SETTLE,
        reaches_out=True,
        output_schema=schemas.CREATION,
    ),
    ToolDeclaration(
        enqueue_workflow,
        title="Enqueue a workflow",
        effect=Effect.WRITE,
        reaches_out=True,
        output_schema=schemas.ENQUEUED,
    ),
    ToolDeclaration(
        schedule_deployment,
        title="Schedule a deployment",
        effect=Effect.SETTLE,
        reaches_out=True,
        output_schema=schemas.CREATION,
    ),
)
