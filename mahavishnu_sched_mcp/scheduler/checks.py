"""Checks of single arguments that need neither the catalog nor the ledger."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.job import ID_PATTERN
from mahavishnu_sched_mcp.errors import (
    InvalidArgumentsError,
    InvalidTriggerError,
    LimitExceededError,
    SchedulerError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mahavishnu_sched_mcp.domain.trigger import Trigger
    from mahavishnu_sched_mcp.domain.value import JsonObject

RESERVED_PREFIX = "system."
"""Ids of the system's own jobs begin so; nobody else may use it."""

_MOST_DEPTH = 32


def check_id(given: str | None) -> str | None:
    """Refuse an id that is not a plain lowercase name.

    Raises:
        InvalidArgumentsError: wrong characters, too long, or a reserved prefix.
    """
    if given is None:
        return None
    if not re.fullmatch(ID_PATTERN, given):
        plain = re.sub(r"[^a-z0-9._-]+", "-", given.lower()).strip("-._")[:64] or "my-job"
        msg = f"'{given[:80]}' is no id: 1 to 64 of a-z, 0-9, '.', '_' and '-' are allowed."
        raise InvalidArgumentsError(msg, hint=f"Use '{plain}'.")
    if given.startswith(RESERVED_PREFIX):
        msg = f"Ids that begin with '{RESERVED_PREFIX}' belong to the server's own jobs."
        raise InvalidArgumentsError(msg, hint="Choose another id.")
    return given


def check_texts(texts: Mapping[str, str | None], *, tags: Sequence[str]) -> None:
    """Refuse names, notes and tags that are too long or carry control characters.

    Raises:
        InvalidArgumentsError: names the argument.
    """
    for what, text in texts.items():
        if text is not None and (len(text) > 500 or not text.isprintable()):  # noqa: PLR2004 - the limit itself
            msg = f"{what} must be one printable line of at most 500 characters."
            raise InvalidArgumentsError(msg, hint=f"Shorten {what} or take out line breaks.")
    if len(tags) > 20 or len(set(tags)) != len(tags):  # noqa: PLR2004 - the limit itself
        msg = f"tags has {len(tags)} entries; at most 20 different ones are allowed."
        raise InvalidArgumentsError(msg, hint="Drop repeated or surplus tags.")
    for tag in tags:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", tag):
            msg = f"'{tag[:80]}' is no tag: letters, digits and . _ : / - are allowed, at most 64."
            raise InvalidArgumentsError(msg, hint="Use a plain word such as 'staging'.")


def read_instant(what: str, text: str | None) -> datetime | None:
    """Read an RFC 3339 instant with offset.

    Raises:
        InvalidArgumentsError: no instant, without offset, or outside the calendar.
    """
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{what}='{text[:80]}' is no RFC 3339 time."
        raise InvalidArgumentsError(msg, hint="Write it like 2026-12-01T09:00:00+01:00.") from error
    if instant.tzinfo is None:
        msg = f"{what}='{text[:80]}' has no offset."
        raise InvalidArgumentsError(msg, hint=f"Add one: {text[:60]}+00:00 for UTC.")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        msg = f"{what}='{text[:80]}' lies outside the calendar."
        raise InvalidArgumentsError(msg, hint="Use a year between 1970 and 9000.") from error


def check_end(end: datetime | None, *, trigger: Trigger | None, at: datetime) -> None:
    """Refuse an end that leaves no fire.

    Args:
        end: The job's `expires_at`.
        at: The instant of the call.

    Raises:
        InvalidArgumentsError: it is in the past.
        InvalidTriggerError: the first fire would be after it.
    """
    if end is None:
        return
    if end <= at:
        msg = f"expires_at={end.isoformat()} is in the past."
        raise InvalidArgumentsError(msg, hint="Use a later instant, or leave it out.")
    first = None if trigger is None else trigger.next_after(at)
    if first is not None and first > end:
        msg = f"The first fire would be {first.isoformat()}, after expires_at={end.isoformat()}."
        raise InvalidTriggerError(msg, hint="Use a later expires_at, or an earlier first fire.")


def check_size(what: str, payload: JsonObject, *, limit: int) -> None:
    """Refuse a payload that is too large, nested too deep or no plain JSON.

    Args:
        limit: Bytes it may have as JSON.

    Raises:
        InvalidArgumentsError: it is no plain JSON, or nested too deep.
        LimitExceededError: it is larger.
    """
    size = len(encode(what, payload))
    if size > limit:
        msg = f"{what} is {size} bytes of JSON, {limit} are allowed."
        hint = "Pass a reference (a path or a key) instead of the data."
        raise LimitExceededError(msg, hint=hint, details={"limit": limit, "current": size})


def encode(what: str, payload: JsonObject) -> bytes:
    """Write a payload as JSON, to know its size.

    Raises:
        InvalidArgumentsError: it is no plain JSON, or nested too deep.
    """
    try:
        if _depth(payload) > _MOST_DEPTH:
            msg = f"{what} is nested more than {_MOST_DEPTH} deep."
            raise InvalidArgumentsError(msg, hint="Flatten it.")
        return json.dumps(payload, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, SchedulerError):
            raise
        msg = f"{what} is not plain JSON (NaN, Infinity and objects are not)."
        raise InvalidArgumentsError(
            msg, hint="Use strings, numbers, booleans, lists and objects."
        ) from error


def _depth(value: Any) -> int:
    level, layer = 0, [value]
    while layer and level <= _MOST_DEPTH:
        level += 1
        layer = [
            inner
            for item in layer
            for inner in (
                item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            )
        ]
    return level
