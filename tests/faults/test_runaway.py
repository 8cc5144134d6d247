"""Programs that run away, in a real server: ended in time, capped, and in nobody's way."""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of, processes_of
from tests.e2e.servers import Place, RawServer, Server, leaving_nothing, serving, wait_until
from tests.faults.runaways import KINDS, runaway_commands
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="needs Linux: looks into /proc"
    ),
]
MEBIBYTE = 1 << 20
CAP = 65_536
LIMIT_SECONDS = 1
MOST_SECONDS_AFTER = 3.0
"""So long after its time is up nothing of a program may be left."""
BESIDE = "apscheduler:beside"


class Growth:
    """How much memory a process takes beyond what it had at first, at most."""

    def __init__(self, pid: int) -> None:
        """Look for the first time."""
        self._path = Path(f"/proc/{pid}/statm")
        self._first = self._look()
        self.most = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look again and again meanwhile."""
        looking = asyncio.create_task(self._look_again())
        try:
            yield
        finally:
            looking.cancel()

    async def _look_again(self) -> None:
        while True:
            self.most = max(self.most, self._look() - self._first)
            await asyncio.sleep(0.02)

    def _look(self) -> int:
        return int(self._path.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def schedule_all(server: Server | RawServer, *, limit_seconds: float = LIMIT_SECONDS) -> None:
    """Make a job of each program, for later, and one that is due each second."""
    later = {"type": "date", "in_seconds": 86_400}
    for kind in KINDS:
        await server.call(
            "schedule_internal_task",
            task=kind, trigger=later, id=kind, timeout_seconds=limit_seconds,
        )  # fmt: skip
    await server.call(
        "schedule_internal_task",
        task="shout", trigger={"type": "interval", "seconds": 1}, id="beside",
    )  # fmt: skip


async def run_all(server: Server) -> dict[str, dict[str, Any]]:
    """Run all programs at once, and give their runs as soon as all are over."""

    async def run(kind: str) -> dict[str, Any]:
        made = await server.call("run_job_now", job_id=f"apscheduler:{kind}")
        return await server.call("get_run", run_id=made["run_id"], wait_seconds=30)

    return dict(zip(KINDS, await asyncio.gather(*map(run, KINDS)), strict=True))


async def all_under_way(token: Path) -> bool | None:
    """Wait for the forks: there are more of them than of all others."""
    return True if len(processes_of(token)) > 200 else None


def percentile(values: list[int], percent: int) -> int:
    """Give the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@pytest.mark.timeout(600)
async def test_a_runaway_program_ends_with_its_time_and_is_in_nobodys_way(
    tmp_path: Path, tally: Tally
) -> None:
    """Ten kinds at once: none survives its time by 3 s, memory stays, a job beside goes on."""
    token = tmp_path / "runaway"
    commands = runaway_commands(str(token))
    tasks = {"modules": ["shouting"], "commands": commands}
    place = Place.of(tmp_path, tasks=tasks, limits={"max_output_bytes": CAP})
    rounds: list[dict[str, dict[str, Any]]] = []
    survivors: dict[int, str] = {}

    async with leaving_nothing(place), serving(place) as server:
        try:
            await schedule_all(server)
            await server.until_run(BESIDE, count=1)
            growth = Growth(server.pid)
            async with growth.watched():
                for _ in range(amount(10)):
                    rounds.append(await run_all(server))
                    survivors |= processes_of(token)
            beside = [
                run["lateness_ms"]
                for run in await server.runs(job_id=BESIDE)
                if run["lateness_ms"] is not None
            ]
        finally:
            kill_processes_of(token)

    runs = [run for batch in rounds for run in batch.values()]
    after = max(run["duration_ms"] for run in runs) / 1e3 - LIMIT_SECONDS
    floods = [batch[kind]["output"] for batch in rounds for kind in ("yes", "zeros")]
    tally(
        rounds=len(runs),
        survivors=len(survivors),
        seconds_after_the_limit=round(after, 2),
        MiB_more_memory=growth.most // MEBIBYTE,
        MiB_written=sum(output["bytes"] for output in floods) // MEBIBYTE,
        ms_late_beside_p99=percentile(beside, 99),
        fires_beside=len(beside),
    )
    assert survivors == {}
    assert {run["state"] for run in runs} == {"timed_out"}
    assert after <= MOST_SECONDS_AFTER
    assert growth.most <= 64 * MEBIBYTE
    assert percentile(beside, 99) <= 1000
    assert all(output["truncated"] and output["bytes"] > MEBIBYTE for output in floods)


async def test_a_flood_keeps_its_head_its_tail_and_its_true_size(tmp_path: Path) -> None:
    """What is between is cut, and the line that says so counts it to the byte."""
    token = tmp_path / "runaway"
    flood = {
        "argv": ["/bin/sh", "-c", "echo head; head -c 50000000 /dev/zero | tr '\\0' x; echo tail"],
        "env": {"RUNAWAY_TOKEN": str(token)},
    }
    tasks = {"modules": ["shouting"], "commands": {"flood": flood}}
    place = Place.of(tmp_path, tasks=tasks, limits={"max_output_bytes": CAP})

    async with leaving_nothing(place), serving(place) as server:
        made = await server.call(
            "schedule_internal_task", task="flood", trigger={"type": "date", "in_seconds": 9999}
        )
        run = await server.call("run_job_now", job_id=made["job"]["job_id"], wait_seconds=20)
        shown = await server.call("get_run", run_id=run["run_id"], output_bytes=CAP)

    output = shown["output"]
    assert (output["bytes"], output["truncated"]) == (50_000_010, True)
    assert output["text"].startswith("head\nxxx")
    assert output["text"].endswith("xxxtail\n")
    assert len(output["text"]) <= CAP + 100


@pytest.mark.timeout(60)
async def test_programs_under_way_end_with_a_killed_server(tmp_path: Path, tally: Tally) -> None:
    """SIGKILL of the server while all ten kinds run: nothing is left three seconds later."""
    token = tmp_path / "runaway"
    tasks = {"modules": ["shouting"], "commands": runaway_commands(str(token))}
    place = Place.of(tmp_path, tasks=tasks)
    loop = asyncio.get_running_loop()

    async def look() -> bool | None:
        return None if processes_of(token) else True

    async with leaving_nothing(place):
        server = await RawServer.start(place)
        await schedule_all(server, limit_seconds=600)
        for kind in KINDS:
            await server.call("run_job_now", job_id=f"apscheduler:{kind}")
        await wait_until(lambda: all_under_way(token), "all programs to run")
        server.process.kill()
        killed = loop.time()
        try:
            await wait_until(look, "all programs to end", seconds=10)
        finally:
            took = loop.time() - killed
            left = kill_processes_of(token)
            await server.end()

    tally(programs=len(KINDS), survivors=len(left), seconds=round(took, 2))
    assert took <= MOST_SECONDS_AFTER
