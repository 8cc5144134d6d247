"""Where the time comes from, so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The two clocks: the wall for schedules, the monotonic one for durations."""

    def now(self) -> datetime:
        """Give the wall clock's instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never go back, for durations only."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Give the wall clock's instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give seconds that never go back, for durations only."""
        return time.monotonic()
