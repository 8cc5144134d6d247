"""What strangers wrote, made safe to show: no control characters, one line where one is due."""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Whole ANSI and OSC sequences: dropping only the escape would leave their tails as text."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 but tab and newline, C1, bidirectional marks, zero-width, lone surrogates, tags."""


def clean_text(text: str) -> str:
    """Drop what a reader cannot see and a terminal or a model would obey; lines stay."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub("", _ESCAPES.sub("", text))


def clean_line(text: str, *, length: int | None = None) -> str:
    """Put a text into one clean line.

    Args:
        text: What a stranger wrote.
        length: The most characters to keep; the last is an ellipsis where it was cut.
    """
    line = " ".join(clean_text(text).split())
    if length is None or len(line) <= length:
        return line
    return line[: max(0, length - 1)].rstrip() + "…" if length > 0 else ""


def clean_value(value: Any) -> Any:
    """Clean every text inside a JSON value, keys too."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_value(item) for item in value]
    return value


def compact_json(value: Any) -> str:
    """Write a JSON value without spare blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
