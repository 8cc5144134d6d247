"""Tasks that blocked the event loop: what is known of them, and who is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from mahavishnu_sched_mcp.tasks.context import Reminders, RunContext

_log = structlog.get_logger()

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Blockage:
    """One time that a task held up the event loop.

    Attributes:
        task: Its name in the catalog.
        run: The run it was part of.
        seconds: How long.
        where: `module.function:line` of the task's code; without line where nobody saw it.
    """

    task: str
    run: RunContext
    seconds: float
    where: str


@dataclass(frozen=True, kw_only=True)
class _Record:
    count: int
    longest: Blockage


class BlockageJournal:
    """Keeps what blocked the loop since the start; each task is told of once a day.

    The log has every blockage (`loop_blocked`), `get_status` has a reminder for a day, and
    `health_check` the count and the worst one of each task.
    """

    def __init__(self, reminders: Reminders) -> None:
        """Know of none yet.

        Args:
            reminders: Where agents look.
        """
        self._reminders = reminders
        self._records: dict[str, _Record] = {}
        self._told: dict[str, float] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def add(self, blockage: Blockage) -> None:
        """Keep a blockage, and tell of it; on the event loop.

        Args:
            blockage: As the watchdog saw it.
        """
        _log.warning(
            "loop_blocked",
            task=blockage.task,
            job_id=blockage.run.job_id,
            run_id=blockage.run.run_id,
            duration_ms=round(blockage.seconds * 1e3),
            where=blockage.where,
        )
        known = self._records.get(blockage.task, _Record(count=0, longest=blockage))
        longest = max(known.longest, blockage, key=lambda one: one.seconds)
        self._records[blockage.task] = _Record(count=known.count + 1, longest=longest)
        now = time.monotonic()
        if now - self._told.get(blockage.task, now - _DAY_SECONDS) >= _DAY_SECONDS:
            self._told[blockage.task] = now
            telling = asyncio.get_running_loop().create_task(self._tell(blockage))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    def shown(self) -> Mapping[str, object]:
        """Show, for `health_check`, which tasks blocked the loop: how often, how long, where."""
        return {
            "ok": True,
            **{
                task: {
                    "blocked": record.count,
                    "longest_ms": round(record.longest.seconds * 1e3),
                    "where": record.longest.where,
                    "run_id": record.longest.run.run_id,
                }
                for task, record in self._records.items()
            },
        }

    async def _tell(self, blockage: Blockage) -> None:
        message = (
            f"task '{blockage.task}' blocked the event loop for {blockage.seconds * 1e3:.0f} ms"
            f" at {blockage.where}; everything else waited. Its author should write it as `def`,"
            " or await."
        )
        try:
            await self._reminders.remind(message, context=blockage.run)
        # A reminder is a courtesy: a full disk, or a process without a ledger, must not matter.
        except Exception as error:  # noqa: BLE001 - said above
            _log.debug("reminder_lost", task=blockage.task, error=type(error).__name__)
