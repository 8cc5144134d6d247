"""How much a fault test does, and the figures it reports.

`make soak` runs every test in full; `make test` runs a tenth with the same assertions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

type Tally = Callable[..., None]
"""Called with the figures of a test by name, such as `tally(cycles=100, lost=0)`."""

PROPERTY = "fault_figures"
_SHARE = 10


def is_soak() -> bool:
    """Whether the tests run in full."""
    return os.environ.get("MAHAVISHNU_SOAK") == "1"


def amount(full: int) -> int:
    """Give how often to do something: `full` in a soak, else a tenth of it, rounded up."""
    return full if is_soak() else -(-full // _SHARE)


def written(name: str, figures: dict[str, Any]) -> str:
    """Write the figures of a test as one line of the closing summary."""
    return f"{name}: " + ", ".join(f"{value} {key}" for key, value in figures.items())
