"""What happens to a job after it was made."""

from __future__ import annotations

from typing import Annotated, Literal

from fastmcp.tools import ToolResult
from pydantic import Field

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from mahavishnu_sched_mcp.server import schemas
from mahavishnu_sched_mcp.server.arguments import (
    BackendName,
    CursorArgument,
    InterruptName,
    JobIdArgument,
    JobStateName,
    KeyArgument,
    LimitArgument,
    MissedName,
    NameArgument,
    NoteArgument,
    OverlapName,
    TagArgument,
    UnlistedTrigger,
    WaitArgument,
    read_changes,
)
from mahavishnu_sched_mcp.server.declaration import Effect, ToolDeclaration, answer
from mahavishnu_sched_mcp.server.dependencies import CALL, Call
from mahavishnu_sched_mcp.server.rows import job_rows
from mahavishnu_sched_mcp.server.views import (
    brief_job_view,
    job_detail_view,
    job_view,
    run_view,
)


async def list_jobs(
    *,
    backend: BackendName | None = None,
    state: Annotated[
        JobStateName | None, Field(description="Default: all but completed and cancelled")
    ] = None,
    tag: str | None = None,
    include_system: Annotated[bool, Field(description="This server's own chores too")] = False,
    limit: LimitArgument = 50,
    cursor: CursorArgument = None,
    detail: Literal["brief", "full"] = "brief",
    call: Call = CALL,
) -> ToolResult:
    """List the jobs of all engines, and how the engines are.

    To find a job. One in full: get_job. What ran: list_runs.
    Returns {jobs, total, next_cursor, engines}.
    Example: {"state": "paused", "limit": 20}
    """
    page = await call.scheduler.list_jobs(
        backend=None if backend is None else Backend(backend),
        state=None if state is None else JobState(state),
        tag=tag,
        include_system=include_system,
        limit=limit,
        cursor=cursor,
    )
    show = job_view if detail == "full" else brief_job_view
    view: JsonObject = {
        "jobs": [show(job) for job in page.rows],
        "total": page.total,
        "next_cursor": page.next_cursor,
        "engines": call.scheduler.engines(),
    }
    return answer(view, text=job_rows(view))


async def get_job(*, job_id: JobIdArgument, call: Call = CALL) -> ToolResult:
    """Show one job: definition, policies, next fires, counts, last runs.

    Unknown job_id: list_jobs. A run's output: get_run(runs[0].run_id).
    Returns the job; state, note and last_run say how it is.
    Example: {"job_id": "apscheduler:health-check"}
    """
    return answer(job_detail_view(await call.scheduler.get_job(job_id)))


async def update_job(
    *,
    job_id: JobIdArgument,
    trigger: UnlistedTrigger | None = None,
    params: Annotated[
        JsonObject | None, Field(description="All of them: task, context or flow arguments")
    ] = None,
    name: NameArgument = None,
    tags: Annotated[list[str] | None, Field(max_length=20)] = None,
    note: NoteArgument = None,
    missed_policy: MissedName | None = None,
    catchup_window_seconds: int | None = None,
    overlap_policy: OverlapName | None = None,
    timeout_seconds: float | None = None,
    max_attempts: int | None = None,
    retry_backoff_seconds: float | None = None,
    on_interrupt: InterruptName | None = None,
    max_runs: int | None = None,
    expires_at: str | None = None,
    concurrency_limit: int | None = None,
    retries: int | None = None,
    retry_delay_seconds: float | None = None,
    call: Call = CALL,
) -> ToolResult:
    """Change a job's trigger, params or policies; left out or null stays as it is.

    Another target needs a new job. To hold it: pause_job. The last three: Prefect only.
    Returns the job; check next_run_at.
    Example: {"job_id": "apscheduler:sync", "trigger": {"type": "interval", "minutes": 10}}
    """
    policies = read_changes(
        "update_job",
        missed_policy=missed_policy,
        catchup_window_seconds=catchup_window_seconds,
        overlap_policy=overlap_policy,
        timeout_seconds=timeout_seconds,
        max_attempts=max_attempts,
        retry_backoff_seconds=retry_backoff_seconds,
        on_interrupt=on_interrupt,
        max_runs=max_runs,
        expires_at=expires_at,
        concurrency_limit=concurrency_limit,
        retries=retries,
        retry_delay_seconds=retry_delay_seconds,
    )
    job = await call.scheduler.update_job(
        job_id, trigger=trigger, params=params, name=name, tags=tags, note=note, policies=policies
    )
    return answer(job_view(job))


