"""Which instants a cron expression names in a zone.

The fields are read by cronsim (Debian's rules); the instants are computed day by day, because
all days without a change of offset are alike: that makes a gap of ten years cheap to count.

Debian's two rules for changes of offset: an expression with a star in minute or hour follows
the clocks as they show the time, so it fires in both passes of an overlap and never in a gap;
a fixed time fires once in an overlap, at the first pass, and right after the gap it falls in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim

from mahavishnu_sched_mcp.domain.local_day import MINUTES_PER_DAY, Jump, Stretch, local_day
from mahavishnu_sched_mcp.domain.series import LATEST, Gap
from mahavishnu_sched_mcp.domain.zone import read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

NAMES: tuple[dict[str, int], ...] = (
    {},
    {},
    {},
    {name: number for number, name in enumerate(_MONTHS, 1)},
    {name: number for number, name in enumerate(WEEKDAYS)},
)
"""The names that each of the five fields takes for its numbers, in lower case."""

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_LAST_DAY = LATEST.date()
_ENDS = 2
_SPILL_DAYS = 2  # a change of offset may swallow or repeat a whole day (Apia 2011), never more


class CronCalendar:
    """The instants of one expression in one zone.

    Attributes:
        minutes: The minutes of a named day, counted from 00:00, rising.
        is_fixed: No star in minute and hour: Debian's rule for fixed times holds.
    """

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        """Read five fields that cronsim accepts."""
        expression = without_short_ranges(expression)
        minute, hour, *_ = expression.split()
        self._fields = CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
        self._zone = zone
        self.minutes = tuple(
            sorted(h * 60 + m for h in self._fields.hours for m in self._fields.minutes)
        )
        self.is_fixed = not (minute.startswith("*") or hour.startswith("*"))

    def matches(self, day: date) -> bool:
        """Tell whether the expression names this local date."""
        return day.month in self._fields.months and self._fields.match_day(day)

    def next_after(self, instant: datetime) -> datetime | None:
        """Give the first instant strictly after another one, or None at the calendar's end."""
        if instant >= LATEST:
            return None
        day = instant.astimezone(self._zone).date()
        # around a change of offset an earlier date may still have instants to come
        start = day if self._is_plain(day) else day - _SPILL_DAYS * _DAY
        for candidate in self._candidate_days(start):
            fire = self._first_of(candidate, instant)
            if fire is not None and not self._is_plain(candidate):
                rival = self._first_of(candidate + _DAY, instant)
                return fire if rival is None else min(fire, rival)
            if fire is not None:
                return fire
        return None

    def gap(self, after: datetime, until: datetime) -> Gap:
        """Count the instants in (after, until]."""
        until = min(until, LATEST)
        first = self.next_after(after)
        if first is None or first > until:
            return Gap()
        start = after.astimezone(self._zone).date()
        end = until.astimezone(self._zone).date()
        count = 0
        for number in range(-_SPILL_DAYS, (end - start).days + _SPILL_DAYS + 1):
            day = start + number * _DAY
            is_whole = start + _DAY < day < end - _DAY and self._is_plain(day)
            if not is_whole:
                count += self._count(day, after, until)
            elif self.matches(day):
                count += len(self.minutes)
        return Gap(count=count, first=first, last=self._last(until))

    def _first_of(self, day: date, instant: datetime) -> datetime | None:
        """Give the first instant of a date that is later than the given one."""
        found = [jump for jump in self._jumps(day) if jump > instant]
        for stretch, low, high in self._runs(day):
            index = max(low, bisect_right(self.minutes, (instant - stretch.midnight) // _MINUTE))
            if index < high:
                found.append(stretch.midnight + self.minutes[index] * _MINUTE)
        return min(found, default=None)

    def _last_of(self, day: date, until: datetime) -> datetime | None:
        """Give the last instant of a date that is not later than the given one."""
        found = [jump for jump in self._jumps(day) if jump <= until]
        for stretch, low, high in self._runs(day):
            index = min(high, bisect_right(self.minutes, (until - stretch.midnight) // _MINUTE))
            if low < index:
                found.append(stretch.midnight + self.minutes[index - 1] * _MINUTE)
        return max(found, default=None)

    def _count(self, day: date, after: datetime, until: datetime) -> int:
        """Count the instants of a date in (after, until]."""
        count = sum(after < jump <= until for jump in self._jumps(day))
        for stretch, low, high in self._runs(day):
            begin = bisect_right(self.minutes, (after - stretch.midnight) // _MINUTE)
            end = bisect_right(self.minutes, (until - stretch.midnight) // _MINUTE)
            count += max(0, min(end, high) - max(begin, low))
        return count

    def _last(self, until: datetime) -> datetime:
        """Give the last instant not after `until`; the caller knows that there is one."""
        day = until.astimezone(self._zone).date() + _SPILL_DAYS * _DAY
        while (fire := self._last_of(day, until)) is None:
            day -= _DAY
        rival = None if self._is_plain(day) else self._last_of(day - _DAY, until)
        return fire if rival is None else max(fire, rival)

    def _runs(self, day: date) -> Iterator[tuple[Stretch, int, int]]:
        """Give the stretches of a named date, each with its slice of `minutes`."""
        if self.matches(day):
            for stretch in local_day(self._zone, day).stretches:
                start = stretch.fresh if self.is_fixed else stretch.start
                yield stretch, *self._slice(start, stretch.end)

    def _jumps(self, day: date) -> list[datetime]:
        """List the ends of gaps at which fixed times of the gap are made up for."""
        jumps = local_day(self._zone, day).jumps
        return [jump.instant for jump in jumps if self.is_fixed and self._is_made_up(jump, day)]

    def _is_made_up(self, jump: Jump, day: date) -> bool:
        if self.matches(day) and jump.end in self.minutes:
            return False  # the fixed time right after the gap fires there anyway
        for before in range(_SPILL_DAYS + 1):
            shift = before * MINUTES_PER_DAY
            low, high = self._slice(max(0, jump.start + shift), jump.end + shift)
            if low < high and self.matches(day - before * _DAY):
                return True
        return False

    def _slice(self, start: int, end: int) -> tuple[int, int]:
        return bisect_left(self.minutes, start), bisect_left(self.minutes, end)

    def _is_plain(self, day: date) -> bool:
        return local_day(self._zone, day).is_plain

    def _candidate_days(self, start: date) -> Iterator[date]:
        """Walk the dates, jumping over months that are not named."""
        day = start
        while day < _LAST_DAY:
            yield day
            # the first days of a month may make up for fires of the last day before
            if day.month not in self._fields.months and day.day > _SPILL_DAYS:
                day = (day.replace(day=1) + 32 * _DAY).replace(day=1)
            else:
                day += _DAY


def without_short_ranges(expression: str) -> str:
    """Write each stepped range of one value, `7-7/2`, as that value.

    Debian steps inside the range, so there is nothing to step to; cronsim would go on from the
    value to the field's end.
    """
    fields = enumerate(expression.split())
    return " ".join(
        ",".join(_without_short_range(position, item) for item in field.split(","))
        for position, field in fields
    )


def _without_short_range(position: int, item: str) -> str:
    span, slash, _ = item.partition("/")
    ends = [str(NAMES[position].get(end, end.lstrip("0") or "0")) for end in span.split("-")]
    return ends[0] if slash and len(ends) == _ENDS and ends[0] == ends[1] else item


@lru_cache(maxsize=20_000)
def calendar_of(expression: str, zone: str) -> CronCalendar:
    """Give the calendar of an expression, read once."""
    return CronCalendar(expression, read_zone(zone))
