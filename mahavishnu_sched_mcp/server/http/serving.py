"""Serves MCP over streamable HTTP until a signal, then drains and ends the process."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from starlette.responses import JSONResponse

from mahavishnu_sched_mcp.server.ending import DEFECT, Ending
from mahavishnu_sched_mcp.server.http.connection import Connection
from mahavishnu_sched_mcp.server.http.perimeter import HEALTH_PATH, MCP_PATH, Perimeter
from mahavishnu_sched_mcp.server.library_logs import take_over_library_logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from fastmcp import FastMCP
    from fastmcp.server.http import StarletteWithLifespan
    from pydantic import SecretStr
    from starlette.requests import Request

    from mahavishnu_sched_mcp.server.http.door import Door
    from mahavishnu_sched_mcp.settings import Settings

log = structlog.get_logger()

DRAIN_SECONDS = 25.0
"""Runs may go on for so long after SIGTERM."""

STOP_SECONDS = DRAIN_SECONDS + 1.5
"""The longest wait for `stop`: the drain, then the end of what still runs."""

ROOM_BYTES = 1_048_576
"""A call may be so much larger than the parameters it carries."""

_CLOSING_SECONDS = 0.3
_KEEP_ALIVE_SECONDS = 15
_MOST_CONNECTIONS = 256
_MOST_HEADER_BYTES = 32_768


class _Web(uvicorn.Server):
    """uvicorn, which leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve_http(
    server: FastMCP[Any],
    door: Door,
    *,
    settings: Settings,
    token: SecretStr,
    is_well: Callable[[], Awaitable[bool]],
    stop: Callable[[], Awaitable[None]],
    drain_logs: Callable[[], object] | None = None,
) -> None:
    """Serve many clients at one door, then end the process.

    SIGTERM and SIGINT refuse new calls, drain and exit with 0; a second signal exits at once
    with 128 + its number. Open connections hold nothing up.

    Args:
        server: From `create_server`.
        door: From `open_door`.
        settings: For `http` and the limit of a call's size.
        token: From `obtain_token`.
        is_well: Answers `/healthz`, within a second.
        stop: Brings to rest all that the server's start began; as in `serve_stdio`.
        drain_logs: Writes out what the log still holds, within its own bound; called last.

    Raises:
        SchedulerError: the start failed; nothing was served.
    """
    take_over_library_logs()
    inner = _build_app(server, settings=settings, is_well=is_well)
    guarded = Perimeter(
        inner,
        token=token,
        hosts=(*settings.http.allowed_hosts, *_bound_name(door)),
        origins=settings.http.allowed_origins,
        most_bytes=settings.limits.max_payload_bytes + ROOM_BYTES,
    )
    web = _Web(_configure(guarded))
    ending = Ending(stop=stop, stop_seconds=STOP_SECONDS)
    asyncio.run(_serve(web, inner, door, ending=ending, drain_logs=drain_logs or sys.stderr.flush))


async def _serve(
    web: _Web,
    app: StarletteWithLifespan,
    door: Door,
    *,
    ending: Ending,
    drain_logs: Callable[[], object],
) -> None:
    """Serve until the first reason to end, then stop within bounds and leave."""
    ending.listen()
    serving = asyncio.create_task(_listen(web, app, door, ending=ending))
    asked = asyncio.create_task(ending.asked.wait())
    await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done() and not ending.has_begun_serving:
        asked.cancel()
        serving.result()
        return
    if serving.done():
        ending.begin(DEFECT)
    # Calls go on to be answered meanwhile: open ones as they would be, new ones with a refusal.
    code = await ending.stop()
    web.should_exit = True
    await asyncio.wait({serving}, timeout=_CLOSING_SECONDS)
    if ending.cause == DEFECT:
        code = max(code, await ending.outcome(serving))
    log.info("server_stopped", cause=ending.cause, code=code)
    drain_logs()
    os._exit(code)


async def _listen(web: _Web, app: StarletteWithLifespan, door: Door, *, ending: Ending) -> None:
    # Entered here and not by uvicorn, which would hide why a start failed.
    async with app.lifespan(app):
        ending.has_begun_serving = True
        await web.serve(sockets=[door.socket])


def _build_app(
    server: FastMCP[Any], *, settings: Settings, is_well: Callable[[], Awaitable[bool]]
) -> StarletteWithLifespan:
    @server.custom_route(HEALTH_PATH, methods=["GET"])
    async def healthz(_: Request) -> JSONResponse:
        if await is_well():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "failing"}, 503)

    app = server.http_app(
        path=MCP_PATH,
        host_origin_protection=True,
        allowed_hosts=list(settings.http.allowed_hosts),
        allowed_origins=list(settings.http.allowed_origins),
    )
    app.router.redirect_slashes = False  # what is not there is not there
    return app


def _bound_name(door: Door) -> tuple[str, ...]:
    """Give the address itself as a name, unless it stands for all of them."""
    return () if door.address in {"0.0.0.0", "::"} else (door.address,)  # noqa: S104 - compared


def _configure(app: Perimeter) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
    )
