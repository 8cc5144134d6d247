"""The embedded server, in its own process."""

from __future__ import annotations

import uvicorn

from mahavishnu_sched_mcp.backends.prefect.guard import guard_child


def serve(port: int) -> int:
    """Serve Prefect's API, scheduler and UI on the loopback address until told to end.

    Args:
        port: Free when the parent chose it; taken meanwhile, this process ends and is
            started anew with another.
    """
    guard_child()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    return 0
