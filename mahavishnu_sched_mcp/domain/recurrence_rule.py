"""The text of an RFC 5545 rule: its parts, and which of them are refused."""

from __future__ import annotations

import re
from datetime import datetime

from mahavishnu_sched_mcp.domain.zone import shown
from mahavishnu_sched_mcp.errors import InvalidTriggerError, nearest

RULE_EXAMPLE = "Write it as 'FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=9;BYMINUTE=0'."

_LARGEST_COUNT = 10_000
_NUMBERS = {
    "INTERVAL": (1, 10_000),
    "COUNT": (1, _LARGEST_COUNT),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYSETPOS": (-366, 366),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 59),
}
_WEEKDAY = r"(?:MO|TU|WE|TH|FR|SA|SU)"
_PATTERNS = {
    "FREQ": "MINUTELY|HOURLY|DAILY|WEEKLY|MONTHLY|YEARLY",
    "UNTIL": r"\d{8}(?:T\d{6}Z?)?",
    "WKST": _WEEKDAY,
    "BYDAY": rf"[+-]?\d{{0,2}}{_WEEKDAY}(?:,[+-]?\d{{0,2}}{_WEEKDAY})*",
}


def read_parts(rule: str) -> dict[str, str]:
    """Give a rule's parts by name, in the order written.

    Raises:
        InvalidTriggerError: a part is unknown, given twice, out of range, or FREQ is missing.
    """
    parts: dict[str, str] = {}
    for part in rule.split(";"):
        key, _, value = part.partition("=")
        if key in parts:
            message = f"The rrule {shown(rule)} has {key} twice."
            raise InvalidTriggerError(message, hint=RULE_EXAMPLE)
        _check_part(rule, key, value)
        parts[key] = value
    if "FREQ" not in parts:
        message = f"The rrule {shown(rule)} has no FREQ."
        raise InvalidTriggerError(message, hint=RULE_EXAMPLE)
    if "COUNT" in parts and "UNTIL" in parts:
        message = f"The rrule {shown(rule)} has both COUNT and UNTIL."
        raise InvalidTriggerError(message, hint="Give one of them.")
    if parts["FREQ"] not in {"MONTHLY", "YEARLY"} and re.search(r"\d", parts.get("BYDAY", "")):
        message = f"The rrule {shown(rule)} numbers its days: {shown(parts['BYDAY'])}."
        raise InvalidTriggerError(message, hint="Use FREQ=MONTHLY, or leave the numbers out.")
    return parts


def split_rule(text: str) -> tuple[datetime | None, str]:
    """Part a rule's DTSTART (a wall time of the zone) from the rule itself.

    Raises:
        InvalidTriggerError: more than one rule, or a rule that counts from no start.
    """
    lines = text.strip().upper().split()
    start = None
    if len(lines) > 1 and (found := re.fullmatch(r"DTSTART:(\d{8}T\d{6})", lines[0])):
        start = read_wall_time(found[1])
        lines = lines[1:]
    if len(lines) != 1:
        message = f"The rrule {shown(text)} is not one rule with an optional DTSTART line."
        hint = f"{RULE_EXAMPLE} DTSTART is a wall time: 'DTSTART:20261201T090000'."
        raise InvalidTriggerError(message, hint=hint)
    rule = lines[0].removeprefix("RRULE:").strip(";")
    if start is None and re.search(r"\bCOUNT=", rule):
        message = f"The rrule {shown(rule)} counts its fires, but has no start to count from."
        hint = "Put a line 'DTSTART:20261201T090000' before it, or use UNTIL."
        raise InvalidTriggerError(message, hint=hint)
    return start, rule


def read_wall_time(text: str) -> datetime:
    """Read a wall time as iCalendar writes it, `20261201T090000`.

    Raises:
        InvalidTriggerError: it is none.
    """
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S")  # noqa: DTZ007 - a wall time has no zone
    except ValueError as error:
        message = f"{shown(text)} in the rrule is not a time."
        raise InvalidTriggerError(message, hint="Write it as '20261201T090000'.") from error


def _check_part(rule: str, key: str, value: str) -> None:
    message = f"The rrule {shown(rule)}: {shown(f'{key}={value}')} cannot be read."
    if key == "FREQ" and value == "SECONDLY":
        hint = "Use schedule_internal_task with type 'interval' for periods under a minute."
        raise InvalidTriggerError(message, hint=hint)
    if key in _PATTERNS and re.fullmatch(_PATTERNS[key], value):
        if key == "UNTIL":
            read_wall_time((value if "T" in value else f"{value}T000000").removesuffix("Z"))
        return
    if key in _NUMBERS and re.fullmatch(r"[+-]?\d{1,5}(?:,[+-]?\d{1,5})*", value):
        low, high = _NUMBERS[key]
        numbers = [int(number) for number in value.split(",")]
        is_single = len(numbers) == 1 or key not in {"INTERVAL", "COUNT"}
        is_zero_fine = low == 0 or 0 not in numbers
        if is_single and is_zero_fine and all(low <= number <= high for number in numbers):
            return
        hint = f"{key} goes from {low} to {high}."
        raise InvalidTriggerError(message, hint=hint)
    known = {*_PATTERNS, *_NUMBERS}
    hint = RULE_EXAMPLE if key in known else f"{nearest(key, known)} {RULE_EXAMPLE}".strip()
    raise InvalidTriggerError(message, hint=hint)
