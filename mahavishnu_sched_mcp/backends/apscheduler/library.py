"""APScheduler, imported without its search for plugins.

At its import it reads the entry points of every installed distribution, three times: a
twentieth of our start. We hand it parts of our own and use none of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def _own_entry_points(**selection: Any) -> metadata.EntryPoints:
    """Give APScheduler's own, so that its names (`interval`, ...) work for the user's tasks."""
    return metadata.distribution("apscheduler").entry_points.select(**selection)


@contextmanager
def _brief_search() -> Iterator[None]:
    search = metadata.entry_points
    metadata.entry_points = _own_entry_points
    try:
        yield
    finally:
        metadata.entry_points = search


with _brief_search():
    from apscheduler.schedulers.asyncio import AsyncIOScheduler
    from apscheduler.schedulers.base import BaseScheduler

__all__ = ["AsyncIOScheduler", "BaseScheduler"]
