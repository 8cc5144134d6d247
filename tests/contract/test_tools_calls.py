"""Each tool hands its arguments to the scheduler and shows what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fastmcp import Client
from jsonschema import validate
from mcp.types import Implementation

from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.page import Page
from mahavishnu_sched_mcp.domain.policy import OverlapPolicy, Policies
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.server.factory import declarations
from tests.unit.server.recording import HALF_MINUTES, RecordingScheduler, a_job, a_server

if TYPE_CHECKING:
    from fastmcp.client.client import CallToolResult

INTERVAL = {"type": "interval", "seconds": 30}
NO_POLICIES: dict[str, Any] = {}
LISTS = {"list_jobs", "list_runs", "list_catalog"}

CALLS: list[tuple[str, dict[str, Any], str, tuple[Any, ...], dict[str, Any]]] = [
    (
        "schedule_internal_task",
        {"task": "health_check", "trigger": INTERVAL, "overlap_policy": "queue_one", "tags": ["a"]},
        "schedule_internal_task",
        ("health_check",),
        {
            "trigger": HALF_MINUTES,
            "params": {},
            "id": None,
            "name": None,
            "idempotency_key": None,
            "durable": True,
            "policies": Policies(overlap_policy=OverlapPolicy.QUEUE_ONE),
            "tags": ["a"],
            "replace": False,
        },
    ),
    (
        "enqueue_workflow",
        {"workflow_key": "daily_backup", "context": {"a": 1}, "idempotency_key": "k"},
        "enqueue_workflow",
        ("daily_backup",),
        {
            "queue_provider": None,
            "context": {"a": 1},
            "metadata": {},
            "trigger": None,
            "id": None,
            "name": None,
            "idempotency_key": "k",
            "policies": Policies(),
            "tags": [],
            "replace": False,
        },
    ),
    (
        "schedule_deployment",
        {"flow_name": "code_sweep", "schedule_config": {"cron": "0 2 * * *"}, "retries": 2},
        "schedule_deployment",
        ("code_sweep",),
        {
            "schedule_config": {"cron": "0 2 * * *"},
            "name": None,
            "parameters": {},
            "work_pool_name": None,
            "description": None,
            "tags": [],
            "paused": False,
            "policies": Policies(retries=2),
            "idempotency_key": None,
        },
    ),
    (
        "classify_task",
        {"task_name": "backup", "characteristics": {"frequency": "low"}},
        "classify",
        ("backup",),
        {
            "description": None,
            "characteristics": TaskCharacteristics(frequency="low"),
            "interval_seconds": None,
        },
    ),
    (
        "list_jobs",
        {"backend": "prefect", "state": "paused", "tag": "a", "limit": 5, "cursor": "c"},
        "list_jobs",
        (),
        {
            "backend": Backend.PREFECT,
            "state": JobState.PAUSED,
            "tag": "a",
            "include_system": False,
            "limit": 5,
            "cursor": "c",
        },
    ),
    ("get_job", {"job_id": "oneiric:a"}, "get_job", ("oneiric:a",), {}),
    (
        "update_job",
        {"job_id": "oneiric:a", "trigger": INTERVAL, "max_attempts": 3},
        "update_job",
        ("oneiric:a",),
        {
            "trigger": TriggerRequest(type="interval", seconds=30),
            "params": None,
            "name": None,
            "tags": None,
            "note": None,
            "policies": {"max_attempts": 3},
        },
    ),
    (
        "pause_job",
        {"job_id": "oneiric:a", "note": "n"},
        "pause_job",
        ("oneiric:a",),
        {"note": "n", "until": None},
    ),
    ("pause_job", {"tag": "a"}, "pause_jobs", (), {"tag": "a", "note": None, "until": None}),
    ("resume_job", {"job_id": "oneiric:a"}, "resume_job", ("oneiric:a",), {}),
    ("resume_job", {"tag": "a"}, "resume_jobs", ("a",), {}),
    ("cancel_job", {"job_id": "oneiric:a"}, "cancel_job", ("oneiric:a",), {}),
    (
        "run_job_now",
        {"job_id": "oneiric:a", "idempotency_key": "k"},
        "run_job_now",
        ("oneiric:a",),
        {"idempotency_key": "k", "wait_seconds": 0, "on_progress": None},
    ),
    (
        "list_runs",
        {"job_id": "oneiric:a", "state": "dead", "since": "2026-12-01T00:00:00+00:00"},
        "list_runs",
        (),
        {
            "job_id": "oneiric:a",
            "state": RunState.DEAD,
            "since": "2026-12-01T00:00:00+00:00",
            "until": None,
            "limit": 50,
            "cursor": None,
        },
    ),
    ("get_run", {"run_id": "r"}, "get_run", ("r",), {"wait_seconds": 0}),
    ("cancel_run", {"run_id": "r"}, "cancel_run", ("r",), {}),
    ("replay_run", {"run_id": "r"}, "replay_run", ("r",), {"idempotency_key": None}),
    (
        "preview_schedule",
        {"trigger": INTERVAL, "timezone": "Europe/Paris"},
        "preview",
        (HALF_MINUTES,),
        {"count": 5, "start": None, "timezone": "Europe/Paris"},
    ),
    (
        "list_catalog",
        {"kind": "task", "query": "b"},
        "list_catalog",
        (),
        {"kind": "task", "query": "b", "limit": 50, "cursor": None},
    ),
    ("get_status", {}, "status", (), {}),
]


async def called(
    scheduler: RecordingScheduler, tool: str, arguments: dict[str, Any], *, mode: str = "auto"
) -> CallToolResult:
    """Call a tool as a client that says its name."""
    about = Implementation(name="claude code", version="1.2")
    async with Client(a_server(scheduler), mode=mode, client_info=about) as client:
        result: CallToolResult = await client.call_tool(tool, arguments)
    return result


def text_of(result: CallToolResult) -> str:
    """Give the one text block."""
    (block,) = result.content
    return str(getattr(block, "text", ""))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(("tool", "arguments", "method", "args", "kwargs"), CALLS)
async def test_a_tool_passes_its_arguments_on_and_answers_by_its_schema(
    tool: str,
    arguments: dict[str, Any],
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    mode: str,
) -> None:
    """Nothing is lost between the client and the scheduler, in both protocol eras."""
    scheduler = RecordingScheduler()

    result = await called(scheduler, tool, arguments, mode=mode)

    found_method, found_args, found_kwargs = scheduler.last()
    assert found_kwargs.pop("created_by", "claude-code/1.2") == "claude-code/1.2"
    assert (found_method, found_args, found_kwargs) == (method, args, kwargs)
    schema = next(found for found in declarations() if found.name == tool).output_schema
    validate(result.structured_content, schema)
    if tool not in LISTS and "tag" not in arguments:
        assert json.loads(text_of(result)) == result.structured_content


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("tool", ["schedule_internal_task", "run_job_now", "replay_run"])
async def test_what_is_made_bears_the_clients_name(tool: str, mode: str) -> None:
    """created_by is the client's own word for itself, made safe."""
    scheduler = RecordingScheduler()
    arguments = next(call[1] for call in CALLS if call[0] == tool)

    await called(scheduler, tool, arguments, mode=mode)

    assert scheduler.last()[2]["created_by"] == "claude-code/1.2"


