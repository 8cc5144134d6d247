"""Removes what the ledger may forget, beside everything else that goes on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.ledger import sweeps
from mahavishnu_sched_mcp.ledger.retention import Cursor, RetentionRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger

_PAUSE_SECONDS = 0.001
"""Between two steps: whoever waits for the ledger's writer comes first."""

_SHORT_SECONDS, _LONG_SECONDS = 0.004, 0.01
_LEAST_ROWS, _MOST_ROWS = 10, 200


class LedgerRetention:
    """Applies the operator's `retention` to the ledger.

    Args:
        runs_days: Days a finished run is kept.
        runs_per_job: So many finished runs of a job id are kept.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        leadership: Leadership,
        clock: Clock,
        runs_days: float,
        runs_per_job: int,
    ) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._clock = clock
        self._runs_days = runs_days
        self._runs_per_job = runs_per_job
        self._most = _LEAST_ROWS

    async def remove_old(self) -> Mapping[str, object]:
        """Remove what is old, step by step; stopped in the middle, the next call goes on.

        Returns:
            The rows that were `removed` by kind, and the ledger's size before and after.

        Raises:
            StorageFullError: no room; what the steps before removed stays removed.
            DeposedError: another process leads by now; it cleans up at its own time.
        """
        before = self._ledger.read(sweeps.measure)
        removed = Counter(dict.fromkeys(sweeps.KINDS, 0))
        for sweep, start in sweeps.SWEEPS:
            removed.update(await self._carry_out(sweep, start))
        after = self._ledger.read(sweeps.measure)
        return {"removed": dict(removed), "ledger": {"before": before, "after": after}}

    async def _carry_out(self, sweep: sweeps.Sweep, start: Cursor) -> Counter[str]:
        removed: Counter[str] = Counter()
        after: Cursor | None = start
        while after is not None:
            rules = RetentionRules(
                now=self._clock.now(),
                runs_days=self._runs_days,
                runs_per_job=self._runs_per_job,
                most=self._most,
            )
            began = time.perf_counter()
            step = await self._leadership.write(
                partial(sweep, rules=rules, after=after), durable=False
            )
            self._adapt(time.perf_counter() - began)
            removed += step.removed
            after = step.after
            await asyncio.sleep(_PAUSE_SECONDS)
        return removed

    def _adapt(self, took: float) -> None:
        """Take smaller steps on a slow disk or a busy machine: a claim waits for one at most."""
        if took > _LONG_SECONDS:
            self._most = max(_LEAST_ROWS, self._most // 2)
        elif took < _SHORT_SECONDS:
            self._most = min(_MOST_ROWS, self._most * 2)
