"""`serve`: MCP over stdio, or over HTTP."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import SchedulerError, SettingsError
from mahavishnu_sched_mcp.log import configure_logging
from mahavishnu_sched_mcp.server.ending import leave_on_signals
from mahavishnu_sched_mcp.server.wire import claim_wire

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from mahavishnu_sched_mcp.app import MahavishnuApp
    from mahavishnu_sched_mcp.log import LogSink
    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler
    from mahavishnu_sched_mcp.server.http.door import Door
    from mahavishnu_sched_mcp.server.wire import Wire
    from mahavishnu_sched_mcp.settings import Settings

HOST, PORT = "127.0.0.1", 8765

_LOG_SECONDS = 0.1
"""The last log lines get so long to be written before the process ends."""

_HEALTH_SECONDS = 1.0


def run(options: argparse.Namespace) -> int:
    """Serve until the client closes its end, or a signal comes.

    Raises:
        SettingsError: the options or settings are wrong; nothing was served.
    """
    _check_options(options)
    leave_on_signals()
    wire = claim_wire()
    log = configure_logging(environ=os.environ)
    with log.standing_in():  # what a task or a library prints may not wait for a reader either
        return _serve(options, wire=wire, log=log)


def _check_options(options: argparse.Namespace) -> None:
    given = [
        name
        for name, value in (
            ("--host", options.host),
            ("--port", options.port),
            ("--allow-remote", options.allow_remote or None),
        )
        if value is not None
    ]
    if given and options.transport != "http":
        message = f"{given[0]} has no effect over stdio."
        raise SettingsError(message, hint="Add --transport http, or leave it out.")


def _serve(options: argparse.Namespace, *, wire: Wire, log: LogSink) -> int:
    # Imported after stdout is the protocol's alone: a library may print while it loads.
    from mahavishnu_sched_mcp.settings import load_settings, unsupported  # noqa: PLC0415

    settings = load_settings(config=options.config, data_dir=options.data_dir, environ=os.environ)
    for notice in unsupported(settings):
        structlog.get_logger().warning("setting_has_no_effect", notice=notice)
    drain_logs = partial(log.drain, timeout_seconds=_LOG_SECONDS)
    if options.transport == "http":
        _serve_http(options, settings, drain_logs=drain_logs)
    else:
        _serve_stdio(options, settings, wire=wire, drain_logs=drain_logs)
    return 0


def _serve_stdio(
    options: argparse.Namespace,
    settings: Settings,
    *,
    wire: Wire,
    drain_logs: Callable[[], object],
) -> None:
    from mahavishnu_sched_mcp.app import MahavishnuApp  # noqa: PLC0415 - see _serve
    from mahavishnu_sched_mcp.server.factory import create_server  # noqa: PLC0415
    from mahavishnu_sched_mcp.server.transport import serve_stdio  # noqa: PLC0415

    app = MahavishnuApp(settings, config_path=options.config)
    server = create_server(_starting(app))
    serve_stdio(server, stop=app.stop_scheduler, wire=wire, drain_logs=drain_logs)


def _serve_http(
    options: argparse.Namespace, settings: Settings, *, drain_logs: Callable[[], object]
) -> None:
    from mahavishnu_sched_mcp.app import MahavishnuApp  # noqa: PLC0415 - see _serve
    from mahavishnu_sched_mcp.server.factory import create_server  # noqa: PLC0415
    from mahavishnu_sched_mcp.server.http.door import open_door  # noqa: PLC0415
    from mahavishnu_sched_mcp.server.http.serving import DRAIN_SECONDS, serve_http  # noqa: PLC0415
    from mahavishnu_sched_mcp.settings.token import obtain_token  # noqa: PLC0415

    app = MahavishnuApp(settings, config_path=options.config)
    token = obtain_token(settings)
    door = open_door(
        HOST if options.host is None else options.host,
        port=PORT if options.port is None else options.port,
        allow_remote=options.allow_remote,
        allowed_hosts=settings.http.allowed_hosts,
    )
    _announce(door, settings)
    serve_http(
        create_server(_starting(app)),
        door,
        settings=settings,
        token=token,
        is_well=partial(_is_well, app.scheduler),
        stop=partial(app.stop_scheduler, drain=DRAIN_SECONDS),
        drain_logs=drain_logs,
    )


def _starting(
    app: MahavishnuApp,
) -> Callable[[], AbstractAsyncContextManager[MahavishnuScheduler]]:
    @asynccontextmanager
    async def start() -> AsyncIterator[MahavishnuScheduler]:
        async with app.lifecycle():
            yield app.scheduler

    return start


def _announce(door: Door, settings: Settings) -> None:
    """Say where it listens and where the token is kept, whatever the level of the log."""
    from mahavishnu_sched_mcp.settings.token import TOKEN_FILE  # noqa: PLC0415 - see _serve

    log = structlog.get_logger()
    is_set = settings.http.token is not None
    kept = "the setting http.token" if is_set else str(settings.data_path / TOKEN_FILE)
    log.warning(
        "http_listening",
        url=door.url,
        address=door.address,
        port=door.port,
        pid=os.getpid(),
        token_kept_in=kept,
    )
    if door.is_remote:
        text = "The token travels unencrypted: put a proxy that speaks TLS in front of it."
        log.warning("http_unencrypted", notice=text)


async def _is_well(scheduler: MahavishnuScheduler) -> bool:
    """Whether calls are answered: the ledger can be read, and the server is not stopping."""
    try:
        async with asyncio.timeout(_HEALTH_SECONDS):
            await scheduler.list_jobs(limit=1)
    except (SchedulerError, TimeoutError):
        return False
    return True
