"""What a command writes: drained while it runs, head and tail kept, the true size counted."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Self

from mahavishnu_sched_mcp.domain.output import Output

_CHUNK = 65536


class Capture:
    """One pipe for a command's standard output and error, in the order of writing.

    It never holds more than one and a half times the cap, whatever is written, and never lets
    the command wait for a reader.
    """

    def __init__(self, *, cap: int) -> None:
        """Open nothing yet; `with` opens the pipe.

        Args:
            cap: The most bytes to keep (`limits.max_output_bytes`).
        """
        self._cap = cap
        self._half = max(1, cap // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0
        self._ended = asyncio.Event()
        self._reader = self._writer = -1

    def __enter__(self) -> Self:
        """Open the pipe and begin to drain it; on the event loop."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        asyncio.get_running_loop().add_reader(self._reader, self._drain)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close both ends; who still writes is told by SIGPIPE."""
        self.close_writer()
        if self._reader >= 0:
            self._end()

    @property
    def writer(self) -> int:
        """The file descriptor the command writes to."""
        return self._writer

    def close_writer(self) -> None:
        """Leave the writing end to the command alone, so that its end is noticed."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    async def wait_ended(self, *, timeout_seconds: float) -> bool:
        """Wait until nobody can write any more.

        Args:
            timeout_seconds: How long at most.

        Returns:
            Whether it ended in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def output(self) -> Output:
        """Give what was kept: all of it, or head and tail around a line that says what is cut."""
        if self._size <= self._cap:
            return Output.of_bytes(bytes(self._head), cap=self._cap)
        head = bytes(self._head[: self._half]).decode("utf-8", "ignore")
        tail = bytes((self._head + self._tail)[-self._half :]).decode("utf-8", "ignore")
        cut = self._size - 2 * self._half
        text = f"{head}\n[... {cut} bytes cut ...]\n{tail}"
        return Output(text=text, bytes=self._size, truncated=True)

    def add(self, output: Output) -> None:
        """Put something after what was written, on a line of its own.

        Args:
            output: Text, or what was kept of it.
        """
        if output.bytes and self._size and not (self._tail or self._head).endswith(b"\n"):
            self._keep(b"\n", size=1)
        self._keep(output.text.encode(), size=output.bytes)

    def _drain(self) -> None:
        """Read one piece, so that a command that never stops writing leaves others their turn."""
        try:
            piece = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return
        if not piece:
            self._end()
            return
        self._keep(piece, size=len(piece))

    def _keep(self, piece: bytes, *, size: int) -> None:
        self._size += size
        room = self._cap - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        del self._tail[: -self._half]

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        self._reader = -1
        self._ended.set()
