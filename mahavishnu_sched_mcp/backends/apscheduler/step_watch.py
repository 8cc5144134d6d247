"""Notices that the wall clock was set, by comparing it with the monotonic one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from datetime import datetime

    from mahavishnu_sched_mcp.domain.clock import Clock

_LEAST = timedelta(seconds=1)
_LARGE = timedelta(hours=24)
_SLEW = 0.001  # a clock that is being corrected runs wrong by half of this at most
_PROMPT_SECONDS = 0.1

_log = structlog.get_logger()


@dataclass(frozen=True)
class Step:
    """The wall clock was set, or the machine slept.

    Attributes:
        at: What the wall clock showed when it was noticed.
        by: Forward above zero, back below.
    """

    at: datetime
    by: timedelta


class StepWatch:
    """Looks at both clocks at each wake, and logs by how much the wall clock jumped.

    A machine that sleeps stops its monotonic clock, so waking up is a step forward, too. Steps
    of a second or less, and a clock that is corrected slowly, are nobody's business.

    Attributes:
        last: The latest step; None as long as there was none.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin with what the clocks show at the first look."""
        self.last: Step | None = None
        self._clock = clock
        self._seen: tuple[datetime, float] | None = None

    def look(self) -> None:
        """Compare the clocks with the look before; a step over a day is a warning."""
        before = self._clock.monotonic()
        wall = self._clock.now()
        after = self._clock.monotonic()
        if after - before > _PROMPT_SECONDS:
            return  # stopped between the readings: they do not belong together
        seen, self._seen = self._seen, (wall, after)
        if seen is None:
            return
        gone = timedelta(seconds=after - seen[1])
        by = wall - seen[0] - gone
        if abs(by) <= max(_LEAST, _SLEW * gone):
            return
        self.last = Step(at=wall, by=by)
        log = _log.warning if abs(by) > _LARGE else _log.info
        log("clock_stepped", seconds=round(by.total_seconds(), 3))
