"""What the fault tests report: their n, and what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.tally import PROPERTY, Tally, written

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def tally(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Tally:
    """Report the figures of a test in the closing summary; call it before the assertions."""

    def report(**figures: Any) -> None:
        record_property(PROPERTY, written(request.node.name, figures))

    return report
