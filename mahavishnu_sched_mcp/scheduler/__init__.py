"""The way in: one interface to three schedulers."""

from mahavishnu_sched_mcp.scheduler.scheduler import MahavishnuScheduler

__all__ = ["MahavishnuScheduler"]
