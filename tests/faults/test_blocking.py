"""Python tasks that block, in a real server: named on the loop, harmless anywhere else."""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Place, Server, leaving_nothing, serving, wait_until
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
LATER = {"type": "date", "in_seconds": 86_400}
BLOCKING = ("sleeps", "computes", "matches")
_MODULE = '''
import asyncio
import re
import time

from mahavishnu_sched_mcp.tasks.mark import task


@task
async def sleeps() -> None:
    """Wait in the wrong way."""
    time.sleep(0.5)


@task
async def computes() -> None:
    """Compute for a while."""
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass


@task
async def matches() -> None:
    """Keep the interpreter's lock with one call, for about half a second."""
    for length in range(16, 40):
        began = time.monotonic()
        re.match("(a+)+$", "a" * length + "b")
        if time.monotonic() - began > 0.4:
            break


@task
def dozes(number: int) -> None:
    """Hold a thread."""
    time.sleep(30)


@task(timeout_seconds=3)
def dozes_limited(path: str) -> None:
    """Hold a process."""
    open(path, "w").close()
    time.sleep(30)
'''


def a_place(folder: Path) -> Place:
    """Make a place whose operator has careless tasks."""
    (folder / "careless.py").write_text(_MODULE, encoding="utf-8")
    return Place.of(folder, tasks={"modules": ["shouting", "careless"]})


async def job_of(server: Server, task: str, **definition: Any) -> str:
    """Make a job for later, and give its id."""
    made = await server.call("schedule_internal_task", task=task, trigger=LATER, **definition)
    job_id: str = made["job"]["job_id"]
    return job_id


async def test_whoever_blocks_the_loop_is_named(tmp_path: Path, tally: Tally) -> None:
    """Ten of ten, by task, run and line: in the log, in `get_status` and by `health_check`."""
    place = a_place(tmp_path)

    async with leaving_nothing(place), serving(place) as server:
        jobs = {task: await job_of(server, task) for task in BLOCKING}
        ran = [
            (task, await server.call("run_job_now", job_id=jobs[task], wait_seconds=20))
            for task in (BLOCKING * 4)[:10]
        ]

        async def look() -> list[str] | None:
            found = [line for line in place.log.read_text().splitlines() if "loop_blocked" in line]
            return found if len(found) >= len(ran) else None

        lines = await wait_until(look, "a line in the log for each")
        attention = "\n".join((await server.call("get_status"))["attention"])
        check = await job_of(server, "health_check")
        checked = await server.call("run_job_now", job_id=check, wait_seconds=20)

    named = sum(
        any(run["run_id"] in line and f"careless.{task}:" in line for line in lines)
        for task, run in ran
    )
    tally(blockages=len(ran), named=named)
    assert named == len(ran) == 10
    assert [task for task in BLOCKING if f"task '{task}' blocked" not in attention] == []
    assert [task for task in BLOCKING if f"careless.{task}:" not in checked["output"]["text"]] == []


async def test_calls_are_answered_while_functions_hold_their_threads(
    tmp_path: Path, tally: Tally
) -> None:
    """More sleeping functions than threads, for half a minute: `list_jobs` answers at once."""
    place = a_place(tmp_path)
    loop = asyncio.get_running_loop()
    took: list[float] = []

    async with leaving_nothing(place):
        async with serving(place) as server:
            for number in range(10):
                job_id = await job_of(server, "dozes", params={"number": number})
                await server.call("run_job_now", job_id=job_id)
            for _ in range(amount(1000)):
                began = loop.time()
                await server.call("list_jobs")
                took.append(loop.time() - began)
            running = await server.runs(state="running")
            began = loop.time()
        ended = loop.time() - began

    p99 = sorted(took)[math.ceil(len(took) * 0.99) - 1]
    tally(
        calls=len(took), ms_p99=round(p99 * 1e3), functions=len(running), s_to_end=round(ended, 1)
    )
    assert len(running) == 10
    assert p99 < 1
    assert ended < 10


async def test_a_function_with_a_limit_is_really_ended(tmp_path: Path, tally: Tally) -> None:
    """Its process is gone with its time; a thread would go on for half a minute."""
    place = a_place(tmp_path)
    token = tmp_path / "dozing"

    async with leaving_nothing(place), serving(place) as server:
        before = set(place.processes)
        jobs = [
            await job_of(server, "dozes_limited", params={"path": f"{token}-{number}"})
            for number in range(amount(40))
        ]
        started = [await server.call("run_job_now", job_id=job_id) for job_id in jobs]
        runs = [
            await server.call("get_run", run_id=run["run_id"], wait_seconds=60) for run in started
        ]
        left = set(place.processes) - before

    began = sum(name.startswith("dozing-") for name in os.listdir(tmp_path))  # noqa: PTH208 - names
    tally(functions=len(runs), began=began, survivors=len(left))
    assert left == set()
    assert {run["state"] for run in runs} == {"timed_out"}
    assert began > 0
