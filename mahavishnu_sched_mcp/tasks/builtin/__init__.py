"""The product's own chores: ordinary tasks, one per file.

A built-in differs from an operator's task in one point: where it has a keyword parameter
`ports`, the executor fills it in. The parameter is not part of the task's schema.
"""

from mahavishnu_sched_mcp.tasks.builtin.cache_cleanup import cache_cleanup
from mahavishnu_sched_mcp.tasks.builtin.health_check import health_check
from mahavishnu_sched_mcp.tasks.builtin.metrics_collection import metrics_collection
from mahavishnu_sched_mcp.tasks.builtin.remind import remind

BUILTIN_TASKS = (cache_cleanup, health_check, metrics_collection, remind)

__all__ = ["BUILTIN_TASKS", "cache_cleanup", "health_check", "metrics_collection", "remind"]
