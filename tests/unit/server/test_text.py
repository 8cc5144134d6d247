"""What strangers wrote is shown without what a reader cannot see."""

from __future__ import annotations

import pytest

from mahavishnu_sched_mcp.server.text import clean_line, clean_text, clean_value


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("two\n\tlines", "two\n\tlines"),
        ("naïve 東京", "naïve 東京"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("bell\x07 null\x00 delete\x7f c1\x9b", "bell null delete c1"),
        ("bidi \u202etxt.exe\u2066", "bidi txt.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("tags\U000e0041\U000e007f", "tags"),
        ("lone \ud800surrogate", "lone surrogate"),
    ],
)
def test_invisible_characters_are_dropped(written: str, shown: str) -> None:
    """Escapes go whole; letters of every script stay."""
    assert clean_text(written) == shown


def test_a_line_is_one_line() -> None:
    """Any kind of line break becomes a blank."""
    assert clean_line("a\r\nb\u2028c\t d") == "a b c d"


@pytest.mark.parametrize(
    ("length", "shown"), [(None, "abcdef"), (6, "abcdef"), (4, "abc…"), (1, "…"), (0, "")]
)
def test_a_long_line_is_cut_with_an_ellipsis(length: int | None, shown: str) -> None:
    """The length counts the ellipsis."""
    assert clean_line("abcdef", length=length) == shown


def test_texts_inside_json_are_cleaned_keys_too() -> None:
    """Numbers, truth and nothing pass unchanged."""
    value = {"a\x00": ["b\x1b[0m", 1, None, True], "c": ("d\u200b",)}

    assert clean_value(value) == {"a": ["b", 1, None, True], "c": ["d"]}
