"""Keep a sample of the server's figures."""

from __future__ import annotations

from mahavishnu_sched_mcp.tasks.context import Ports
from mahavishnu_sched_mcp.tasks.mark import task


@task(idempotent=True)
async def metrics_collection(*, ports: Ports) -> dict[str, object]:
    """Count jobs, runs, lateness and memory now, and keep the sample.

    Args:
        ports: Filled in by the executor.
    """
    return dict(await ports.metrics.measure())
