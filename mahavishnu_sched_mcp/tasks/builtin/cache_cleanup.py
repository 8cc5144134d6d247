"""Keep the ledger from growing without bound."""

from __future__ import annotations

from mahavishnu_sched_mcp.tasks.context import Ports
from mahavishnu_sched_mcp.tasks.mark import task


@task(idempotent=True)
async def cache_cleanup(*, ports: Ports) -> dict[str, object]:
    """Remove old runs, ended jobs and whatever else the ledger need not keep; say how much.

    Args:
        ports: Filled in by the executor.
    """
    return dict(await ports.retention.remove_old())
