"""How everything is."""

from __future__ import annotations

from fastmcp.tools import ToolResult

from mahavishnu_sched_mcp.server import schemas
from mahavishnu_sched_mcp.server.declaration import Effect, ToolDeclaration, answer
from mahavishnu_sched_mcp.server.dependencies import CALL, Call
from mahavishnu_sched_mcp.server.views import status_view


async def get_status(*, call: Call = CALL) -> ToolResult:
    """Show engines, queues, leader, counts and what needs attention.

    First of all, and when something does not fire. One job: get_job.
    Returns {attention, engines, ...}; attention is empty if all is well.
    Example: {}
    """
    return answer(status_view(await call.scheduler.status()))


TOOLS = (
    ToolDeclaration(
        get_status, title="Show the status", effect=Effect.READ, output_schema=schemas.STATUS
    ),
)
