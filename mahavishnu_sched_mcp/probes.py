"""What the server's own chores measure: real probes and real numbers."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.engine import Backend, EngineState, Health
from mahavishnu_sched_mcp.ledger import job_lists, outbox, reports, run_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger
    from mahavishnu_sched_mcp.tasks.context import RunContext

_LEAST_FREE_BYTES = 64 * 1024 * 1024
_MOST_STEP_SECONDS = 60.0
_HOUR = timedelta(hours=1)


class LedgerStatusProbe:
    """Tests ledger, engines, disk and clock, and says what blocked the event loop.

    Args:
        health: How the engines are; asking starts none of them.
        blockages: Which tasks blocked the loop, how often, how long and where.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        clock: Clock,
        data_dir: Path,
        health: Callable[[], Mapping[Backend, Health]],
        blockages: Callable[[], Mapping[str, object]],
    ) -> None:
        self._leadership = leadership
        self._clock = clock
        self._data_dir = data_dir
        self._health = health
        self._blockages = blockages
        self._looked: tuple[datetime, float] | None = None

    async def probe(self) -> Mapping[str, object]:
        """Test each part now; every part says `ok` and what it saw."""
        return {
            "ledger": await self._probe_ledger(),
            "disk": self._probe_disk(),
            "clock": self._probe_clock(),
            "event_loop": self._blockages(),
            **{name.value: _probe_engine(value) for name, value in self._health().items()},
        }

    async def _probe_ledger(self) -> dict[str, object]:
        began = self._clock.monotonic()
        await self._leadership.write(
            lambda db: db.execute("update leader set term = term").fetchall()
        )
        took = (self._clock.monotonic() - began) * 1e3
        return {"ok": True, "write_ms": round(took, 3)}

    def _probe_disk(self) -> dict[str, object]:
        free = shutil.disk_usage(self._data_dir).free
        return {"ok": free >= _LEAST_FREE_BYTES, "free_bytes": free}

    def _probe_clock(self) -> dict[str, object]:
        """Compare the two clocks since the last look: a difference is a step of the wall clock."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        before, self._looked = self._looked, (now, ticks)
        if before is None:
            return {"ok": True, "step_seconds": 0.0}
        step = (now - before[0]).total_seconds() - (ticks - before[1])
        return {"ok": abs(step) <= _MOST_STEP_SECONDS, "step_seconds": round(step, 3)}


class LedgerMetricsProbe:
    """Counts jobs, runs, lateness, sizes and memory, and keeps each sample."""

    def __init__(
        self, *, ledger: Ledger, leadership: Leadership, clock: Clock, ledger_path: Path
    ) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._clock = clock
        self._path = ledger_path

    async def measure(self) -> Mapping[str, object]:
        """Take one sample and keep it in the ledger."""
        now = self._clock.now()
        since = now - _HOUR
        counted, ended, waiting, late = self._ledger.read(
            lambda db: (
                job_lists.count_by_state(db),
                run_lists.count_since(db, since),
                outbox.waiting(db),
                reports.lateness_ms(db, since=since),
            )
        )
        sample = {
            "at": now.isoformat(),
            "jobs": counted,
            "runs_last_hour": ended,
            "outbox_waiting": waiting,
            "lateness_ms": {
                "runs": len(late),
                "p50": _percentile(late, 50),
                "p99": _percentile(late, 99),
            },
            "rss_bytes": _resident_bytes(),
            "ledger_bytes": self._path.stat().st_size,
        }
        await self._leadership.write(
            lambda db: reports.add_sample(db, sample, at=now), durable=False
        )
        return sample


class LedgerReminders:
    """Keeps messages for the agent's next look."""

    def __init__(self, *, leadership: Leadership, clock: Clock) -> None:
        self._leadership = leadership
        self._clock = clock

    async def remind(self, message: str, *, context: RunContext) -> None:
        """Keep the message; `get_status` shows it for a day."""
        now = self._clock.now()
        await self._leadership.write(
            lambda db: reports.add_reminder(db, context.run_id, message, at=now)
        )


def _probe_engine(health: Health) -> dict[str, object]:
    return {
        "ok": health.state is not EngineState.UNAVAILABLE,
        "state": health.state.value,
        **({"detail": health.detail} if health.detail else {}),
    }


def _percentile(ordered: Sequence[int], percent: int) -> int | None:
    """Give the nearest-rank percentile of sorted numbers; None of none."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - a kernel file
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
