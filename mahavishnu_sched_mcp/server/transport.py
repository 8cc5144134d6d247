"""Serves MCP over stdio, and ends well: on end of input, SIGTERM and SIGINT alike."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import fastmcp
import structlog
from fastmcp.server.context import reset_transport, set_transport
from mcp.server.stdio import stdio_server

from mahavishnu_sched_mcp.log import adopt_loggers
from mahavishnu_sched_mcp.server.lines import OpenCalls, screened_wire
from mahavishnu_sched_mcp.server.wire import Wire, claim_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from fastmcp import FastMCP

log = structlog.get_logger()

STOP_SECONDS = 1.15
"""The longest wait for `stop`: clients give a stdio server 2 s after closing its input."""

_ANSWER_SECONDS = 0.25
_SPARE_SECONDS = 0.25
_FAILED = 1
_SIGNALLED = 128
_END_OF_INPUT = "end_of_input"
_DEFECT = "defect"
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve_stdio(
    server: FastMCP[Any],
    *,
    stop: Callable[[], Awaitable[None]],
    stop_seconds: float = STOP_SECONDS,
    wire: Wire | None = None,
    drain_logs: Callable[[], object] | None = None,
) -> None:
    """Serve one client over stdin and stdout, then end the process.

    The end is `os._exit`: the thread that reads stdin cannot be interrupted, and no import
    or library thread may hold the process back. Exit code 0 after the end of input, SIGTERM
    or SIGINT; 1 where serving or stopping failed; 128 + number at once on a second signal.

    Args:
        server: From `create_server`.
        stop: Brings to rest all that the server's start began: refuse calls, drain, flush.
            Awaited once, while open calls may still answer. The exit of the start's own
            context may run after it, so the two must bear each other.
        stop_seconds: How long stopping may take before the process ends regardless.
        wire: From an earlier `claim_wire`; None claims it now.
        drain_logs: Writes out what the log still holds, within its own bound; called last.

    Raises:
        SchedulerError: the start failed before the first message; nothing was served.
    """
    claimed = wire or claim_wire()
    _take_over_logs()
    ending = _Ending(stop=stop, stop_seconds=stop_seconds)
    asyncio.run(_serve(server, claimed, ending=ending, drain_logs=drain_logs or sys.stderr.flush))


def _take_over_logs() -> None:
    """Leave logging to ours, for good.

    FastMCP gave its loggers handlers when it was imported, after `configure_logging`; they
    write to stderr themselves, which waits for ever where the client never reads it.
    """
    fastmcp.settings.log_enabled = False  # or it would put them back
    adopt_loggers()


async def _serve(
    server: FastMCP[Any],
    wire: Wire,
    *,
    ending: _Ending,
    drain_logs: Callable[[], object],
) -> None:
    """Serve until the first reason to end, then stop within bounds and leave."""
    ending.listen()
    serving = asyncio.create_task(_exchange(server, wire, ending=ending))
    asked = asyncio.create_task(ending.asked.wait())
    await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done() and not ending.has_begun_serving:
        asked.cancel()
        serving.result()
        return
    if serving.done():
        ending.begin(_DEFECT)
    code = await ending.stop()
    if ending.cause in {_END_OF_INPUT, _DEFECT}:
        code = max(code, await ending.outcome(serving))
    log.info("server_stopped", cause=ending.cause, code=code)
    drain_logs()
    os._exit(code)


async def _exchange(server: FastMCP[Any], wire: Wire, *, ending: _Ending) -> None:
    """Carry messages until the client closes its end."""
    # FastMCP's own run_stdio_async offers no streams and no word at the end of input, so its
    # few steps are repeated here over the private wire.
    core = server._mcp_server  # noqa: SLF001 - as FastMCP's own run_stdio_async does
    token = set_transport("stdio")
    try:
        async with server._lifespan_manager():  # noqa: SLF001 - as run_stdio_async does
            ending.has_begun_serving = True
            lines = screened_wire(wire, at_end=ending.finish_input)
            try:
                async with stdio_server(lines.input, lines.output) as (incoming, outgoing):
                    await core.run(incoming, outgoing, core.create_initialization_options())
            except* OSError:
                # The client is gone without closing its end in order: the same as its end.
                log.info("client_lost")
            ending.begin(_END_OF_INPUT)
            await ending.stop()
    finally:
        reset_transport(token)


class _Ending:
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
        self._note(_END_OF_INPUT)
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
        if self.cause and self.cause != _END_OF_INPUT:
            os._exit(_SIGNALLED + number)
        if self.cause:
            # The input's end came first: clients send SIGTERM after it when we take long.
            self.cause = signal.Signals(number).name
        self.begin(signal.Signals(number).name)
