"""Stops of real servers with tasks of all sorts, and what was left of them."""

from __future__ import annotations

import asyncio
import math
import os
import select
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from mahavishnu_sched_mcp.settings import load_settings
from tests.e2e.servers import Place, RawServer, serving, wait_until
from tests.e2e.web import logged, web_serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

type Call = Callable[..., Awaitable[dict[str, Any]]]

HANG_SECONDS = 45.0
SURVIVAL_SECONDS = 3.0
_LATER = {"type": "date", "in_seconds": 3600}
_LABORER = '''
"""Writes down that it began, works for a while, writes down that it ended."""
import os
import signal
import sys
import time

witness, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])


def note(word):
    line = f"{os.environ['MAHAVISHNU_RUN_ID']} {word} {os.getpid()}\\n"
    descriptor = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if kind == "forked" and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(seconds)
    os._exit(0)
note("START")
time.sleep(seconds)
note("END")
'''


@dataclass(frozen=True)
class Stop:
    """A way to end a server.

    Attributes:
        how: EOF, SIGTERM, SIGINT or TWICE (two SIGTERMs).
        tasks: How many commands run: one or more of them ignore SIGTERM or left their session.
        seconds: How long each would take.
    """

    transport: str
    how: str
    tasks: int
    seconds: float = 600


@dataclass(frozen=True)
class Ended:
    """How a server ended.

    Attributes:
        code: Its exit code; None where a client of the library waited for it.
        seconds: From the last thing done to end it, to its end.
        causes: Why it stopped, as it logged.
        survivors: Processes that were still there `SURVIVAL_SECONDS` later.
        at_rest: The state of each run when the server had ended.
        after: The state of each run once the next server had started.
        finished: Tasks that worked to their end.
    """

    code: int | None
    seconds: float
    causes: list[str]
    survivors: dict[int, str]
    at_rest: dict[str, str]
    after: dict[str, str]
    finished: int


async def carry_out(stop: Stop, folder: Path) -> Ended:
    """Start a server with tasks, end it, and look at what is left."""
    place = _place(folder)
    try:
        return await _carry_out(stop, place)
    finally:
        kill_processes_of(place.folder)


async def _carry_out(stop: Stop, place: Place) -> Ended:
    code, seconds, started = await _WAYS[stop.transport, stop.how](place, stop)
    survivors = await _survivors(place)
    at_rest = await _states(place, lead=False)
    after = await _states(place, lead=True)
    assert started == at_rest.keys() == after.keys()
    return Ended(
        code=code,
        seconds=seconds,
        causes=[entry["cause"] for entry in logged(place, "server_stopping")],
        survivors=survivors,
        at_rest=at_rest,
        after=after,
        finished=witnessed(place).count("END"),
    )


def witnessed(place: Place) -> list[str]:
    """Give what the tasks wrote down."""
    file = place.folder / "witness"
    return [line.split()[1] for line in file.read_text().splitlines()] if file.exists() else []


def _place(folder: Path) -> Place:
    folder.mkdir()
    (folder / "laborer.py").write_text(_LABORER, encoding="utf-8")
    program = [sys.executable, "-I", "-S", str(folder / "laborer.py"), str(folder / "witness")]
    kinds = {"type": "string", "enum": ["plain", "stubborn", "forked"]}
    labor = {
        "description": "Work for a while",
        "argv": [*program, "{kind}", "{seconds}"],
        "params": {"kind": kinds, "seconds": {"type": "number"}},
    }
    return Place.of(folder, tasks={"commands": {"labor": labor}}, workflows={})


async def set_to_work(call: Call, place: Place, stop: Stop) -> set[str]:
    """Start the tasks, wait until all are at work, and give their runs."""
    kinds = ["stubborn", "forked", *["plain"] * 6][: stop.tasks]
    runs = set()
    for number, kind in enumerate(kinds):
        params = {"kind": kind, "seconds": stop.seconds}
        arguments = {"task": "labor", "trigger": _LATER, "params": params, "id": f"job-{number}"}
        await call("schedule_internal_task", **arguments)
        run = await call("run_job_now", job_id=f"apscheduler:job-{number}")
        runs.add(run["run_id"])

    async def look() -> bool | None:
        return True if len(witnessed(place)) == stop.tasks else None

    await wait_until(look, "all tasks to be at work", seconds=20)
    return runs


