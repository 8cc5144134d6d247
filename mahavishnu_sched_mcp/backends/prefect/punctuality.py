"""No flow run starts before its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from mahavishnu_sched_mcp.domain.clock import Clock

LONGEST_SLEEP = timedelta(seconds=1)
"""The wall clock may be set while a sleep goes on; it is looked at again this often."""


async def wait_until_due(
    due: datetime | None,
    *,
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """Return when an instant has come: Prefect hands out runs somewhat earlier.

    Args:
        due: When the run may start; None for at once.
        clock: The wall.
        sleep: Lets seconds pass.

    Returns:
        Whether there was anything to wait for.
    """
    has_waited = False
    while due is not None and (left := due - clock.now()) > timedelta(0):
        has_waited = True
        await sleep(min(left, LONGEST_SLEEP).total_seconds())
    return has_waited
