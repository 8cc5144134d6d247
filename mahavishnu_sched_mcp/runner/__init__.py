"""The way out: claims a fire, runs it, records it."""

from mahavishnu_sched_mcp.runner.runner import Runner

__all__ = ["Runner"]
