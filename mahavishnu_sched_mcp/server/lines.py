"""The lines of the wire as they pass: screened, counted, written one at a time."""

from __future__ import annotations

import asyncio
import json
import re
from typing import IO, TYPE_CHECKING, Any, Self, cast

import anyio
import anyio.to_thread
import structlog

from mahavishnu_sched_mcp.server.screening import EDGE, LONGEST_LINE, refuse_long, screen
from mahavishnu_sched_mcp.server.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.domain.value import JsonObject

log = structlog.get_logger()

_ANSWERED = re.compile(r'\{"jsonrpc":"2\.0","id":("[^"\\]*"|-?\d+),"(?:result|error)":')
"""How the library begins a response: spares reading a long one to its end."""


def screened_wire(wire: Wire, *, at_end: Callable[[OpenCalls], Awaitable[None]]) -> Wire:
    """Give the same wire with its lines screened and its open calls counted.

    Args:
        wire: From `claim_wire`.
        at_end: Awaited at the end of input, before the reader learns of it.
    """
    calls = OpenCalls()
    output = _CountedOutput(wire.output, calls)
    screened = _CountedInput(wire.input, calls, answers=output, at_end=at_end)
    return Wire(
        input=cast("anyio.AsyncFile[str]", screened),
        output=cast("anyio.AsyncFile[str]", output),
    )


class OpenCalls:
    """The requests that were read and not yet answered."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._changed = asyncio.Event()

    def take(self, message: JsonObject) -> None:
        """Count a message from the client, where it is a request."""
        if "method" in message and message.get("id") is not None:
            self._open.add(json.dumps(message["id"]))

    def answer(self, line: str) -> None:
        """Count a line to the client, where it answers a request."""
        start = _ANSWERED.match(line)
        if start is not None:
            self._open.discard(start[1])
        else:
            message = _object(line)
            if "method" not in message:
                self._open.discard(json.dumps(message.get("id")))
        self._changed.set()

    async def settle(self, *, timeout_seconds: float) -> bool:
        """Wait until nothing is open, at most this long; say whether it is so."""
        with anyio.move_on_after(timeout_seconds):
            while self._open:
                self._changed.clear()
                await self._changed.wait()
        return not self._open


class _CountedInput:
    """The part of a text file that the protocol's reader uses: lines that it can read."""

    def __init__(
        self,
        lines: anyio.AsyncFile[str],
        calls: OpenCalls,
        *,
        answers: _CountedOutput,
        at_end: Callable[[OpenCalls], Awaitable[None]],
    ) -> None:
        self._lines = lines
        self._calls = calls
        self._answers = answers
        self._at_end = at_end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            line, rest = await anyio.to_thread.run_sync(_read_line, self._lines.wrapped)
            if not line:
                await self._at_end(self._calls)
                raise StopAsyncIteration
            screened = screen(line) if rest is None else refuse_long(line[:EDGE], rest)
            if screened.may_pass:
                self._calls.take(screened.message)
                return line
            if screened.answer is not None:
                log.info("message_refused", length=len(line))
                await self._answers.write(screened.answer)


class _CountedOutput:
    """The part of a text file that the protocol's writer uses; each write is a whole line."""

    def __init__(self, lines: anyio.AsyncFile[str], calls: OpenCalls) -> None:
        self._lines = lines
        self._calls = calls
        self._turn = asyncio.Lock()

    async def write(self, line: str) -> int:
        # Written and flushed in one turn: the answers to unreadable lines come in between.
        async with self._turn:
            await anyio.to_thread.run_sync(_write_line, self._lines.wrapped, line)
        self._calls.answer(line)
        return len(line)

    async def flush(self) -> None:
        """Do nothing: `write` has flushed."""


def _read_line(lines: IO[str]) -> tuple[str, str | None]:
    """Read a line; of one that is too long only its beginning, and how it ends."""
    line = lines.readline(LONGEST_LINE)
    if len(line) < LONGEST_LINE or line.endswith("\n"):
        return line, None
    part = tail = line[-EDGE:]
    while part and not part.endswith("\n"):
        part = lines.readline(LONGEST_LINE)
        tail = (tail + part[-EDGE:])[-EDGE:]
    return line, tail


def _write_line(lines: IO[str], line: str) -> None:
    lines.write(line)
    lines.flush()


def _object(line: str) -> dict[str, Any]:
    """Read a line as a JSON object; what is none has neither method nor id."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
