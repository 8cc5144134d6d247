"""Where servers are killed: settings with witnesses, and a client with many calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.e2e.servers import ERAS, Place
from tests.factories import NO_CHORES
from tests.faults.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_LONGEST_LINE = 1 << 25
_ANSWER_SECONDS = 60.0
_ERRANDS = '''
from mahavishnu_sched_mcp.tasks.mark import task


@task(idempotent=True)
async def note(text: str = "") -> str:
    """Say it back."""
    return text


@task
async def stumble() -> None:
    """Fail."""
    raise RuntimeError
'''


class LostError(Exception):
    """The server ended before it answered."""


class RefusedError(Exception):
    """The server refused a call; the text is what it said."""


@dataclass(frozen=True)
class Stage:
    """A folder in which servers start, die and start again.

    The witness writes beside the data dir, never into it.
    """

    place: Place
    witness: Witness

    @classmethod
    def of(cls, folder: Path, **settings: Any) -> Self:
        """Write settings: witnesses that may and may not run twice, a quick task, a workflow."""
        witness = Witness.build(folder)
        (folder / "errands.py").write_text(_ERRANDS, encoding="utf-8")
        written = {
            "schedulers": {"prefect_deployments_enabled": False},
            "internal_tasks": NO_CHORES,
            "tasks": {
                "modules": ["errands"],
                "commands": {
                    "witness": witness.command(idempotent=True),
                    "delicate": witness.command(idempotent=False),
                },
            },
            "workflows": {"errand": {"nodes": [{"id": "only", "task": "note"}]}},
        }
        return cls(Place.of(folder, **(written | settings)), witness)

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.place.folder / "data" / "ledger.db"


@dataclass
class Wire:
    """The client's end of one server process: calls need not wait for each other.

    Attributes:
        process: Leads a process group of its own.
    """

    process: asyncio.subprocess.Process
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _reader: asyncio.Task[None] | None = None
    _is_over: bool = False

    @classmethod
    async def start(cls, place: Place) -> Self:
        """Start a server and have it answer a first call, so that it is warm."""
        with place.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *place.command(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=place.environment(),
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        wire = cls(process)
        wire._reader = asyncio.create_task(wire._read())
        hello = {"name": "killer", "version": "1"}
        await wire.ask(
            "initialize",
            {"protocolVersion": ERAS["legacy"], "capabilities": {}, "clientInfo": hello},
        )
        wire._write({"method": "notifications/initialized"})
        await wire.call("get_status")
        return wire

    def send(self, method: str, params: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        """Send a request under a new id, and give its answer when it comes.

        Raises:
            LostError: the server is gone; also what the answer raises where it never came.
        """
        if self._is_over:
            raise LostError
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._write({"id": number, "method": method, "params": params})
        return future

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        return await asyncio.wait_for(self.send(method, params), _ANSWER_SECONDS)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and give its structured answer.

        Raises:
            LostError: no answer came.
            RefusedError: the call was refused.
        """
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RefusedError(result["content"][0]["text"])
        answer: dict[str, Any] = result["structuredContent"]
        return answer

    async def pages(self, tool: str, rows: str, **filters: Any) -> AsyncIterator[dict[str, Any]]:
        """Give every row of a list, page by page."""
        cursor: str | None = None
        while True:
            page = await self.call(tool, limit=200, cursor=cursor, **filters)
            for row in page[rows]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Give every run."""
        return [row async for row in self.pages("list_runs", "runs", **filters)]

    async def jobs(self, **filters: Any) -> dict[str, dict[str, Any]]:
        """Give every job in full, also those that are over."""
        return {
            row["job_id"]: row
            for state in ("completed", "cancelled", None)
            async for row in self.pages("list_jobs", "jobs", detail="full", state=state, **filters)
        }

    async def kill(self) -> None:
        """Kill -9 the whole process group; what was not answered yet never will be."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        if self._reader is not None:
            await self._reader

    async def close(self) -> None:
        """End it as a client does, by closing its input."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 20)
        finally:
            await self.kill()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            with contextlib.suppress(json.JSONDecodeError):  # a kill may cut the last line
                self._take(json.loads(line))
        self._is_over = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LostError())
                future.exception()  # nobody may be waiting any more

    def _take(self, message: dict[str, Any]) -> None:
        future = self._waiting.pop(message.get("id", -1), None)
        if future is not None and not future.done():
            future.set_result(message["result"])

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


@contextlib.asynccontextmanager
async def ending(stage: Stage, kill: Callable[[Path], object]) -> AsyncIterator[None]:
    """End whatever the stage started, however the test ends."""
    try:
        yield
    finally:
        kill(stage.place.folder)
