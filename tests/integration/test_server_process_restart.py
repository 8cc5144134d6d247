"""A server that is stopped and started again, on the same data dir."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Place, Server, leaving_nothing, seconds_of, serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

TICK = "apscheduler:tick"
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "tick": (
        "schedule_internal_task",
        {"task": "shout", "trigger": {"type": "interval", "seconds": 1}, "id": "tick"},
    ),
    "nightly": (
        "schedule_internal_task",
        {
            "task": "shout",
            "trigger": {"type": "cron", "expression": "0 2 * * 1-5", "timezone": "Europe/Paris"},
            "tags": ["night"],
            "idempotency_key": "nightly",
        },
    ),
    "pair": (
        "enqueue_workflow",
        {"workflow_key": "pair", "context": {"word": "kept"}, "idempotency_key": "pair"},
    ),
    "weekly": (
        "enqueue_workflow",
        {"workflow_key": "pair", "trigger": {"type": "cron", "expression": "@weekly"}},
    ),
}


async def all_jobs(server: Server) -> dict[str, dict[str, Any]]:
    """Give every job there ever was, in full."""
    found: dict[str, dict[str, Any]] = {}
    for state in (None, "completed", "cancelled"):
        page = await server.call("list_jobs", detail="full", state=state)
        found |= {job["job_id"]: job for job in page["jobs"]}
    return found


def lasting(job: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a job what goes on by itself."""
    moving = {"next_run_at", "last_run", "counts"}
    return {name: value for name, value in job.items() if name not in moving}


async def outcome_of(server: Server, name: str) -> str:
    """Send a creating call once more, and give what it says of it."""
    tool, call = MADE[name]
    return str((await server.call(tool, **call))["outcome"])


async def test_two_full_restarts_lose_nothing(tmp_path: Path) -> None:
    """Jobs, runs, counts and idempotency keys outlive every end of the server."""
    place = Place.of(tmp_path)

    async with leaving_nothing(place):
        async with serving(place) as server:
            made = {name: await server.call(tool, **call) for name, (tool, call) in MADE.items()}
            await server.call("get_run", run_id=made["pair"]["run_id"], wait_seconds=20)
            await server.call("cancel_job", job_id=made["weekly"]["job"]["job_id"])
            await server.until_run(TICK, count=2)
            await server.call("pause_job", job_id=TICK, note="before the end")
            jobs = await all_jobs(server)
            runs = {run["run_id"]: run for run in await server.runs()}

        for _ in range(2):
            async with serving(place) as server:
                jobs_now = await all_jobs(server)
                runs_now = {run["run_id"]: run for run in await server.runs()}
                again = {name: await outcome_of(server, name) for name in ("nightly", "pair")}
                detail = await server.call("get_job", job_id=TICK)

            assert {name: lasting(job) for name, job in jobs_now.items()} == {
                name: lasting(job) for name, job in jobs.items()
            }
            assert {name: job["counts"] for name, job in jobs_now.items()} == {
                name: job["counts"] for name, job in jobs.items()
            }
            assert runs_now == runs
            assert again == {"nightly": "existed", "pair": "existed"}
            assert (detail["state"], detail["note"]) == ("paused", "before the end")


async def test_a_job_goes_on_after_a_restart_and_its_dead_time_is_on_record(tmp_path: Path) -> None:
    """An active job fires again by itself; no second of its life is without a record."""
    place = Place.of(tmp_path)
    tool, call = MADE["tick"]

    async with leaving_nothing(place):
        async with serving(place) as server:
            await server.call(tool, **call)
            before = await server.until_run(TICK, count=2)
        async with serving(place) as server:
            await server.until_run(TICK, count=len(before) + 3)
            await server.call("pause_job", job_id=TICK)
            runs = await server.runs(job_id=TICK)

    assert {run["run_id"] for run in before} <= {run["run_id"] for run in runs}
    assert {run["state"] for run in runs} <= {"succeeded", "skipped", "missed", "running"}
    assert seconds_of(runs) == list(range(sum(run["fires"] for run in runs)))
