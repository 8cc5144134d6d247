"""A scheduler that answers from memory and remembers what it was asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from mahavishnu_sched_mcp.domain.answer import CatalogPage, JobDetail, Preview, Status
from mahavishnu_sched_mcp.domain.catalog import FlowEntry, ProviderEntry, TaskEntry
from mahavishnu_sched_mcp.domain.characteristics import (
    Alternative,
    Classification,
    NextCall,
    TaskCharacteristics,
)
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import (
    Creation,
    Job,
    JobDefinition,
    JobKind,
    JobState,
    LastRun,
)
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.page import Page
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import Attempt, Cause, Run, RunState
from mahavishnu_sched_mcp.domain.trigger import Trigger, TriggerRequest
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow
from mahavishnu_sched_mcp.server.factory import create_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastmcp import FastMCP

    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
PARIS_NIGHTS = TriggerRequest(type="cron", expression="0 2 * * *", timezone="Europe/Paris")
HALF_MINUTES = TriggerRequest(type="interval", seconds=30)


def a_trigger(request: TriggerRequest = HALF_MINUTES) -> Trigger:
    """Resolve a request at noon."""
    return request.resolve(now=NOON, default_timezone="UTC", min_interval=timedelta(seconds=1))


def a_job(
    job_id: str = "apscheduler:health-check",
    *,
    request: TriggerRequest | None = HALF_MINUTES,
    target: str = "health_check",
    backend: Backend = Backend.APSCHEDULER,
    **changes: Any,
) -> Job:
    """Make an active job that ran once."""
    trigger = None if request is None else a_trigger(request)
    values: dict[str, Any] = {
        "serial": 1,
        "job_id": job_id,
        "definition": JobDefinition(
            backend=backend,
            kind=JobKind.TASK,
            target=target,
            trigger_requested=None if request is None else request.as_requested(),
            policies=changes.pop("policies", Policies()),
        ),
        "name": job_id.partition(":")[2],
        "state": JobState.ACTIVE,
        "trigger": trigger,
        "next_run_at": None if trigger is None else trigger.next_after(NOON),
        "created_at": NOON,
        "created_by": "claude-code/1.2",
        "last_run": LastRun(run_id="run-1", state=RunState.SUCCEEDED, finished_at=NOON),
    }
    return Job(**(values | changes))


def a_run(run_id: str = "run-1", **changes: Any) -> Run:
    """Make a run that came 120 ms late, took two seconds and succeeded."""
    started = NOON + timedelta(milliseconds=120)
    finished = started + timedelta(seconds=2)
    values: dict[str, Any] = {
        "run_id": run_id,
        "job_id": "apscheduler:health-check",
        "job_serial": 1,
        "scheduled_for": NOON,
        "cause": Cause.SCHEDULE,
        "state": RunState.SUCCEEDED,
        "started_at": started,
        "finished_at": finished,
        "attempts": (
            Attempt(number=1, started_at=started, finished_at=finished, outcome=RunState.SUCCEEDED),
        ),
        "worker": "local",
        "output": Output.of("all is well\n", cap=1024),
    }
    return Run(**(values | changes))


def a_creation(**changes: Any) -> Creation:
    """Make the answer to a creating call."""
    engine = {"backend": "apscheduler", "durable": True}
    values: dict[str, Any] = {
        "job": a_job(),
        "outcome": "created",
        "requested": engine,
        "granted": engine,
        "next_fires": tuple(a_trigger().fires(NOON, count=3)),
    }
    return Creation(**(values | changes))


def a_catalog_page() -> CatalogPage:
    """Make a catalog with one entry of each kind."""
    schema = {"type": "object", "properties": {"repo": {"type": "string"}}, "required": ["repo"]}
    return CatalogPage(
        tasks=(
            TaskEntry(
                name="backup_repo", description="Bundle", source="command", params_schema=schema
            ),
        ),
        workflows=(
            Workflow(
                name="daily_backup",
                description="Back up, then verify",
                nodes=(Node(id="backup", task="backup_repo", payload={"repo": "/srv/a"}),),
            ),
        ),
        flows=(FlowEntry(name="code_sweep", description="Sweep", entrypoint="flows:code_sweep"),),
        providers=(ProviderEntry(name="sqlite", description="Embedded", is_default=True),),
        total=4,
    )


def a_classification() -> Classification:
    """Make the advice to use APScheduler."""
    return Classification(
        backend=Backend.APSCHEDULER,
        confidence=0.8,
        reasons=("nothing asks for more",),
        alternatives=(Alternative(backend=Backend.PREFECT, why_not="nobody watches it"),),
        characteristics=TaskCharacteristics(frequency="high"),
        next_call=NextCall(tool="schedule_internal_task", arguments={"task": "health_check"}),
    )


def default_answers() -> dict[str, Any]:
    """Give each method of the scheduler something to answer."""
    job, run = a_job(), a_run()
    return {
        "schedule_internal_task": a_creation(),
        "enqueue_workflow": a_creation(run_id="run-1"),
        "schedule_deployment": a_creation(),
        "classify": a_classification(),
        "list_jobs": Page[Job](rows=(job,), total=1),
        "get_job": JobDetail(job=job, next_fires=(NOON,), runs=(run,)),
        "update_job": job,
        "pause_job": job,
        "pause_jobs": (job,),
        "resume_job": job,
        "resume_jobs": (job,),
        "cancel_job": job,
        "run_job_now": run,
        "list_runs": Page[Run](rows=(run,), total=1),
        "get_run": run,
        "cancel_run": run,
        "replay_run": run,
        "preview": Preview(in_words="every 30 seconds", fires=(NOON,)),
        "list_catalog": a_catalog_page(),
        "status": Status(now=NOON, attention=("1 run is dead: see list_runs(state=dead)",)),
        "engines": {"apscheduler": {"state": "ready"}, "prefect": {"state": "idle"}},
    }


class RecordingScheduler:
    """Answers each call with a prepared value, or fails with a prepared error.

    Attributes:
        calls: What was asked: method, positional and keyword arguments.
        answers: What each method answers; an exception is raised instead.
        starts: How often it was started.
    """

    SYNCHRONOUS = frozenset({"classify", "preview", "list_catalog", "engines"})

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers = default_answers()
        self.starts = 0

    def __getattr__(self, method: str) -> Any:
        """Give any method that has an answer."""
        if method not in self.answers:
            raise AttributeError(method)

        def answer(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((method, args, kwargs))
            value: Any = self.answers[method]
            if isinstance(value, Exception):
                raise value
            return value

        async def answer_later(*args: Any, **kwargs: Any) -> Any:
            value = answer(*args, **kwargs)
            return await value(**kwargs) if callable(value) else value

        return answer if method in self.SYNCHRONOUS else answer_later

    @asynccontextmanager
    async def start(self) -> AsyncIterator[MahavishnuScheduler]:
        """Stand in for the real scheduler's start."""
        self.starts += 1
        yield cast("MahavishnuScheduler", self)

    def last(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Give the last call that was not about the engines."""
        return [call for call in self.calls if call[0] != "engines"][-1]


def a_server(scheduler: RecordingScheduler | None = None) -> FastMCP[dict[str, Any]]:
    """Build a server over a recording scheduler."""
    return create_server((scheduler or RecordingScheduler()).start)
