"""What a tool needs of the call it answers: the scheduler, the caller, a way to report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastmcp import Context
from fastmcp.dependencies import CurrentContext, Depends

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler

SCHEDULER_KEY = "scheduler"
"""Where the lifespan keeps the scheduler."""

LOCAL_CALLER = "local"
"""Who calls when the client does not say its name."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_NAME_LENGTH = 48
_VERSION_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call.

    Attributes:
        scheduler: The one scheduler of this process.
        created_by: The client's name and version, such as `claude-code/1.2`.
        report: Tells the client how far a wait is: progress so far, total or None, message.
    """

    scheduler: MahavishnuScheduler
    created_by: str
    report: Callable[[float, float | None, str], Awaitable[None]]


def caller_name(name: str | None, version: str | None) -> str:
    """Make a safe, short name of what a client says of itself.

    Args:
        name: The client's name, or None where it did not say.
        version: The client's version, or None.
    """
    safe_name = _UNSAFE.sub("-", name or "").strip("-.")[:_NAME_LENGTH]
    safe_version = _UNSAFE.sub("-", version or "").strip("-.")[:_VERSION_LENGTH]
    if not safe_name:
        return LOCAL_CALLER
    return f"{safe_name}/{safe_version}" if safe_version else safe_name


def current_call(context: Context = CurrentContext()) -> Call:  # noqa: B008 - FastMCP's marker
    """Collect what the call at hand needs."""
    # The 2025 era says it once, in the handshake; the 2026 era in each request, and may not.
    params = context.session.client_params
    info = None if params is None else params.client_info

    async def report(progress: float, total: float | None, message: str) -> None:
        await context.report_progress(progress, total, message)

    name, version = (None, None) if info is None else (info.name, info.version)
    return Call(
        scheduler=context.lifespan_context[SCHEDULER_KEY],
        created_by=caller_name(name, version),
        report=report,
    )


CALL: Call = Depends(current_call)
"""The default of a tool's `call` parameter; FastMCP fills it in and keeps it off the schema."""
