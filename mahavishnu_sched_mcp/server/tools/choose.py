"""What helps to choose before anything is scheduled."""

from __future__ import annotations

from typing import Annotated, Literal

from fastmcp.tools import ToolResult
from pydantic import Field

from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics
from mahavishnu_sched_mcp.server import schemas
from mahavishnu_sched_mcp.server.arguments import (
    CursorArgument,
    LimitArgument,
    UnlistedTrigger,
)
from mahavishnu_sched_mcp.server.declaration import Effect, ToolDeclaration, answer
from mahavishnu_sched_mcp.server.dependencies import CALL, Call
from mahavishnu_sched_mcp.server.rows import catalog_rows
from mahavishnu_sched_mcp.server.views import catalog_view, classification_view, preview_view


async def classify_task(
    *,
    task_name: Annotated[str, Field(min_length=1, max_length=200)],
    description: Annotated[str | None, Field(max_length=2000)] = None,
    characteristics: Annotated[
        TaskCharacteristics | None, Field(description="What you know; the rest is inferred")
    ] = None,
    interval_seconds: Annotated[float | None, Field(gt=0)] = None,
    call: Call = CALL,
) -> ToolResult:
    """Say which engine suits a task, why, and the call to make; schedules nothing.

    When unsure between the three scheduling tools.
    Returns {backend, confidence, reasons, next_call}; send next_call, its <placeholders> filled in.
    Example: {"task_name": "backup_repo", "description": "bundle a repository nightly"}
    """
    classification = call.scheduler.classify(
        task_name,
        description=description,
        characteristics=characteristics,
        interval_seconds=interval_seconds,
    )
    return answer(classification_view(classification))


async def preview_schedule(
    *,
    trigger: UnlistedTrigger,
    count: Annotated[int, Field(ge=1, le=100)] = 5,
    start: Annotated[str | None, Field(description="Count from then; RFC 3339")] = None,
    timezone: Annotated[str | None, Field(description="IANA, where the trigger has none")] = None,
    call: Call = CALL,
) -> ToolResult:
    """Say in words and times when a trigger would fire; schedules nothing.

    Before committing. Returns {in_words, fires, warnings}; then give the same trigger to
    schedule_internal_task or enqueue_workflow.
    Example: {"trigger": {"type": "cron", "expression": "0 2 * * 1-5"}, "count": 3}
    """
    preview = call.scheduler.preview(trigger, count=count, start=start, timezone=timezone)
    return answer(preview_view(preview))


async def list_catalog(
    *,
    kind: Literal["task", "workflow", "flow", "provider"] | None = None,
    query: Annotated[str | None, Field(description="Part of name or description")] = None,
    limit: LimitArgument = 50,
    cursor: CursorArgument = None,
    call: Call = CALL,
) -> ToolResult:
    """List what may be scheduled: tasks, workflows, flows, queue providers.

    Before scheduling: only these names are accepted; the operator declares them.
    Returns {tasks, workflows, flows, providers}; params_schema says what params to give.
    Example: {"kind": "task", "query": "backup"}
    """
    page = call.scheduler.list_catalog(kind=kind, query=query, limit=limit, cursor=cursor)
    view = catalog_view(page)
    return answer(view, text=catalog_rows(view))


TOOLS = (
    ToolDeclaration(
        classify_task,
        title="Choose an engine",
        effect=Effect.READ,
        output_schema=schemas.CLASSIFICATION,
    ),
    ToolDeclaration(
        preview_schedule,
        title="Preview a schedule",
        effect=Effect.READ,
        output_schema=schemas.PREVIEW,
    ),
    ToolDeclaration(
        list_catalog, title="List the catalog", effect=Effect.READ, output_schema=schemas.CATALOG
    ),
)
