"""The scale of the fault tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.tally import amount, written

if TYPE_CHECKING:
    import pytest


def test_a_tenth_is_the_least_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` does at least a tenth of what `make soak` does, and never nothing."""
    monkeypatch.delenv("MAHAVISHNU_SOAK", raising=False)
    tenth = [amount(full) for full in (1, 45, 300)]
    monkeypatch.setenv("MAHAVISHNU_SOAK", "1")

    assert tenth == [1, 5, 30]
    assert amount(45) == 45


def test_figures_are_one_line() -> None:
    """The closing summary names the test, then each number with its word."""
    assert written("kills", {"cycles": 10, "lost": 0}) == "kills: 10 cycles, 0 lost"
