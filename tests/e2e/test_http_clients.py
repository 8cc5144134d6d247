"""What clients do over HTTP: the same as over stdio, in both protocol eras, many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from mahavishnu_sched_mcp.server.factory import TOOL_ORDER
from tests.e2e.servers import Place, leaving_nothing, serving, wait_until
from tests.e2e.web import WebServer, web_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

type WebClient = Client[StreamableHttpTransport]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

EVERY_SECOND = {"type": "interval", "seconds": 1}
ERAS = ["legacy", "auto"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    """Serve at a place of the test's own."""
    with web_serving(Place.of(tmp_path)) as serving:
        yield serving


async def call(client: WebClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and give its structured answer."""
    return (await client.call_tool(tool, arguments)).structured_content or {}


async def succeeded(client: WebClient, job_id: str, *, count: int) -> list[dict[str, Any]]:
    """Wait for so many successful runs."""

    async def look() -> list[dict[str, Any]] | None:
        found = await call(client, "list_runs", job_id=job_id, state="succeeded")
        runs: list[dict[str, Any]] = found["runs"]
        return runs if len(runs) >= count else None

    return await wait_until(look, f"{count} runs of {job_id}", seconds=20)


@pytest.mark.parametrize("mode", ERAS)
async def test_either_era_schedules_and_sees_its_runs(mode: str, server: WebServer) -> None:
    """A job made over HTTP fires, a workflow goes through the queue, a refusal says its mend."""
    told = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async with server.client(mode=mode) as client:
        tools = [tool.name for tool in await client.list_tools()]
        made = await call(
            client, "schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick"
        )
        runs = await succeeded(client, "apscheduler:tick", count=2)
        queued = await call(client, "enqueue_workflow", workflow_key="pair")
        through = await call(client, "get_run", run_id=queued["run_id"], wait_seconds=20)
        later = {"type": "date", "in_seconds": 600}
        await call(
            client,
            "schedule_internal_task",
            task="dawdle",
            params={"seconds": 2},
            trigger=later,
            id="slow",
        )
        slow = await client.call_tool(
            "run_job_now",
            {"job_id": "apscheduler:slow", "wait_seconds": 15},
            progress_handler=on_progress,
        )
        unknown = await client.call_tool("get_job", {"job_id": "nope"}, raise_on_error=False)

    assert tools == list(TOOL_ORDER)
    assert made["outcome"] == "created"
    assert {run["state"] for run in runs} == {"succeeded"}
    assert through["state"] == "succeeded"
    assert (slow.structured_content or {})["state"] == "succeeded"
    assert told
    assert unknown.is_error


async def test_several_clients_share_one_server(server: WebServer) -> None:
    """The scheduler is started once, whoever comes, and outlives every client."""
    async with server.client(mode="legacy") as first, server.client(mode="auto") as second:
        made = await call(
            first, "schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick"
        )
        seen = await call(second, "list_jobs")
    async with server.client() as third:
        status = await call(third, "get_status")
        await succeeded(third, "apscheduler:tick", count=2)
        same = await asyncio.gather(
            *(
                call(third, "schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick")
                for _ in range(20)
            )
        )

    assert [job["job_id"] for job in seen["jobs"]] == [made["job"]["job_id"]]
    assert (status["leader"]["pid"], status["leader"]["term"]) == (server.process.pid, 1)
    assert {one["outcome"] for one in same} == {"existed"}


async def test_http_and_stdio_servers_share_a_data_dir(tmp_path: Path) -> None:
    """The server over HTTP leads, an editor's own one follows, and nothing fires twice."""
    place = Place.of(tmp_path)
    async with leaving_nothing(place):
        with web_serving(place) as server:
            async with (
                server.client(mode="legacy") as one,
                server.client() as two,
                serving(place) as editor,
            ):
                await editor.call(
                    "schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick"
                )
                runs = await succeeded(one, "apscheduler:tick", count=3)
                status = await call(two, "get_status")
                runs_seen = await editor.runs(job_id="apscheduler:tick")
            code = server.stop()

    instants = [run["scheduled_for"] for run in runs_seen]
    assert not editor.is_leader
    assert status["leader"]["pid"] == server.process.pid
    assert {run["run_id"] for run in runs} <= {run["run_id"] for run in runs_seen}
    assert len(instants) == len(set(instants))
    assert len({run["worker"] for run in runs}) == 1
    assert code == 0
