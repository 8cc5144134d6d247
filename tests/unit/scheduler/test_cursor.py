"""Cursors: opaque outside, checked inside."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from mahavishnu_sched_mcp.scheduler.cursor import read_cursor, write_cursor

_PARTS = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)


@given(place=st.lists(_PARTS, min_size=1, max_size=3))
def test_a_place_comes_back_as_it_was(place: list[int]) -> None:
    """The text is safe in a URL and needs no padding."""
    text = write_cursor(*place)

    assert read_cursor(text, length=len(place)) == tuple(place)
    assert text.strip("=") == text


@given(text=st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else than our refusal is ever raised."""
    place: tuple[int, ...] | None = (0, 0)
    with contextlib.suppress(InvalidArgumentsError):
        place = read_cursor(text, length=2)

    assert place is not None
    assert len(place) == 2


@pytest.mark.parametrize(
    "place", [[1, 2], ["1"], {"a": 1}, [True], [1.5], [2**63], 7, None], ids=str
)
def test_a_place_of_another_list_is_refused(place: object) -> None:
    """Wrong length, wrong type, or beyond what the ledger can count."""
    text = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()

    with pytest.raises(InvalidArgumentsError, match="not one of this list's"):
        read_cursor(text, length=1)


def test_the_first_page_has_no_cursor() -> None:
    """None begins at the beginning."""
    assert read_cursor(None, length=1) is None
