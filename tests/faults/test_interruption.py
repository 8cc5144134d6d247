"""A server killed with work under way: the old processes are dead before the new ones begin.

The ground truth is a witness: an allow-listed program that writes down its beginning with its
process number, and which of its predecessors in the same run are alive at that instant.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.tasks.leftovers import end_leftovers
from tests.e2e.servers import Place, RawServer, leaving_nothing, wait_until
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="needs Linux: looks into /proc"
    ),
]
RUNS = 8
LATER = {"type": "date", "in_seconds": 86_400}
_WITNESS = """
import json, os, signal, sys, time
def started(pid):
    try:
        text = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if text[0] in "ZX" else text[19]
path, run, attempt = sys.argv[1], os.environ["MAHAVISHNU_RUN_ID"], os.environ["MAHAVISHNU_ATTEMPT"]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
lines = [json.loads(line) for line in open(path)] if os.path.exists(path) else []
before = [line for line in lines if line["run"] == run and line["attempt"] != attempt]
alive = [line["pid"] for line in before if started(line["pid"]) == line["started"]]
me = {"run": run, "attempt": attempt, "pid": os.getpid(), "started": started(os.getpid()),
      "alive": alive}
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(file, json.dumps(me).encode() + b"\\n")
time.sleep(60)
"""


def a_place(folder: Path) -> Place:
    """Make a place with the witness as a command."""
    script = folder / "witness.py"
    script.write_text(_WITNESS, encoding="utf-8")
    argv = [sys.executable, "-IS", str(script), str(folder / "witnessed")]
    commands = {"witness": {"argv": argv, "idempotent": True}}
    return Place.of(folder, tasks={"modules": ["shouting"], "commands": commands})


def witnessed(place: Place) -> list[dict[str, Any]]:
    """Read what the witnesses wrote."""
    path = place.folder / "witnessed"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def until_begun(place: Place, run_ids: Iterable[str], *, attempt: int) -> None:
    """Wait until both processes of an attempt of each run are there."""
    wanted = {(run_id, str(attempt)) for run_id in run_ids}

    async def look() -> bool | None:
        seen = [(line["run"], line["attempt"]) for line in witnessed(place)]
        return True if all(seen.count(one) == 2 for one in wanted) else None

    await wait_until(look, f"attempt {attempt} of {len(wanted)} runs to begin", seconds=60)


async def begin(server: RawServer, place: Place, names: Iterable[str]) -> list[str]:
    """Start a run of a new job for each name, and give the runs once all are under way."""
    run_ids = []
    for name in names:
        made = await server.call(
            "schedule_internal_task", task="witness", trigger=LATER, id=name, max_attempts=1
        )
        run = await server.call("run_job_now", job_id=made["job"]["job_id"])
        run_ids.append(run["run_id"])
    await until_begun(place, run_ids, attempt=1)
    return run_ids


def is_alive(line: dict[str, Any]) -> bool:
    """Tell whether a witness still is the process that wrote this line."""
    try:
        text = Path(f"/proc/{line['pid']}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = text.rpartition(")")[2].split()
    return fields[0] not in {"Z", "X"} and fields[19] == line["started"]


def below(pid: int, name: str) -> list[int]:
    """Find the descendants of a process whose command line or name contains a text."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                command = (entry / "cmdline").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
            names[int(entry.name)] = stat.partition("(")[2].rpartition(")")[0] + command
    found, size = {pid}, 0
    while size != len(found):
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return [one for one in found if one != pid and name in names[one]]


def kill_server(server: RawServer) -> None:
    """Kill the server alone."""
    server.process.kill()


def kill_guardian_first(server: RawServer) -> None:
    """Kill the guardian with its whole group, then the server."""
    for pid in below(server.process.pid, "tasks.supervisor import main"):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    server.process.kill()


def kill_everything_between(server: RawServer) -> None:
    """Kill the server, its guardian and all supervisors: nobody is left who knows of the rest."""
    own = [
        *below(server.process.pid, "tasks.supervisor import main"),
        *below(server.process.pid, "mahavishnu-run"),
    ]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in {server.process.pid, *own}:
            with suppress(ProcessLookupError):  # it was about to end by itself
                os.kill(pid, number)


WAYS: tuple[Callable[[RawServer], None], ...] = (
    kill_server,
    kill_guardian_first,
    kill_everything_between,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", WAYS)
async def test_leftovers_of_a_killed_server_are_ended(
    way: Callable[[RawServer], None], tmp_path: Path, tally: Tally
) -> None:
    """Whatever was killed with it: after `end_leftovers` no process of its runs is alive."""
    place = a_place(tmp_path)
    survivors = 0

    async with leaving_nothing(place):
        server = await RawServer.start(place)
        run_ids = await begin(server, place, [f"nap-{number}" for number in range(RUNS)])
        way(server)
        left = await asyncio.to_thread(end_leftovers, run_ids, within=5)
        survivors = sum(map(is_alive, witnessed(place)))
        await server.end()

    tally(processes=2 * RUNS, survivors=survivors)
    assert left == frozenset()
    assert survivors == 0


@pytest.mark.timeout(900)
async def test_old_processes_are_dead_before_a_run_begins_again(
    tmp_path: Path, tally: Tally
) -> None:
    """Kill, start, and look what the second attempts saw of the first: nothing alive."""
    place = a_place(tmp_path)
    kills, all_runs = amount(40), []

    async with leaving_nothing(place):
        server = await RawServer.start(place)
        for number in range(kills):
            run_ids = await begin(server, place, [f"nap-{number}-{one}" for one in range(RUNS)])
            all_runs += run_ids
            WAYS[number % len(WAYS)](server)
            await server.process.wait()
            server = await RawServer.start(place)
            await until_begun(place, run_ids, attempt=2)
            for run_id in run_ids:
                await server.call("cancel_run", run_id=run_id)
        ended = [
            await server.call("get_run", run_id=run_id, wait_seconds=20) for run_id in all_runs
        ]
        assert server.process.stdin is not None
        server.process.stdin.close()
        await server.end()

    overlaps = sum(bool(line["alive"]) for line in witnessed(place))
    stuck = sum(run["state"] in {"pending", "running"} for run in ended)
    outcomes = [tuple(one["outcome"] for one in run["attempts"]) for run in ended]
    tally(kills=kills, attempts=len(all_runs), overlaps=overlaps, stuck=stuck)
    assert overlaps == 0
    assert stuck == 0
    assert set(outcomes) == {("interrupted", "cancelled")}
