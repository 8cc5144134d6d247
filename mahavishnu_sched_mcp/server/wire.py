"""The protocol's own pair of streams, out of reach of everything else in the process."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import sys
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Self, cast

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TextIO

_STANDARD_INPUT, _STANDARD_OUTPUT, _STANDARD_ERROR = 0, 1, 2
_FIRST_PRIVATE = 3


_ANSWERED = re.compile(r'\{"jsonrpc":"2\.0","id":("[^"\\]*"|-?\d+),"(?:result|error)":')
"""How the library begins a response: spares reading a long one to its end."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Where JSON-RPC lines come from and go to, and nothing else."""

    input: anyio.AsyncFile[str]
    output: anyio.AsyncFile[str]

    def counted(self, *, at_end: Callable[[OpenCalls], Awaitable[None]]) -> Wire:
        """Give the same wire with its open calls counted.

        Args:
            at_end: Awaited at the end of input, before the reader learns of it.
        """
        calls = OpenCalls()
        return Wire(
            input=cast("anyio.AsyncFile[str]", _CountedInput(self.input, calls, at_end=at_end)),
            output=cast("anyio.AsyncFile[str]", _CountedOutput(self.output, calls)),
        )


class OpenCalls:
    """The requests that were read and not yet answered."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._changed = asyncio.Event()

    def take(self, line: str) -> None:
        """Count a line from the client, where it is a request."""
        message = _object(line)
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
    """The part of a text file that the protocol's reader uses."""

    def __init__(
        self,
        lines: anyio.AsyncFile[str],
        calls: OpenCalls,
        *,
        at_end: Callable[[OpenCalls], Awaitable[None]],
    ) -> None:
        self._lines = lines
        self._calls = calls
        self._at_end = at_end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.readline()
        if not line:
            await self._at_end(self._calls)
            raise StopAsyncIteration
        self._calls.take(line)
        return line


class _CountedOutput:
    """The part of a text file that the protocol's writer uses."""

    def __init__(self, lines: anyio.AsyncFile[str], calls: OpenCalls) -> None:
        self._lines = lines
        self._calls = calls
        self._written = ""

    async def write(self, line: str) -> int:
        self._written = line
        return await self._lines.write(line)

    async def flush(self) -> None:
        await self._lines.flush()
        self._calls.answer(self._written)


def claim_wire() -> Wire:
    """Take stdin and stdout for the protocol alone; call it before anything else prints.

    From here on descriptor 0 is empty and descriptor 1 is stderr, also for libraries that
    write to the descriptor and for child processes; the wire itself is close-on-exec.
    """
    sys.stdout.flush()
    private_input = _duplicate(_STANDARD_INPUT)
    private_output = _duplicate(_STANDARD_OUTPUT)
    _divert(_STANDARD_INPUT, to=os.open(os.devnull, os.O_RDONLY))
    _divert(_STANDARD_OUTPUT, to=_error_descriptor())
    sys.stdout = sys.stderr
    return Wire(
        input=anyio.wrap_file(_reader(private_input)),
        output=anyio.wrap_file(_writer(private_output)),
    )


def _object(line: str) -> dict[str, Any]:
    """Read a line as a JSON object; what is none has neither method nor id."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _duplicate(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE)


def _divert(descriptor: int, *, to: int) -> None:
    os.dup2(to, descriptor)
    if to != descriptor:
        os.close(to)


def _error_descriptor() -> int:
    """Duplicate stderr, or the null device where a client started us without one."""
    try:
        return os.dup(_STANDARD_ERROR)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _reader(descriptor: int) -> TextIO:
    return TextIOWrapper(os.fdopen(descriptor, "rb"), encoding="utf-8", errors="replace")


def _writer(descriptor: int) -> TextIO:
    return TextIOWrapper(os.fdopen(descriptor, "wb"), encoding="utf-8", newline="\n")
