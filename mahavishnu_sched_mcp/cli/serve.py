"""`serve`: MCP over stdio."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.log import configure_logging
from mahavishnu_sched_mcp.server.wire import claim_wire

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from mahavishnu_sched_mcp.log import LogSink
    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler
    from mahavishnu_sched_mcp.server.wire import Wire

_LOG_SECONDS = 0.1
"""The last log lines get so long to be written before the process ends."""


def run(options: argparse.Namespace) -> int:
    """Serve one client over stdin and stdout until it closes its end.

    Raises:
        SettingsError: the settings are wrong; nothing was served.
    """
    wire = claim_wire()
    log = configure_logging(environ=os.environ)
    with log.standing_in():  # what a task or a library prints may not wait for a reader either
        return _serve(options, wire=wire, log=log)


def _serve(options: argparse.Namespace, *, wire: Wire, log: LogSink) -> int:
    # Imported after stdout is the protocol's alone: a library may print while it loads.
    from mahavishnu_sched_mcp.app import MahavishnuApp  # noqa: PLC0415
    from mahavishnu_sched_mcp.server.factory import create_server  # noqa: PLC0415
    from mahavishnu_sched_mcp.server.transport import serve_stdio  # noqa: PLC0415
    from mahavishnu_sched_mcp.settings import load_settings, unsupported  # noqa: PLC0415

    settings = load_settings(config=options.config, data_dir=options.data_dir, environ=os.environ)
    for notice in unsupported(settings):
        structlog.get_logger().warning("setting_has_no_effect", notice=notice)
    app = MahavishnuApp(settings, config_path=options.config)

    @asynccontextmanager
    async def start() -> AsyncIterator[MahavishnuScheduler]:
        async with app.lifecycle():
            yield app.scheduler

    serve_stdio(
        create_server(start),
        stop=app.stop_scheduler,
        wire=wire,
        drain_logs=lambda: log.drain(timeout_seconds=_LOG_SECONDS),
    )
    return 0