async def pause_job(
    *,
    job_id: Annotated[str | None, Field(description="Or tag")] = None,
    tag: TagArgument = None,
    note: NoteArgument = None,
    until: Annotated[str | None, Field(description="Resume then; RFC 3339")] = None,
    call: Call = CALL,
) -> ToolResult:
    """Hold a job, or all with a tag: no fires until resume_job; a run in progress goes on.

    To stop a run: cancel_run. For good: cancel_job. Returns the job, or {jobs} by tag.
    Example: {"tag": "backup", "note": "disk is full"}
    """
    if tag is not None and job_id is None:
        return _jobs_answer(await call.scheduler.pause_jobs(tag=tag, note=note, until=until))
    identifier = _only_job_id("pause_job", job_id, tag)
    return answer(job_view(await call.scheduler.pause_job(identifier, note=note, until=until)))


async def resume_job(
    *,
    job_id: Annotated[str | None, Field(description="Or tag")] = None,
    tag: TagArgument = None,
    call: Call = CALL,
) -> ToolResult:
    """Let a paused job, or all with a tag, fire again.

    One run only: run_job_now. Returns the job, or {jobs} by tag; see next_run_at.
    Example: {"job_id": "apscheduler:health-check"}
    """
    if tag is not None and job_id is None:
        return _jobs_answer(await call.scheduler.resume_jobs(tag))
    identifier = _only_job_id("resume_job", job_id, tag)
    return answer(job_view(await call.scheduler.resume_job(identifier)))


async def cancel_job(*, job_id: JobIdArgument, call: Call = CALL) -> ToolResult:
    """End a job at once: it never fires again; a run already going is left to finish.

    To stop that run: cancel_run. For a while: pause_job. Returns the job, state cancelled.
    Example: {"job_id": "oneiric:nightly"}
    """
    return answer(job_view(await call.scheduler.cancel_job(job_id)))


async def run_job_now(
    *,
    job_id: JobIdArgument,
    idempotency_key: KeyArgument = None,
    wait_seconds: WaitArgument = 0,
    call: Call = CALL,
) -> ToolResult:
    """Start one extra run of a job; its schedule stays as it is.

    To repeat a failed run: replay_run. Returns the run; follow it with get_run.
    Example: {"job_id": "apscheduler:health-check", "wait_seconds": 30}
    """
    run = await call.scheduler.run_job_now(
        job_id,
        idempotency_key=idempotency_key,
        wait_seconds=wait_seconds,
        on_progress=call.report if wait_seconds else None,
        created_by=call.created_by,
    )
    return answer(run_view(run))


def _jobs_answer(jobs: tuple[Job, ...]) -> ToolResult:
    view: JsonObject = {"jobs": [job_view(job) for job in jobs]}
    return answer(view, text=job_rows(view))


def _only_job_id(tool: str, job_id: str | None, tag: str | None) -> str:
    """Insist on exactly one of the two."""
    if job_id is not None and tag is None:
        return job_id
    message = (
        f"Argument 'job_id' is '{job_id}' and 'tag' is '{tag}': only one may be given."
        if job_id is not None
        else "Neither 'job_id' nor 'tag' is given."
    )
    raise InvalidArgumentsError(message, hint=f"Call {tool} with one of them; see list_jobs.")


TOOLS = (
    ToolDeclaration(
        list_jobs, title="List jobs", effect=Effect.READ, output_schema=schemas.JOB_PAGE
    ),
    ToolDeclaration(
        get_job, title="Show a job", effect=Effect.READ, output_schema=schemas.JOB_DETAIL
    ),
    ToolDeclaration(
        update_job, title="Change a job", effect=Effect.SETTLE, output_schema=schemas.JOB_CHANGED
    ),
    ToolDeclaration(
        pause_job, title="Pause a job", effect=Effect.SETTLE, output_schema=schemas.JOB_OR_JOBS
    ),
    ToolDeclaration(
        resume_job, title="Resume a job", effect=Effect.SETTLE, output_schema=schemas.JOB_OR_JOBS
    ),
    ToolDeclaration(
        cancel_job, title="Cancel a job", effect=Effect.REMOVE, output_schema=schemas.JOB_HELD
    ),
    ToolDeclaration(
        run_job_now,
        title="Run a job now",
        effect=Effect.WRITE,
        reaches_out=True,
        output_schema=schemas.RUN_STARTED,
    ),
)
