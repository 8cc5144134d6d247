"""How the clocks of a zone run through one local day."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

MINUTES_PER_DAY = 24 * 60

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_PROBE = timedelta(hours=2)
# offsets lie between -12 and +14 hours, and a change may move the clocks by a whole day
_BEFORE = timedelta(hours=40)
_AFTER = timedelta(hours=64)


class Stretch(NamedTuple):
    """A stretch of a local day under one offset.

    Attributes:
        midnight: The instant that would be 00:00 under this offset.
        start: The first minute of the day that the clocks show in this stretch.
        fresh: The first minute that they had not shown before (later in a second pass).
        end: The minute after the last one.
    """

    midnight: datetime
    start: int
    fresh: int
    end: int


class Jump(NamedTuple):
    """A gap that ends on this day.

    Attributes:
        instant: When the clocks jump.
        start: The first minute they leave out, counted from this day's 00:00 (may be below 0).
        end: The minute they jump to.
    """

    instant: datetime
    start: int
    end: int


class LocalDay(NamedTuple):
    """What the clocks show on one date: usually one stretch and no jump."""

    stretches: tuple[Stretch, ...]
    jumps: tuple[Jump, ...] = ()
    is_plain: bool = True


@lru_cache(maxsize=8192)
def local_day(zone: ZoneInfo, day: date) -> LocalDay:
    """Give the stretches of a date in the order of time."""
    offset = _offset_at_midnight(zone, day)
    if (
        offset is None
        or offset != _offset_at_midnight(zone, day + _DAY)
        or offset != _offset_at_midnight(zone, day - _DAY)
    ):
        return _uneven_day(zone, day)
    midnight = datetime.combine(day, time(), UTC) - offset
    return LocalDay((Stretch(midnight, 0, 0, MINUTES_PER_DAY),))


def _uneven_day(zone: ZoneInfo, day: date) -> LocalDay:
    """Give a date near a change of offset."""
    nominal = datetime.combine(day, time(), UTC)
    edges = _changes(zone, nominal - _BEFORE, nominal + _AFTER)
    stretches: list[Stretch] = []
    jumps: list[Jump] = []
    shown_until = 0
    for number, (begin, offset) in enumerate(edges):
        midnight = nominal - offset
        finish = edges[number + 1][0] if number + 1 < len(edges) else nominal + _AFTER
        start = max(0, _minutes(begin - midnight))
        end = min(MINUTES_PER_DAY, _minutes(finish - midnight))
        if start < end:
            stretches.append(Stretch(midnight, start, max(start, shown_until), end))
        if number:
            old_midnight = nominal - edges[number - 1][1]
            left, reached = _minutes(begin - old_midnight), _minutes(begin - midnight)
            if left < reached and 0 <= reached < MINUTES_PER_DAY:
                jumps.append(Jump(begin, left, reached))
        shown_until = max(shown_until, _minutes(finish - midnight))
    return LocalDay(tuple(stretches), tuple(jumps), is_plain=False)


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> list[tuple[datetime, timedelta]]:
    """List the offsets between two instants, each with the instant it begins at."""
    offset = _offset(zone, start)
    found = [(start, offset)]
    probe = start
    while probe < end:
        reached = probe + _PROBE
        new = _offset(zone, reached)
        if new != offset:
            found.append((_change_between(zone, probe, reached), new))
            offset = new
        probe = reached
    return found


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    old = _offset(zone, before)
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if _offset(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _minutes(duration: timedelta) -> int:
    """Count minutes, the begun one included (old offsets have seconds)."""
    return -(-duration // _MINUTE)


@lru_cache(maxsize=8192)
def _offset_at_midnight(zone: ZoneInfo, day: date) -> timedelta | None:
    """Give the offset at the start of a date, or None where it is not certain."""
    midnight = datetime.combine(day, time(), zone)
    offset = midnight.utcoffset()
    return offset if offset == midnight.replace(fold=1).utcoffset() else None
