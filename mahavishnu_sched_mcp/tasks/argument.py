"""One argument of a command: a value as text, and the texts no argument should carry."""

from __future__ import annotations

import math
import unicodedata

from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import InvalidArgumentsError

MAX_STRING_BYTES = 4096


def as_text(value: object) -> str:
    """Write a value as one argument; JSON's words for truth, not Python's.

    Args:
        value: A text, a number or a truth value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def check_value(value: object, *, shape: JsonObject, task: str, key: str) -> None:
    """Refuse what could end an argument early, hide in it, or pass for an option.

    Args:
        value: Already checked against the parameter's schema.
        shape: That schema.
        task: The command's name, for the text of the refusal.
        key: The parameter's name, for the same.

    Raises:
        InvalidArgumentsError: says what is in the way, and how to mend it.
    """
    what, text = f"Parameter '{key}' of task '{task}'", as_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        msg = f"{what} is {text}, which is no finite number."
        raise InvalidArgumentsError(msg, hint="Give a finite number.")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_STRING_BYTES:
        msg = f"{what} has {size} bytes; {MAX_STRING_BYTES} are allowed."
        raise InvalidArgumentsError(msg, hint="Give a shorter value.")
    found = next((c for c in text if unicodedata.category(c) in {"Cc", "Cs"}), None)
    if found is not None:
        msg = f"{what} contains the control character U+{ord(found):04X}."
        raise InvalidArgumentsError(msg, hint="Give one line of text without control characters.")
    if not unicodedata.is_normalized("NFC", text):
        msg = f"{what} is not in Unicode's composed form (NFC)."
        raise InvalidArgumentsError(msg, hint="Normalise the text to NFC.")
    if text.startswith("-") and not _admits_dash(text, shape):
        msg = f"{what} starts with '-': {text[:40]!r} could be read as an option."
        hint = (
            "Give a value without it; the operator can admit it with `enum`, a `pattern` that"
            f" starts with '^-', or a negative `minimum` in tasks.commands.{task}.params.{key}."
        )
        raise InvalidArgumentsError(msg, hint=hint)


def _admits_dash(text: str, shape: JsonObject) -> bool:
    """Tell whether the operator wrote down that this value may start with a dash.

    A character class that happens to contain '-' does not count: nobody who writes
    '^[a-z0-9-]+$' means '-rf'.
    """
    listed = [as_text(value) for value in [*shape.get("enum", []), shape.get("const")]]
    if text in listed:
        return True
    if shape.get("type") in {"integer", "number"}:
        lowest = [shape[key] for key in ("minimum", "exclusiveMinimum") if key in shape]
        return any(limit < 0 for limit in lowest)
    return str(shape.get("pattern", "")).startswith(("^-", r"^\-"))
