"""A scheduler for AI agents: one MCP server over APScheduler, Oneiric queues and Prefect."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.app import MahavishnuApp
    from mahavishnu_sched_mcp.classifier import classify_task
    from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics
    from mahavishnu_sched_mcp.errors import SchedulerError
    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler
    from mahavishnu_sched_mcp.settings import Settings, load_settings
    from mahavishnu_sched_mcp.tasks.context import current_run
    from mahavishnu_sched_mcp.tasks.mark import task

_HOMES = {
    "MahavishnuApp": "app",
    "MahavishnuScheduler": "scheduler",
    "SchedulerError": "errors",
    "Settings": "settings",
    "TaskCharacteristics": "domain.characteristics",
    "classify_task": "classifier",
    "current_run": "tasks.context",
    "load_settings": "settings",
    "task": "tasks.mark",
}

__all__ = [
    "MahavishnuApp",
    "MahavishnuScheduler",
    "SchedulerError",
    "Settings",
    "TaskCharacteristics",
    "classify_task",
    "current_run",
    "load_settings",
    "task",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562), so that importing this is cheap."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
