"""Serves MCP over stdio, and ends well: on end of input, SIGTERM and SIGINT alike."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import structlog
from fastmcp.server.context import reset_transport, set_transport
from mcp.server.stdio import stdio_server

from mahavishnu_sched_mcp.server.ending import DEFECT, END_OF_INPUT, Ending
from mahavishnu_sched_mcp.server.library_logs import take_over_library_logs
from mahavishnu_sched_mcp.server.lines import screened_wire
from mahavishnu_sched_mcp.server.wire import Wire, claim_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastmcp import FastMCP

log = structlog.get_logger()

STOP_SECONDS = 1.15
"""The longest wait for `stop`: clients give a stdio server 2 s after closing its input."""


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
    take_over_library_logs()
    ending = Ending(stop=stop, stop_seconds=stop_seconds)
    asyncio.run(_serve(server, claimed, ending=ending, drain_logs=drain_logs or sys.stderr.flush))


async def _serve(
    server: FastMCP[Any],
    wire: Wire,
    *,
    ending: Ending,
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
        ending.begin(DEFECT)
    code = await ending.stop()
    if ending.cause in {END_OF_INPUT, DEFECT}:
        code = max(code, await ending.outcome(serving))
    log.info("server_stopped", cause=ending.cause, code=code)
    drain_logs()
    os._exit(code)


async def _exchange(server: FastMCP[Any], wire: Wire, *, ending: Ending) -> None:
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
            ending.begin(END_OF_INPUT)
            await ending.stop()
    finally:
        reset_transport(token)
