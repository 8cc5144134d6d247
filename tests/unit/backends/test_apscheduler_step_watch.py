"""The watch that compares the wall clock with the monotonic one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from mahavishnu_sched_mcp.backends.apscheduler.step_watch import Step, StepWatch

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


class TwoClocks:
    """A wall and a monotonic clock that a test moves apart."""

    def __init__(self) -> None:
        """Stand at noon."""
        self.wall = NOON
        self.ticks = 0.0
        self.stall = 0.0

    def now(self) -> datetime:
        """Give the wall clock, after a stall where one is set."""
        self.ticks += self.stall
        self.wall += timedelta(seconds=self.stall)
        return self.wall

    def monotonic(self) -> float:
        """Give the other clock."""
        return self.ticks

    def go_on(self, by: timedelta) -> None:
        """Let time pass on both."""
        self.wall += by
        self.ticks += by.total_seconds()


@pytest.mark.parametrize("by", [65 * SECOND, -65 * SECOND, 23 * DAY / 24, -23 * DAY / 24])
def test_a_step_is_told_with_its_size(by: timedelta) -> None:
    """A wall clock that jumps against the monotonic one was set, forward or back."""
    clocks = TwoClocks()
    watch = StepWatch(clocks)
    watch.look()

    clocks.go_on(SECOND)
    clocks.wall += by
    with capture_logs() as logs:
        watch.look()

    assert watch.last == Step(at=clocks.wall, by=by)
    assert logs == [{"event": "clock_stepped", "seconds": by.total_seconds(), "log_level": "info"}]


@pytest.mark.parametrize("by", [2 * DAY, -2 * DAY])
def test_a_step_over_a_day_is_a_warning(by: timedelta) -> None:
    """Who sets the clock by days should know that jobs follow it."""
    clocks = TwoClocks()
    watch = StepWatch(clocks)
    watch.look()

    clocks.wall += by
    with capture_logs() as logs:
        watch.look()

    assert [(line["event"], line["log_level"]) for line in logs] == [("clock_stepped", "warning")]


def test_a_step_is_told_once() -> None:
    """The clock is compared with the look before, not with the start."""
    clocks = TwoClocks()
    watch = StepWatch(clocks)
    watch.look()

    clocks.wall += DAY
    watch.look()
    with capture_logs() as logs:
        for _ in range(3):
            clocks.go_on(SECOND)
            watch.look()

    assert logs == []


def test_a_corrected_clock_is_no_step() -> None:
    """Time servers slow a clock down or speed it up by half a thousandth: that is its work."""
    clocks = TwoClocks()
    watch = StepWatch(clocks)
    watch.look()

    clocks.go_on(DAY)
    clocks.wall += 0.0005 * DAY
    watch.look()

    assert watch.last is None


def test_a_stall_between_the_readings_is_no_step() -> None:
    """A process that is stopped while it reads the clocks looks again instead of guessing."""
    clocks = TwoClocks()
    watch = StepWatch(clocks)
    watch.look()

    clocks.stall = 30.0
    watch.look()
    clocks.stall = 0.0
    watch.look()

    assert watch.last is None
