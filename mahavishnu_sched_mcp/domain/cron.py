"""Cron triggers: the five fields of Vixie/Debian cron in a zone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Literal, Self, override

from cronsim import CronSim, CronSimError
from pydantic import model_validator

from mahavishnu_sched_mcp.domain.cron_calendar import (
    NAMES,
    WEEKDAYS,
    calendar_of,
    without_short_ranges,
)
from mahavishnu_sched_mcp.domain.series import FireSeries, Gap
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.domain.zone import read_zone, shown
from mahavishnu_sched_mcp.errors import InvalidTriggerError, nearest

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_RANGES = ("0-59", "0-23", "1-31", "1-12 or jan-dec", "0-7 or sun-sat, 0 and 7 are Sunday")
_LAST = (59, 23, 31, 12, 7)
_WEEKDAY = 4
_FIELD_COUNT = 5
_LONGEST = 200
_REFERENCE = datetime(2025, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


class CronTrigger(FireSeries):
    """Fires at the times a cron expression names on the clocks of a zone.

    Attributes:
        expression: Five fields, as `normalise` gives them.
        timezone: An IANA name.
    """

    type: Literal["cron"] = "cron"
    expression: str
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _check(self) -> Self:
        normalise(self.expression)
        read_zone(self.timezone)
        return self

    @property
    @override
    def zone(self) -> str:
        return self.timezone

    @override
    def next_after(self, instant: datetime) -> datetime | None:
        return calendar_of(self.expression, self.timezone).next_after(instant)

    @override
    def gap(self, after: datetime, until: datetime) -> Gap:
        return calendar_of(self.expression, self.timezone).gap(after, until)

    @override
    def in_words(self) -> str:
        return f"{_describe(self.expression)}, {self.timezone}"

    @override
    def period_hint(self) -> timedelta | None:
        calendar = calendar_of(self.expression, self.timezone)
        minutes = calendar.minutes
        distances = [b - a for a, b in pairwise(minutes)]
        if self._has_neighbouring_days():
            distances.append(minutes[0] + 24 * 60 - minutes[-1])
        if distances:
            return timedelta(minutes=min(distances))
        pair = self.fires(_REFERENCE, count=2)
        return pair[1] - pair[0] if len(pair) > 1 else None

    @override
    def as_json(self) -> JsonObject:
        return {"type": "cron", "expression": self.expression, "timezone": self.timezone}

    def _has_neighbouring_days(self) -> bool:
        calendar = calendar_of(self.expression, self.timezone)
        days = (date(2024, 1, 1) + n * _DAY for n in range(4 * 366))
        was_named = False
        for day in days:
            is_named = calendar.matches(day)
            if was_named and is_named:
                return True
            was_named = is_named
        return False


def normalise(expression: str) -> str:
    """Give an expression as five fields in lower case, its alias written out.

    Raises:
        InvalidTriggerError: not five fields of Vixie/Debian cron, or no day ever matches.
    """
    given = " ".join(expression.split())
    text = given.lower()
    if given.startswith("@"):
        return _written_out(given)
    fields = given.split()
    if len(given) > _LONGEST:
        message = f"Cron {shown(given)} is longer than {_LONGEST} characters."
        raise InvalidTriggerError(
            message, hint="Use lists, ranges and steps: '0-59/5 8-18 * * 1-5'."
        )
    if len(fields) != _FIELD_COUNT:
        message = f"Cron {shown(given)} has {_fields(len(fields))}, {_FIELD_COUNT} are needed."
        raise InvalidTriggerError(message, hint=_count_hint(fields))
    for position, field in enumerate(fields):
        _check_field(given, position, field)
    try:
        CronSim(without_short_ranges(text), _REFERENCE)
    except CronSimError as error:
        # each field is sound by itself: together they name a day that no month has
        message = f"Cron {shown(given)} never fires: no such day exists in these months."
        hint = "Choose a day the month has; preview_schedule shows the fires."
        raise InvalidTriggerError(message, hint=hint) from error
    return without_short_ranges(text)


def _written_out(given: str) -> str:
    alias = given.lower()
    if alias in ALIASES:
        return ALIASES[alias]
    message = f"Cron alias {shown(given)} is not known."
    if alias.startswith(("@reboot", "@every")):
        hint = "Use type 'interval' for a period, type 'date' with in_seconds for once from now."
    else:
        hint = f"{nearest(alias, ALIASES)} Known are {', '.join(sorted(ALIASES))}.".strip()
    raise InvalidTriggerError(message, hint=hint)


def _fields(count: int) -> str:
    return "no fields" if count == 0 else f"{count} field{'' if count == 1 else 's'}"


def _count_hint(fields: list[str]) -> str:
    if len(fields) == _FIELD_COUNT - 1:
        return f"Add the day of week: {shown(' '.join([*fields, '*']))}."
    if len(fields) == _FIELD_COUNT + 1:
        return (
            f"There is no field for seconds: {shown(' '.join(fields[1:]))} if the first was one;"
            " for periods under a minute use type 'interval'."
        )
    return "Write minute, hour, day of month, month and day of week: '0 2 * * 1-5'."


def _check_field(given: str, position: int, field: str) -> None:
    """Refuse what is not Vixie cron in one field, and values outside its range."""
    name, text = _FIELDS[position], field.lower()
    message = f"Cron {shown(given)}: the {name} {shown(field)} cannot be read."
    extra = _extra(position, text)
    if extra:
        raise InvalidTriggerError(message, hint=extra)
    unknown = sorted(set(re.findall(r"[a-z]+", text)) - NAMES[position].keys())
    if unknown:
        hint = f"{nearest(unknown[0], NAMES[position])} {_range_hint(position)}".strip()
        raise InvalidTriggerError(message, hint=hint)
    if not re.fullmatch(r"[a-z0-9*,/-]+", text):
        raise InvalidTriggerError(message, hint=_range_hint(position))
    probe = ["*"] * _FIELD_COUNT
    probe[position] = text
    try:
        CronSim(" ".join(probe), _REFERENCE)
    except CronSimError as error:
        raise InvalidTriggerError(message, hint=_range_hint(position, text)) from error
    for item in text.split(","):
        first, slash, step = item.partition("/")
        if slash and first != "*" and "-" not in first:
            start = NAMES[position].get(first, first)
            hint = (
                f"A step needs a range or a star: write '{start}-{_LAST[position]}/{step}'"
                f" or '*/{step}'."
            )
            raise InvalidTriggerError(message, hint=hint)


def _extra(position: int, text: str) -> str:
    """Say which sign of another cron dialect stands in a field, or nothing."""
    if "?" in text:
        return f"'?' is not part of cron: write '*' for any {_FIELDS[position]}."
    words = set(re.findall(r"[a-z]+", text)) - NAMES[position].keys()
    lasts = {f"{name}l" for name in WEEKDAYS} if position == _WEEKDAY else set()
    found = [
        sign
        for sign, is_there in (
            ("#", "#" in text),
            ("L", bool(words & {"l", "lw"} or words & lasts)),
            ("W", bool(words & {"w", "lw"})),
        )
        if is_there
    ]
    if not found:
        return ""
    signs = " and ".join(f"'{sign}'" for sign in found)
    return (
        f"{signs} {'is' if len(found) == 1 else 'are'} not part of cron: name days by number, as"
        " in '0 9 28 * *' or '0 9 1-7 * *'; preview_schedule shows the fires."
    )


def _range_hint(position: int, field: str = "") -> str:
    hint = f"Use {_RANGES[position]}, lists 'a,b', upward ranges 'a-b', steps '*/n'."
    if position == _FIELD_COUNT - 1 and re.search(r"-(0|sun)\b", field):
        hint += " For a range that ends on Sunday write 7, as in '5-7'."
    return hint


def _describe(expression: str) -> str:
    """Say an expression in English, with a 24-hour clock."""
    # imported on first use: it reads locale files, and most processes never describe a cron
    from cron_descriptor import ExpressionDescriptor, Options  # noqa: PLC0415

    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    minute, hour, day, month, weekday = expression.split()
    told = " ".join((minute, hour, day, month, _each_once(weekday)))
    descriptor = ExpressionDescriptor(told, options)
    text: str = descriptor.get_description()
    days: str = descriptor.get_day_of_week_description()
    if not day.startswith("*") and re.match(r", [A-Z]", days):
        text = text.replace(days, f", or{days[1:]}")  # a range of days is an alternative too
    if day.startswith("*") or weekday.startswith("*"):
        text = text.replace(", or on ", ", and only on ")  # Debian: a star makes both necessary
    if minute == "0":
        text = re.sub(r"^At 0 minutes past the hour", "Every hour", text)
        text = re.sub(r"( and \d\d):59\b", r"\1:00", text)
    if (day, month, weekday) == ("*", "*", "*") and text.startswith("At "):
        text += ", every day"
    return text[0].lower() + text[1:]


def _each_once(weekday: str) -> str:
    """Name each day of a list once: 0, 7 and sun are one day, and 0-7 ends on Saturday."""
    numbers = {**NAMES[_WEEKDAY], "7": 0}
    items = (item.replace("sun-7", "0-6").replace("0-7", "0-6") for item in weekday.split(","))
    return ",".join(dict.fromkeys(str(numbers.get(item, item)) for item in items))
