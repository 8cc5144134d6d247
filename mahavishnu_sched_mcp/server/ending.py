"""The way out of a serving process: begun once, bounded in time, whatever asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from mahavishnu_sched_mcp.server.lines import OpenCalls

log = structlog.get_logger()

END_OF_INPUT = "end_of_input"
DEFECT = "defect"

_ANSWER_SECONDS = 0.25
_SPARE_SECONDS = 0.25
_FAILED = 1
_SIGNALLED = 128
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def leave_on_signals() -> None:
    """End at once, with 0, on SIGTERM and SIGINT until an `Ending` listens.

    Nothing is open by then. As a container's first process we would not even be ended by a
    signal that has no handler.
    """
    for number in _ENDING_SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


class Ending:
    """The way out: begun once, bounded in time, and shared by all who ask for it.

    Attributes:
        asked: Set when there is a reason to end.
        cause: The first reason.
        has_begun_serving: Whether the start succeeded; before, its error is the caller's.
    """

    def __init__(self, *, stop: Callable[[], Awaitable[None]], stop_seconds: float) -> None:
        self.asked = asyncio.Event()
        self.cause = ""
        self.has_begun_serving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = stop
        self._stop_seconds = stop_seconds
        self._stopping: asyncio.Task[int] | None = None

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as reasons to end, from now on.

        Plain handlers, not the loop's: they run even while the loop is held up.
        """
        self._loop = asyncio.get_running_loop()
        for number in _ENDING_SIGNALS:
            signal.signal(number, self._on_signal)

    def begin(self, cause: str) -> None:
        """Start to end, for the first cause; later ones change nothing."""
        self._note(cause)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.asked.set)

    async def finish_input(self, calls: OpenCalls) -> None:
        """Let open calls answer after the end of input: a moment before we stop, and after.

        Without it a client that writes its requests and closes its end gets no answers.
        """
        self._note(END_OF_INPUT)
        if not await calls.settle(timeout_seconds=_ANSWER_SECONDS):
            await self.stop()
            await calls.settle(timeout_seconds=_ANSWER_SECONDS)

    async def stop(self) -> int:
        """Await `stop`, once for all callers and within its time, and give the exit code."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_bounded())
        return await asyncio.shield(self._stopping)

    async def outcome(self, serving: asyncio.Task[None]) -> int:
        """Wait for the start's own exit, and give the exit code."""
        try:
            await serving
        except Exception:
            # The guard of the way out: a defect in closing may not keep the process.
            log.exception("server_failed")
            return _FAILED
        return 0

    def _note(self, cause: str) -> None:
        """Keep the first cause, and set the latest end from that moment."""
        if self.cause:
            return
        self.cause = cause
        # A thread of its own that logs nothing: it ends us even where the loop is blocked, a
        # task ignores us, or nobody reads stderr any more.
        limit = threading.Timer(self._stop_seconds + _SPARE_SECONDS, os._exit, args=(0,))
        limit.daemon = True
        limit.start()

    async def _stop_bounded(self) -> int:
        log.info("server_stopping", cause=self.cause)
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._stop()
        except TimeoutError:
            # What did not end is in the ledger and is taken up at the next start.
            log.warning("stop_timed_out", seconds=self._stop_seconds)
        except Exception:
            # The guard of the way out: a defect in stopping may not keep the process.
            log.exception("stop_failed")
            return _FAILED
        return 0

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.cause and self.cause != END_OF_INPUT:
            os._exit(_SIGNALLED + number)
        if self.cause:
            # The input's end came first: clients send SIGTERM after it when we take long.
            self.cause = signal.Signals(number).name
        self.begin(signal.Signals(number).name)
