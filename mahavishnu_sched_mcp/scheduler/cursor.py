"""Opaque cursors: where a page ended, so that the next one goes on there."""

from __future__ import annotations

import base64
import binascii
import json

from mahavishnu_sched_mcp.errors import InvalidArgumentsError


def write_cursor(*place: int) -> str:
    """Turn a place into an opaque text."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, *, length: int) -> tuple[int, ...] | None:
    """Turn the text back into a place; None for the first page.

    Raises:
        InvalidArgumentsError: it is not a cursor of this list.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, binascii.Error, UnicodeError, RecursionError) as error:
        raise _refusal(cursor) from error
    if (
        not isinstance(place, list)
        or len(place) != length
        or not all(type(part) is int and abs(part) < 2**63 for part in place)
    ):
        raise _refusal(cursor)
    return tuple(place)


def _refusal(cursor: str) -> InvalidArgumentsError:
    msg = f"cursor '{cursor[:40]}' is not one of this list's."
    return InvalidArgumentsError(msg, hint="Pass next_cursor of the previous page, or none.")
