"""What is wrong with a setting, said with its place, its value and the mend."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.errors import SettingsError, nearest
from mahavishnu_sched_mcp.settings.document import Key, Origins, dotted
from mahavishnu_sched_mcp.settings.outline import known_keys
from mahavishnu_sched_mcp.settings.slice import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_SECRET = frozenset({"signing_key", "api_key", "token", "secret", "ledger_url", "env", "headers"})
_NEEDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "date_type": "a date like 2026-11-01",
    "date_from_datetime_parsing": "a date like 2026-11-01",
    "date_from_datetime_inexact": "a date like 2026-11-01",
}
_NAME_MEND = "Use letters, digits, '.', '_' and '-', at most 64, a letter or digit first."
_PATTERN_MENDS = {
    "https?://[A-Za-z0-9._": "Write scheme://host or scheme://host:port, without path or '*'.",
    "0-9A-Fa-f.]*:": "Write a host name or an IP address, without port, scheme or '*'.",
    "https?:": "Begin with http:// or https://.",
    "(env|": "Write env:NAME, file:PATH or keyring:NAME.",
    "A-Za-z_]": "Write a dotted path like my_package.tasks.",
    "A-Za-z0-9._-": _NAME_MEND,
}
_LONGEST_VALUE = 80


@dataclasses.dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong with a setting.

    Attributes:
        key: Where.
        text: A sentence that names the key.
        mend: A sentence that says what to write instead.
    """

    key: Key
    text: str
    mend: str


def explain(error: ValidationError, *, origins: Origins) -> SettingsError:
    """Turn a validation error into ours: the first problem, and the others under it.

    Args:
        error: What pydantic found, with every problem in it.
        origins: Where each value was written.
    """
    problems = error.errors(include_url=False)
    return refuse(map(_complaint, problems), origins=origins)


def refuse(complaints: Iterable[Complaint], *, origins: Origins) -> SettingsError:
    """Make one refusal of all that is wrong: the first complaint, and the others under it.

    Args:
        complaints: At least one.
        origins: Where each value was written.
    """
    told = dict.fromkeys((_with_place(one, origins), one.mend) for one in complaints)
    (message, hint), *others = told
    lines = [hint, *(f"{also} {mend}" for also, mend in others)]
    return SettingsError(message, hint="\n".join(lines))


def say_value(key: Key, value: Any, *, why: str) -> str:
    """Say "KEY is VALUE, why." without the values of secrets.

    Args:
        key: Of the setting.
        value: As it was written.
        why: What is wrong with it.
    """
    return f"{dotted(key)}{_shown(key, value)}, {why}."


def _with_place(complaint: Complaint, origins: Origins) -> str:
    place = origins.find(complaint.key)
    return f"{place}: {complaint.text}" if place else complaint.text


def _complaint(problem: ErrorDetails) -> Complaint:
    context = problem.get("ctx", {})
    key: Key = tuple(context.get("key") or problem["loc"])
    is_name = bool(key) and key[-1] == "[key]"
    key = key[:-1] if is_name else key
    what, mend = _name_trouble(key, problem) if is_name else _value_trouble(key, problem)
    return Complaint(key, what, mend)


def _name_trouble(key: Key, problem: ErrorDetails) -> tuple[str, str]:
    expected = problem.get("ctx", {}).get("expected")
    return f"{dotted(key)} has a name that is not allowed.", (
        f"Choose {expected}." if expected else _NAME_MEND
    )


def _value_trouble(key: Key, problem: ErrorDetails) -> tuple[str, str]:
    name = dotted(key)
    if problem["type"] == "missing":
        return f"{name} is missing.", f"Add '{key[-1]}: ...' there."
    if problem["type"] == "extra_forbidden":
        known = known_keys(key[:-1])
        mend = nearest(str(key[-1]), known) or f"Known here: {', '.join(sorted(known))}."
        return f"{name} is not a setting.", mend
    why, mend = _reason(problem)
    if problem["type"] == REFUSED and isinstance(problem["input"], dict | list):
        return f"{name}: {why}.", mend
    return say_value(key, problem["input"], why=why), mend


def _reason(problem: ErrorDetails) -> tuple[str, str]:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == REFUSED:
        return context["what"], context["mend"]
    if kind == "literal_error":
        guess = nearest(str(value), re.findall(r"'([^']*)'", context["expected"]))
        return "which is not among its values", guess or f"Choose {context['expected']}."
    if kind == "string_pattern_mismatch":
        mends = (mend for part, mend in _PATTERN_MENDS.items() if part in context["pattern"])
        return "which is not of its form", next(mends, "Correct it.")
    if kind in _NEEDS:
        is_quotable = kind == "string_type" and not isinstance(value, dict | list | None)
        return (
            f"{_NEEDS[kind]} is needed",
            "Put it in quotes." if is_quotable else f"Give {_NEEDS[kind]}.",
        )
    need = re.sub(r"^(Input|String|Value) should (be |have )?", "", problem["msg"])
    return "which is out of its range", f"Needed: {need}."


def _shown(key: Key, value: Any) -> str:
    if not _SECRET.isdisjoint(key):
        return " has a value that is not shown"
    if isinstance(value, dict | list):
        return f" holds {'a list' if isinstance(value, list) else 'keys'}"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"//[^/@\s]*@", "//...@", text)
    return f" is {text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + '...'}"