async def await_exit(pidfd: int) -> float:
    """Wait until a process has ended, as the kernel sees it; give the instant, or infinity."""

    def wait() -> float:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if poll.poll(HANG_SECONDS * 1000):
            return time.monotonic()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return math.inf

    return await asyncio.to_thread(wait)


@asynccontextmanager
async def watching(pid: int) -> AsyncIterator[int]:
    """Hold a process by a descriptor, so that its number cannot come to mean another."""
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


async def _signal(stop: Stop, pid: int, place: Place) -> float:
    """Send what ends it, and give the instant of the last signal."""
    if stop.how != "TWICE":
        os.kill(pid, signal.Signals[stop.how])
        return time.monotonic()
    os.kill(pid, signal.SIGTERM)

    async def look() -> bool | None:
        return True if logged(place, "server_stopping") else None

    await wait_until(look, "the first signal to be heeded", seconds=20)
    os.kill(pid, signal.SIGTERM)
    return time.monotonic()


async def _close_input(place: Place, stop: Stop) -> tuple[None, float, set[str]]:
    """End it as an editor does: the library's client closes its end."""
    async with serving(place) as server:
        runs = await set_to_work(server.call, place, stop)
        pidfd = os.pidfd_open(server.pid)
        ended = asyncio.create_task(await_exit(pidfd))
        began = time.monotonic()
    seconds = await ended - began
    os.close(pidfd)
    return None, seconds, runs


async def _signal_stdio(place: Place, stop: Stop) -> tuple[int, float, set[str]]:
    """Send signals while the input stays open."""
    server = await RawServer.start(place)
    runs = await set_to_work(server.call, place, stop)
    async with watching(server.process.pid) as pidfd:
        began = await _signal(stop, server.process.pid, place)
        seconds = await await_exit(pidfd) - began
    return await server.end(), seconds, runs


async def _signal_http(place: Place, stop: Stop) -> tuple[int, float, set[str]]:
    """Send signals while a client is connected and its stream is open."""
    with web_serving(place) as server:
        client = server.client(mode="legacy")
        async with client:

            async def call(tool: str, **arguments: Any) -> dict[str, Any]:
                return (await client.call_tool(tool, arguments)).structured_content or {}

            runs = await set_to_work(call, place, stop)
            async with watching(server.process.pid) as pidfd:
                began = await _signal(stop, server.process.pid, place)
                seconds = await await_exit(pidfd) - began
        return server.process.wait(5), seconds, runs


_WAYS: dict[tuple[str, str], Callable[..., Awaitable[tuple[int | None, float, set[str]]]]] = {
    ("stdio", "EOF"): _close_input,
    **{("stdio", how): _signal_stdio for how in ("SIGTERM", "SIGINT", "TWICE")},
    **{("http", how): _signal_http for how in ("SIGTERM", "SIGINT", "TWICE")},
}


async def _survivors(place: Place) -> dict[int, str]:
    async def look() -> bool | None:
        return None if place.processes else True

    with suppress(AssertionError):  # the caller counts them
        await wait_until(look, "all processes to end", seconds=SURVIVAL_SECONDS)
    return place.processes


async def _states(place: Place, *, lead: bool) -> dict[str, str]:
    """Read every run, as the next server finds it or as it leaves it."""
    settings = load_settings(config=place.config, data_dir=place.folder / "data", environ={})
    scheduler = MahavishnuApp(settings, config_path=place.config).scheduler
    await scheduler.start(lead=lead)
    try:
        page = await scheduler.list_runs(limit=200)
        return {run.run_id: run.state.value for run in page.rows}
    finally:
        await scheduler.stop(drain=0)
