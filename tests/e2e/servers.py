"""Server processes as a user's editor starts them, each in a folder of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import yaml
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from mcp.types import TextContent

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of, processes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
"""The protocol versions that clients speak."""

_FOREIGN = ("MAHAVISHNU_", "PREFECT_", "FASTMCP_")
_LOOK_SECONDS = 0.05
_MODULE = '''
import asyncio
import os

from mahavishnu_sched_mcp.tasks.mark import task


@task(idempotent=True)
async def shout(word: str = "hello") -> str:
    """Write to stdout in each way there is."""
    print("spoiled by print", flush=True)
    os.write(1, b"spoiled by descriptor\\n")
    return word


@task(idempotent=True)
async def dawdle(seconds: float = 60) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return "late"
'''


@dataclass(frozen=True)
class Place:
    """A folder with settings and a data dir.

    Attributes:
        folder: Nobody else's.
    """

    folder: Path

    @classmethod
    def of(cls, folder: Path, **settings: Any) -> Self:
        """Write settings with two tasks (`shout`, `dawdle`) and a workflow of two nodes."""
        place = cls(folder.resolve())
        (place.folder / "shouting.py").write_text(_MODULE, encoding="utf-8")
        nodes = [
            {"id": "first", "task": "shout"},
            {"id": "second", "task": "shout", "depends_on": ["first"]},
        ]
        written = {
            "tasks": {"modules": ["shouting"]},
            "workflows": {"pair": {"description": "Shout twice", "nodes": nodes}},
        } | settings
        place.config.write_text(yaml.safe_dump(written), encoding="utf-8")
        return place

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "mahavishnu.yaml"

    @property
    def log(self) -> Path:
        """What the servers wrote to stderr."""
        return self.folder / "stderr.log"

    @property
    def processes(self) -> dict[int, str]:
        """The living processes of this place."""
        return processes_of(self.folder)

    def command(self, *words: str) -> list[str]:
        """Say how the program is started here."""
        options = ["--data-dir", str(self.folder / "data"), "--config", str(self.config)]
        return [sys.executable, "-m", "mahavishnu_sched_mcp", *words, *options]

    def environment(self) -> dict[str, str]:
        """Give the caller's environment without settings; children are known by the folder."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
        return kept | {"PYTHONPATH": str(self.folder), "MAHAVISHNU_LOG_LEVEL": "INFO"}


@dataclass(frozen=True)
class Server:
    """A server process and a client that is connected to it."""

    client: Client[StdioTransport]
    pid: int
    is_leader: bool

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and give its structured answer; a refusal is raised."""
        return (await self.client.call_tool(tool, arguments)).structured_content or {}

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """Call a tool that has to refuse, and give what it says."""
        result = await self.client.call_tool(tool, arguments, raise_on_error=False)
        assert result.is_error, result
        return "\n".join(part.text for part in result.content if isinstance(part, TextContent))

    async def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """List up to 200 runs, the newest first."""
        found: list[dict[str, Any]] = (await self.call("list_runs", limit=200, **filters))["runs"]
        return found

    async def until_run(
        self, job_id: str, *, state: str = "succeeded", count: int = 1, seconds: float = 20
    ) -> list[dict[str, Any]]:
        """Wait until a job has so many runs in a state, and give them, the newest first."""

        async def look() -> list[dict[str, Any]] | None:
            found = await self.runs(job_id=job_id, state=state)
            return found if len(found) >= count else None

        return await wait_until(look, f"{count} {state} runs of {job_id}", seconds=seconds)


@asynccontextmanager
async def serving(place: Place, *, mode: str = "auto") -> AsyncIterator[Server]:
    """Start a server, connect to it, and close its input at the end.

    Args:
        place: Where its settings and data are.
        mode: The client's era: `legacy`, or `auto` for the newest.
    """
    before = set(place.processes)
    first, *rest = place.command()
    transport = StdioTransport(
        first, rest, env=place.environment(), keep_alive=False, log_file=place.log
    )
    client = Client(transport, timeout=60, mode=mode)
    async with client:
        status = (await client.call_tool("get_status")).structured_content or {}
        (pid,) = {
            pid for pid, words in place.processes.items() if " _prefect" not in words
        } - before
        yield Server(client, pid=pid, is_leader=status["leader"]["is_this_process"])


@asynccontextmanager
async def leaving_nothing(place: Place) -> AsyncIterator[None]:
    """Insist that no process of the place is left, and end those that are."""
    try:
        yield
        await wait_until(lambda: _none_left(place), "all processes of the place to end", seconds=10)
    finally:
        kill_processes_of(place.folder)


async def wait_until[Found](
    look: Callable[[], Awaitable[Found | None]], description: str, *, seconds: float = 10
) -> Found:
    """Look again and again; fail with the description where it takes too long."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (found := await look()) is None:
        assert loop.time() < end, f"not within {seconds} s: {description}"
        await asyncio.sleep(_LOOK_SECONDS)
    return found


@dataclass
class RawServer:
    """A server process at whose lines one looks directly.

    Attributes:
        lines: What it wrote to stdout so far, line by line.
    """

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    _number: int = 0

    @classmethod
    async def start(cls, place: Place) -> Self:
        """Start it and shake hands by hand, as clients of 2025 do."""
        with place.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *place.command(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=place.environment(),
            )
        server = cls(process)
        hello = {"name": "raw", "version": "1"}
        await server.ask(
            "initialize",
            {"protocolVersion": ERAS["legacy"], "capabilities": {}, "clientInfo": hello},
        )
        await server._send({"method": "notifications/initialized"})
        return server

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and give its structured answer."""
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        answer: dict[str, Any] = result["structuredContent"]
        return answer

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and read lines up to its answer."""
        self._number += 1
        await self._send({"id": self._number, "method": method, "params": params})
        while True:
            line = await asyncio.wait_for(self._read_line(), 20)
            message = json.loads(line)
            if message.get("id") == self._number:
                result: dict[str, Any] = message["result"]
                return result

    async def end(self) -> int:
        """Read the rest of stdout, and give the exit code."""
        async with asyncio.timeout(10):
            while await self._read_line():
                pass
            return await self.process.wait()

    async def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await self.process.stdin.drain()

    async def _read_line(self) -> str:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        if line:
            self.lines.append(line)
        return line


def seconds_of(runs: list[dict[str, Any]]) -> list[int]:
    """Give which second of its job each fire is, in order; a record may stand for several."""
    starts = [(datetime.fromisoformat(run["scheduled_for"]), run["fires"]) for run in runs]
    first = min(start for start, _ in starts)
    return sorted(
        round((start - first).total_seconds()) + number
        for start, fires in starts
        for number in range(fires)
    )


async def _none_left(place: Place) -> bool | None:
    return None if place.processes else True
