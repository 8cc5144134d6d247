"""MahavishnuScheduler: one interface to three schedulers."""

from __future__ import annotations

from mahavishnu_sched_mcp.scheduler.answering import Answering
from mahavishnu_sched_mcp.scheduler.creating import Creating
from mahavishnu_sched_mcp.scheduler.keeping import Keeping
from mahavishnu_sched_mcp.scheduler.running import Running


class MahavishnuScheduler(Creating, Keeping, Running, Answering):
    """Schedules work on APScheduler, Oneiric queues and Prefect, and answers for all of it.

    Every change is in the ledger before the call answers; the leading process of the data dir
    carries it out, whichever process was called. Made by `MahavishnuApp`; usable alone with
    `async with scheduler.lifecycle()`.
    """
