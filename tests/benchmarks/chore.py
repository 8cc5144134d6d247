"""The task of the benchmarks: it says when it began, and nothing else."""

from __future__ import annotations

import time

from mahavishnu_sched_mcp import task


@task
async def note_instant() -> str:
    """Give the Unix time in microseconds at which this began."""
    return str(time.time_ns() // 1000)
