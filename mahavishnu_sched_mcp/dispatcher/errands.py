"""Work beside the leader's loop, one of a kind at a time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Coroutine

_PAUSE_SECONDS = 1.0
_log = structlog.get_logger()


class Errands:
    """Tasks by what they are about."""

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[None]] = {}

    def run(self, key: object, work: Coroutine[None, None, None]) -> None:
        """Run something beside the loop, unless the same errand is under way."""
        if key in self._tasks:
            work.close()
            return
        task = asyncio.create_task(_guarded(work))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def stop(self) -> None:
        """End them all. Idempotent."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _guarded(work: Coroutine[None, None, None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await work
        except Exception:  # noqa: BLE001 - the errands' loop guard
            # One errand's defect must not end the others; the ledger still has the work.
            _log.exception("errand_failed")
            await asyncio.sleep(_PAUSE_SECONDS)
