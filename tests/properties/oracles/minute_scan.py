"""Cron by brute force: every minute of UTC is looked at, and Debian's rules decide.

Written from the rules alone. Nothing of the product and nothing of cronsim is used here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTES_PER_DAY = 1440
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: tuple[dict[str, int], ...] = (
    {},
    {},
    {},
    {name: number for number, name in enumerate(_MONTHS, 1)},
    {name: number for number, name in enumerate(_WEEKDAYS)},
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Fields:
    """What an expression names.

    Attributes:
        times: Minutes of a day, from 00:00.
        is_fixed: Neither minute nor hour begins with a star.
        is_either_day: Both day fields are restricted, so one of them is enough.
    """

    times: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_fixed: bool
    is_either_day: bool

    def names(self, day: date) -> bool:
        """Tell whether a date is named."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.is_either_day else by_day and by_weekday


def read_fields(expression: str) -> Fields:
    """Read five fields of Vixie cron; ValueError where they are none."""
    texts = expression.lower().split()
    if len(texts) != len(_LIMITS):
        message = "not five fields"
        raise ValueError(message)
    minutes, hours, days, months, weekdays = (
        frozenset().union(*(_read_item(number, item) for item in text.split(",")))
        for number, text in enumerate(texts)
    )
    return Fields(
        times=frozenset(hour * 60 + minute for hour in hours for minute in minutes),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        is_fixed=not (texts[0].startswith("*") or texts[1].startswith("*")),
        is_either_day=not (texts[2].startswith("*") or texts[4].startswith("*")),
    )


def _read_item(number: int, item: str) -> frozenset[int]:
    """Read a value, a range or a star, with a step behind the latter two."""
    low, high = _LIMITS[number]
    span, has_step, step = item.partition("/")
    first, is_range, last = span.partition("-")
    begin, end = low, high
    if span != "*":
        begin = _read_value(number, first)
        end = _read_value(number, last) if is_range else begin
        if has_step and not is_range:
            message = "a step needs a range"
            raise ValueError(message)
    pace = _read_number(step) if has_step else 1
    if not (low <= begin <= end <= high) or pace < 1:
        message = "out of range"
        raise ValueError(message)
    return frozenset(range(begin, end + 1, pace))


def _read_value(number: int, text: str) -> int:
    return _NAMES[number][text] if text in _NAMES[number] else _read_number(text)


def _read_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        message = "not a number"
        raise ValueError(message)
    return int(text)


@dataclass
class Walk:
    """What the clocks of a zone showed, minute by minute of UTC.

    Attributes:
        shown: For each local day (counted from 1970) its minutes: (minute of UTC, minute of
            the day, whether the clocks show it for the first time).
        left_out: For each jump forward its minute of UTC, and the local minutes left out.
    """

    shown: dict[int, list[tuple[int, int, bool]]] = field(default_factory=lambda: defaultdict(list))
    left_out: list[tuple[int, list[tuple[int, int]]]] = field(default_factory=list)


@lru_cache(maxsize=64)
def walk(zone: str, start: datetime, end: datetime) -> Walk:
    """Look at the clocks of a zone at every minute of [start, end)."""
    found, clocks = Walk(), ZoneInfo(zone)
    first, last = (start - _EPOCH) // _MINUTE, (end - _EPOCH) // _MINUTE
    latest = None
    for minute in range(first, last):
        offset = datetime.fromtimestamp(minute * 60, clocks).utcoffset() or timedelta(0)
        local = minute + offset // _MINUTE
        day, time = divmod(local, MINUTES_PER_DAY)
        found.shown[day].append((minute, time, latest is None or local > latest))
        if latest is not None and local > latest + 1:
            skipped = [divmod(each, MINUTES_PER_DAY) for each in range(latest + 1, local)]
            found.left_out.append((minute, skipped))
        latest = local if latest is None else max(latest, local)
    return found


def scan(
    expression: str, zone: str, *, window: tuple[datetime, datetime], after: datetime, count: int
) -> list[datetime]:
    """List the first fires after an instant, up to the window's end.

    A time with a star follows the clocks. A fixed time fires when the clocks show it first,
    and once right after a jump that left it out.

    Args:
        window: What is looked at; has to begin days before `after`.
        after: A fire at this very instant is not in the list.
        count: At most this many.
    """
    fields, seen = read_fields(expression), walk(zone, *window)
    begin = (after - _EPOCH) // _MINUTE
    named = {day: fields.names(_date(day)) for day in _around(seen)}
    found = {
        minute
        for minute, skipped in seen.left_out
        if fields.is_fixed
        and minute > begin
        and any(time in fields.times and named[day] for day, time in skipped)
    }
    for day, minutes in seen.shown.items():
        if len(found) >= count and sorted(found)[count - 1] < minutes[0][0] - MINUTES_PER_DAY:
            break
        if named[day]:
            found |= {
                minute
                for minute, time, is_first in minutes
                if time in fields.times and (is_first or not fields.is_fixed) and minute > begin
            }
    return [_EPOCH + minute * _MINUTE for minute in sorted(found)[:count]]


def _around(seen: Walk) -> set[int]:
    return {*seen.shown, *(day for _, skipped in seen.left_out for day, _ in skipped)}


@lru_cache(maxsize=100_000)
def _date(day: int) -> date:
    return date.fromordinal(day + _EPOCH_DAY)
