"""What is refused before catalog and ledger are looked at."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_sched_mcp.domain.job import ID_PATTERN
from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from mahavishnu_sched_mcp.scheduler.checks import check_id, check_texts, encode, read_instant


@pytest.mark.parametrize("name", ["a", "a" * 64, "0.b_c-d"])
def test_a_plain_name_is_an_id(name: str) -> None:
    """1 to 64 of a-z, 0-9, dot, underscore and dash; None derives one."""
    assert check_id(name) == name
    assert check_id(None) is None


@given(name=st.text(max_size=80))
def test_a_refused_id_comes_with_one_that_is_taken(name: str) -> None:
    """The proposed one is an id, whatever was given."""
    if re.fullmatch(ID_PATTERN, name):
        assert check_id(name) == name
        return
    with pytest.raises(InvalidArgumentsError) as refused:
        check_id(name)
    proposed = re.search(r"^Use '(.*)'\.$", refused.value.hint)

    assert proposed is not None
    assert re.fullmatch(ID_PATTERN, proposed[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01T09:00:00+01:00", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01T09:00:00Z", datetime(2026, 12, 1, 9, tzinfo=UTC)),
        (None, None),
    ],
)
def test_an_instant_is_read_into_utc(text: str | None, expected: datetime | None) -> None:
    """RFC 3339 with an offset."""
    assert read_instant("since", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-12-01T09:00:00",
        "2026-13-01T09:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Unreadable, without an offset, or outside the calendar."""
    with pytest.raises(InvalidArgumentsError, match="since="):
        read_instant("since", text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", {1, 2}])
def test_a_payload_is_plain_json(value: Any) -> None:
    """What JSON cannot carry is refused, also deep inside."""
    with pytest.raises(InvalidArgumentsError, match="params is not plain JSON"):
        encode("params", {"a": [{"b": value}]})


@pytest.mark.parametrize("deep", [[], {}])
def test_a_payload_is_nested_32_deep_at_most(deep: Any) -> None:
    """Lists and objects count alike."""
    for _ in range(29):
        deep = [deep] if isinstance(deep, list) else {"x": deep}

    assert encode("params", {"a": deep})
    with pytest.raises(InvalidArgumentsError, match="more than 32 deep"):
        encode("params", {"a": {"b": {"c": {"d": deep}}}})


@pytest.mark.parametrize(
    ("texts", "tags"),
    [
        ({"note": "a\tb"}, ()),
        ({"name": "x" * 501}, ()),
        ({}, [f"t{number}" for number in range(21)]),
        ({}, ["x" * 65]),
        ({}, [""]),
        ({}, ["-x"]),
    ],
)
def test_texts_and_tags_are_short_and_plain(texts: dict[str, str | None], tags: list[str]) -> None:
    """One printable line of 500; 20 tags of 64."""
    with pytest.raises(InvalidArgumentsError):
        check_texts(texts, tags=tags)


def test_texts_and_tags_at_their_limits_are_taken() -> None:
    """And None is no text."""
    check_texts({"name": "é" * 500, "note": None}, tags=["x" * 64, *map(str, range(19))])
