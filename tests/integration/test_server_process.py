"""One server process over stdio, as an editor starts and ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import Place, RawServer, leaving_nothing, serving, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

ENDINGS = ["end_of_input", "SIGTERM", "SIGINT"]
PROMPT_SECONDS = 3.0
"""Clients give a server about two seconds before they kill it; the machine may be busy."""


def end(server: RawServer, how: str) -> None:
    """Give the process a reason to end."""
    if how == "end_of_input":
        assert server.process.stdin is not None
        server.process.stdin.close()
    else:
        server.process.send_signal(signal.Signals[how])


async def test_both_protocol_eras_see_the_same_server(tmp_path: Path) -> None:
    """A client of 2025-11-25 and one of 2026-07-28 get the same tools and the same answers."""
    place = Place.of(tmp_path)
    seen = {}

    async with leaving_nothing(place):
        for mode in ("legacy", "auto"):
            async with serving(place, mode=mode) as server:
                tools = [
                    tool.model_dump(exclude={"meta"}) for tool in await server.client.list_tools()
                ]
                seen[mode] = (tools, await server.call("list_jobs"))

    assert len(seen["auto"][0]) == 18
    assert seen["legacy"] == seen["auto"]


@pytest.mark.parametrize("how", ENDINGS)
async def test_every_way_to_end_is_clean(how: str, tmp_path: Path) -> None:
    """Whatever ends the server, it leaves with 0, no child stays, and stdout held JSON only."""
    place = Place.of(tmp_path)

    async with leaving_nothing(place):
        server = await RawServer.start(place)
        every_second = {"type": "interval", "seconds": 1}
        await server.call("schedule_internal_task", task="shout", trigger=every_second, id="noise")
        made = await server.call("enqueue_workflow", workflow_key="pair")
        run = await server.call("get_run", run_id=made["run_id"], wait_seconds=20)
        noisy = await server.call("run_job_now", job_id="apscheduler:noise", wait_seconds=10)
        await server.call("run_job_now", job_id="apscheduler:noise")

        end(server, how)
        code = await server.end()

    assert (run["state"], noisy["state"]) == ("succeeded", "succeeded")
    assert code == 0
    assert {json.loads(line)["jsonrpc"] for line in server.lines} == {"2.0"}


@pytest.mark.parametrize("how", ENDINGS)
async def test_the_exit_does_not_wait_for_prefect_to_start(how: str, tmp_path: Path) -> None:
    """Prefect takes many seconds to start; a server that is to end meanwhile ends at once."""
    place = Place.of(tmp_path)

    async with leaving_nothing(place):
        server = await RawServer.start(place)
        made = await server.call(
            "schedule_deployment", flow_name="pair", schedule_config={"interval_seconds": 60}
        )

        async def look() -> bool | None:
            return any(" _prefect" in words for words in place.processes.values()) or None

        await wait_until(look, "Prefect's server to start")
        status = await server.call("get_status")
        end(server, how)
        async with asyncio.timeout(PROMPT_SECONDS):
            code = await server.end()

    assert (code, made["job"]["state"]) == (0, "pending")
    assert status["engines"]["prefect"]["state"] == "starting"


async def test_a_killed_server_takes_its_children_with_it(tmp_path: Path) -> None:
    """Kill -9 leaves neither Prefect's processes nor a command's behind."""
    seconds = f"600.{os.getpid()}"
    command = {"argv": ["/bin/sleep", seconds], "description": "Sleep"}
    place = Place.of(tmp_path, tasks={"commands": {"sleep_long": command}}, workflows={})

    async with leaving_nothing(place):
        server = await RawServer.start(place)
        later = {"type": "date", "in_seconds": 600}
        await server.call("schedule_internal_task", task="sleep_long", trigger=later, id="nap")
        await server.call("run_job_now", job_id="apscheduler:nap")

        async def look() -> set[int] | None:
            return sleepers(seconds) or None

        before = await wait_until(look, "the command to run")
        server.process.kill()
        await server.end()

        async def look_gone() -> bool | None:
            return None if sleepers(seconds) & before else True

        await wait_until(look_gone, "the command to end")


def sleepers(seconds: str) -> set[int]:
    """Give the processes that sleep for just so long."""
    listed = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return {int(pid) for pid, words in rows if words == f"/bin/sleep {seconds}"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limts: {max_jobs: 5}\n", "limits"),
        ("limits: {max_jobs: many}\n", "limits.max_jobs"),
        ("workflows: {w: {nodes: [{id: a, task: nope}]}}\n", "'a'"),
    ],
    ids=["unknown key", "wrong type", "unknown task in a node"],
)
def test_wrong_settings_stop_the_start(text: str, said: str, tmp_path: Path) -> None:
    """The server does not serve half of what was meant: it says what is wrong, and exits with 2."""
    place = Place(tmp_path)
    place.config.write_text(text)

    done = subprocess.run(
        place.command(),
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
