"""How figures are made from measurements."""

from __future__ import annotations

import pytest

from tests.benchmarks.figures import Figure, percentile, table
from tests.benchmarks.wire import environment


@pytest.mark.parametrize(("rank", "expected"), [(50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0)])
def test_a_percentile_is_a_value_that_was_measured(rank: float, expected: float) -> None:
    """The nearest rank is taken, nothing between two measurements is made up."""
    assert percentile([4.0, 1.0, 3.0, 2.0], rank) == expected


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (Figure(what="a", ours=5.0, most=5.0), True),
        (Figure(what="a", ours=5.1, most=5.0), False),
        (Figure(what="a", ours=5.1), None),
        (Figure(what="a", ours=30.0, beside=20.0, most=1.5, is_ratio=True), True),
        (Figure(what="a", ours=30.0, beside=20.0, most=1.4, is_ratio=True), False),
        (Figure(what="a", ours=30.0, beside=20.0, paired=1.3, most=1.4, is_ratio=True), True),
    ],
)
def test_a_target_is_for_the_figure_or_for_its_ratio(figure: Figure, expected: bool | None) -> None:
    """A ratio of pairs goes before the ratio of the medians; no target is neither met nor not."""
    assert figure.is_met is expected


def test_a_missed_target_stands_out_in_the_table() -> None:
    """The table shows ours, what is beside it, their ratio, the target and the verdict."""
    shown = table([Figure(what="start", ours=1500.4, beside=1000.0, most=1.35, is_ratio=True)])

    assert shown.splitlines()[-1] == "| start | 1500 ms | 1000 ms | 1.50 | ≤ 1.35x | **no** |"


def test_a_measured_process_writes_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONDONTWRITEBYTECODE would double every start, so no measured process gets it."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    assert "PYTHONDONTWRITEBYTECODE" not in environment()
