"""What the libraries of the protocol log goes where ours goes."""

from __future__ import annotations

import fastmcp

from mahavishnu_sched_mcp.log import adopt_loggers


def take_over_library_logs() -> None:
    """Leave logging to ours, for good.

    FastMCP gave its loggers handlers when it was imported, after `configure_logging`; they
    write to stderr themselves, which waits for ever where the client never reads it.
    """
    fastmcp.settings.log_enabled = False  # or it would put them back
    adopt_loggers()
