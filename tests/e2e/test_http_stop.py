"""How a server over HTTP ends: for its clients, for its children, and as process 1."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import Place, leaving_nothing, wait_until
from tests.e2e.web import logged, web_serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

LATER = {"type": "date", "in_seconds": 3600}
DEPLOYMENT = {"flow_name": "pair", "schedule_config": {"interval_seconds": 60}}
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)

as_first_process = pytest.mark.skipif(
    shutil.which("unshare") is None,
    reason="unshare is missing: install it, e.g. `apt-get install util-linux`",
)


async def test_a_stopping_server_answers_to_the_end(tmp_path: Path) -> None:
    """While runs drain, new calls are refused as shutting_down, and who waits gets the result."""
    place = Place.of(tmp_path, workflows={})
    slow: dict[str, Any] = {"task": "dawdle", "params": {"seconds": 7}, "trigger": LATER}

    async with leaving_nothing(place):
        with web_serving(place) as server:
            async with server.client(mode="legacy") as client:
                await client.call_tool("schedule_internal_task", slow | {"id": "slow"})
                begun = await client.call_tool("run_job_now", {"job_id": "apscheduler:slow"})
                run = {"run_id": (begun.structured_content or {})["run_id"]}
                waiting = asyncio.create_task(
                    client.call_tool("get_run", run | {"wait_seconds": 30})
                )

                async def look() -> bool | None:
                    found = (await client.call_tool("get_run", run)).structured_content or {}
                    return found["state"] == "running" or None

                await wait_until(look, "the run to begin")
                server.process.send_signal(signal.SIGTERM)

                async def look_stopping() -> bool | None:
                    return True if logged(place, "server_stopping") else None

                await wait_until(look_stopping, "the signal to be heeded")
                health = server.ask("GET", "/healthz")
                refused = server.call("schedule_internal_task", **slow).message["result"]
                read = server.call("list_jobs").message["result"]
                waited = await waiting
            code = server.process.wait(30)

    assert (health.status, json.loads(health.body)) == (503, {"status": "failing"})
    assert refused["isError"]
    assert refused["content"][0]["text"].startswith("[shutting_down] ")
    assert read["content"][0]["text"].startswith("[shutting_down] ")
    assert (waited.structured_content or {})["state"] == "succeeded"
    assert code == 0


async def test_a_workflow_of_the_queue_is_drained_too(tmp_path: Path) -> None:
    """What the server itself took from the queue has the same seconds to finish."""
    nodes = [{"id": "only", "task": "dawdle", "payload": {"seconds": 3}}]
    place = Place.of(tmp_path, workflows={"slow": {"description": "Slow", "nodes": nodes}})

    async with leaving_nothing(place):
        with web_serving(place) as server:
            made = server.call("enqueue_workflow", workflow_key="slow").message["result"]
            run_id = made["structuredContent"]["run_id"]

            async def look() -> bool | None:
                found = server.call("get_run", run_id=run_id).message["result"]
                return found["structuredContent"]["state"] == "running" or None

            await wait_until(look, "the workflow to begin", seconds=20)
            code = server.stop()
        with web_serving(place) as server:
            after = server.call("get_run", run_id=run_id).message["result"]["structuredContent"]

    assert code == 0
    assert (after["state"], len(after["attempts"])) == ("succeeded", 1)


async def test_open_connections_hold_nothing_up(tmp_path: Path) -> None:
    """A silent connection, a half request and a session's stream do not keep the process."""
    place = Place.of(tmp_path, workflows={})

    async with leaving_nothing(place):
        with (
            web_serving(place) as server,
            socket.create_connection((server.address, server.port)),
            socket.create_connection((server.address, server.port)) as half,
        ):
            half.sendall(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n")
            async with server.client(mode="legacy") as client:
                await client.list_tools()
                began = time.monotonic()
                code = server.stop()
                seconds = time.monotonic() - began

    assert code == 0
    assert seconds < 2


async def test_two_signals_leave_nothing_of_prefect(tmp_path: Path) -> None:
    """Prefect's processes end by themselves when the server is gone at once."""
    place = Place.of(tmp_path)

    async with leaving_nothing(place):
        with web_serving(place) as server:
            made = server.call("schedule_deployment", **DEPLOYMENT).message["result"]

            async def look() -> bool | None:
                return any(" _prefect" in words for words in place.processes.values()) or None

            await wait_until(look, "Prefect's server to start", seconds=20)
            os.kill(server.process.pid, signal.SIGSTOP)  # so that both come at the same time
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGINT)
            os.kill(server.process.pid, signal.SIGCONT)
            code = server.process.wait(5)

    assert not made.get("isError"), made
    assert code in {128 + signal.SIGTERM, 128 + signal.SIGINT}


def start_as_first(place: Place, *words: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server as process 1 of a namespace; give unshare and the server's number here."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    apart = ["unshare", *rights, "--pid", "--fork", "--mount-proc", "--kill-child"]
    with place.log.open("ab") as log:
        outer = subprocess.Popen(
            [*apart, *place.command("serve", *words)],
            env=place.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + 20
    while not (found := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return outer, int(found[0])


def catches_sigterm(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & SIGTERM_BIT)


@as_first_process
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_it_can_be_a_containers_first_process(transport: str, tmp_path: Path) -> None:
    """Process 1 is ended only by signals it handles: it does, while it loads and when it serves."""
    place = Place.of(tmp_path, workflows={})
    words = ["--transport", "http", "--port", "0"] if transport == "http" else []

    async with leaving_nothing(place):
        loading, pid = start_as_first(place, *words)

        async def look() -> bool | None:
            return catches_sigterm(pid) or None

        await wait_until(look, "the handler to be there", seconds=20)
        os.kill(pid, signal.SIGTERM)
        code_loading = await asyncio.to_thread(loading.wait, 10)
        before = len(logged(place, "lead_taken"))

        serving, pid = start_as_first(place, *words)

        async def look_serving() -> bool | None:
            return len(logged(place, "lead_taken")) > before or None

        await wait_until(look_serving, "the server to serve", seconds=20)
        os.kill(pid, signal.SIGTERM)
        code_serving = await asyncio.to_thread(serving.wait, 10)
        for process in (loading, serving):
            assert process.stdin is not None
            process.stdin.close()

    assert (code_loading, code_serving) == (0, 0)
    assert [entry["cause"] for entry in logged(place, "server_stopping")][-1:] == ["SIGTERM"]