async def test_two_hundred_jobs_in_brief_stay_under_30_000_characters() -> None:
    """A full page fits into an agent's context, even with the longest ids."""
    scheduler = RecordingScheduler()
    jobs = tuple(a_job(f"apscheduler:{'x' * 60}{number:04}") for number in range(200))
    scheduler.answers["list_jobs"] = Page[Job](rows=jobs, total=900, next_cursor="c" * 60)

    result = await called(scheduler, "list_jobs", {"limit": 200})

    lines = text_of(result).splitlines()
    assert len(text_of(result)) < 30_000
    assert len(lines) == 202
    assert all(job.job_id in line for job, line in zip(jobs, lines, strict=False))
    assert lines[-1] == f"total 900 jobs; next page: cursor={'c' * 60}"


async def test_a_brief_job_has_six_fields_and_a_full_one_all() -> None:
    """detail="full" gives what get_job gives, but for runs and fires."""
    brief = await called(RecordingScheduler(), "list_jobs", {})
    full = await called(RecordingScheduler(), "list_jobs", {"detail": "full"})

    assert brief.structured_content is not None
    assert full.structured_content is not None
    assert set(brief.structured_content["jobs"][0]) == {
        "job_id",
        "target",
        "state",
        "schedule_in_words",
        "next_run_at",
        "last_run",
    }
    assert full.structured_content["jobs"][0]["policies"]["overlap_policy"] == "skip"
    assert text_of(brief) == text_of(full)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_wait_reports_progress(mode: str) -> None:
    """Who waits for a run hears that the wait goes on."""
    scheduler = RecordingScheduler()
    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, _: str | None) -> None:
        heard.append((progress, total))

    async def run_and_report(**asked: Any) -> Any:
        await asked["on_progress"](1.0, 5.0, "running")
        return RecordingScheduler().answers["run_job_now"]

    scheduler.answers["run_job_now"] = run_and_report
    async with Client(a_server(scheduler), mode=mode) as client:
        arguments = {"job_id": "oneiric:a", "wait_seconds": 5}
        await client.call_tool("run_job_now", arguments, progress_handler=hear)
        await client.call_tool("get_run", {"run_id": "r", "wait_seconds": 5}, progress_handler=hear)

    assert heard == [(1.0, 5.0), (0.0, 5.0)]


async def test_the_scheduler_is_started_once_for_many_clients() -> None:
    """However many connect, there is one scheduler."""
    scheduler = RecordingScheduler()
    server = a_server(scheduler)

    async with Client(server) as first, Client(server) as second:
        await first.call_tool("get_status", {})
        await second.call_tool("get_status", {})

    assert scheduler.starts == 1
