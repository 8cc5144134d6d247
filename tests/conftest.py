"""What every test begins with."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.faults.tally import PROPERTY, is_soak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """Log to the test's own stderr, whatever the test before has configured."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.hookimpl(trylast=True)  # after the shuffle, which stays within both groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow tests first, so that at the end no process waits for one of them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the figures of all fault tests, also of those that ran in other processes."""
    lines = [
        str(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if lines:
        share = "in full" if is_soak() else "a tenth; `make soak` runs them in full"
        terminalreporter.section(f"faults ({share})")
        for line in sorted(lines):
            terminalreporter.write_line(line)
