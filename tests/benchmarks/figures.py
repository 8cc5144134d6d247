"""Figures and the table they are shown in."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADINGS = ("measured", "ours", "beside it", "ratio", "target", "met")
_MILLISECONDS = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        what: What was measured, with its conditions.
        ours: Our figure, in `unit`.
        beside: The same of what it is compared with; None where there is none.
        paired: The median ratio of pairs measured one after the other, where there are any: on
            a busy machine it says more than the ratio of two medians.
        most: The most that `ours` may be, or the ratio where `is_ratio`; None sets no target.
        is_ratio: Whether the target is for ours divided by beside.
    """

    what: str
    ours: float
    unit: str = "ms"
    beside: float | None = None
    paired: float | None = None
    most: float | None = None
    is_ratio: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours divided by what it is beside."""
        if self.paired is not None:
            return self.paired
        return self.ours / self.beside if self.beside else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        measured = self.ratio if self.is_ratio else self.ours
        return None if self.most is None or measured is None else measured <= self.most

    def cells(self) -> tuple[str, ...]:
        """Write the row."""
        target = "" if self.most is None else _target(self)
        met = {None: "", True: "yes", False: "**no**"}[self.is_met]
        beside = "" if self.beside is None else f"{_number(self.beside)} {self.unit}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (self.what, f"{_number(self.ours)} {self.unit}", beside, ratio, target, met)


def percentile(values: Sequence[float], rank: float) -> float:
    """Give the nearest-rank percentile.

    Args:
        rank: In percent; 50 is the median.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)]


def milliseconds(seconds: float) -> float:
    """Turn seconds into milliseconds."""
    return seconds * _MILLISECONDS


def table(figures: Sequence[Figure]) -> str:
    """Write the figures as a Markdown table."""
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(figure.cells() for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def conditions() -> str:
    """Say on what the figures were measured."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{os.process_cpu_count()} CPUs ({platform.machine()}), {platform.system()}, "
        f"CPython {platform.python_version()}, FastMCP {version('fastmcp')}, "
        f"SQLite {apsw.sqlite_lib_version()}; load average at the end {load}."
    )


def _target(figure: Figure) -> str:
    unit = "x" if figure.is_ratio else f" {figure.unit}"
    assert figure.most is not None
    return f"≤ {figure.most:g}{unit}"


def _number(value: float) -> str:
    if value == int(value) or value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
