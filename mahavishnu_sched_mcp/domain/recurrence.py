"""Recurrence triggers: an RFC 5545 rule in a zone, for deployments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal, Self, override

from dateutil.rrule import rrulestr
from pydantic import Field, model_validator

from mahavishnu_sched_mcp.domain.recurrence_rule import (
    RULE_EXAMPLE,
    read_parts,
    read_wall_time,
    split_rule,
)
from mahavishnu_sched_mcp.domain.series import LATEST, FireSeries, Gap
from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value
from mahavishnu_sched_mcp.domain.zone import read_zone, settle, shown
from mahavishnu_sched_mcp.errors import InvalidTriggerError

_DAY = timedelta(days=1)
_MONTHS_PER_YEAR = 12
_CYCLE_YEARS = 400  # the Gregorian calendar with its weekdays repeats after this
_LAST_YEAR = 9990
_HORIZON = timedelta(days=5 * 366)

_STEPS = {
    "MINUTELY": timedelta(minutes=1),
    "HOURLY": timedelta(hours=1),
    "DAILY": _DAY,
    "WEEKLY": 7 * _DAY,
}
_MONTHS = {"MONTHLY": 1, "YEARLY": _MONTHS_PER_YEAR}
_WORDS = {
    "MINUTELY": "minute",
    "HOURLY": "hour",
    "DAILY": "day",
    "WEEKLY": "week",
    "MONTHLY": "month",
    "YEARLY": "year",
}


class RecurrenceTrigger(FireSeries):
    """Fires at the wall times an RFC 5545 rule names.

    A wall time in an overlap fires once, at its first pass; one in a gap right after the gap.

    Attributes:
        rule: The rule's parts, without `RRULE:` and `DTSTART`.
        timezone: An IANA name.
        anchor: The rule's DTSTART.
    """

    type: Literal["rrule"] = "rrule"
    rule: str
    timezone: str = "UTC"
    anchor: Instant

    @model_validator(mode="after")
    def _check(self) -> Self:
        read_zone(self.timezone)
        read_parts(self.rule)
        return self

    @property
    @override
    def zone(self) -> str:
        return self.timezone

    @property
    def rule_with_start(self) -> str:
        """The rule as iCalendar writes it, with its start as a wall time of the zone."""
        return f"DTSTART:{self._wall(self.anchor):%Y%m%dT%H%M%S}\nRRULE:{self.rule}"

    @override
    def next_after(self, instant: datetime) -> datetime | None:
        return next(self._after(instant), None)

    @override
    def gap(self, after: datetime, until: datetime) -> Gap:
        first = last = None
        count = 0
        for fire in self._after(after):
            if fire > until:
                break
            first, last, count = first or fire, fire, count + 1
        return Gap(count=count, first=first, last=last)

    @override
    def in_words(self) -> str:
        parts = read_parts(self.rule)
        interval, unit = parts.pop("INTERVAL", "1"), _WORDS[parts.pop("FREQ")]
        words = f"every {unit}" if interval == "1" else f"every {interval} {unit}s"
        if parts:
            words += " by " + ";".join(f"{key}={value}" for key, value in parts.items())
        return f"{words}, {self.timezone}"

    @override
    def period_hint(self) -> timedelta | None:
        fires = self.fires(self.anchor - timedelta(seconds=1), count=32)
        return min((b - a for a, b in pairwise(fires)), default=None)

    @override
    def as_json(self) -> JsonObject:
        return {"type": "rrule", "rrule": self.rule, "timezone": self.timezone}

    def _after(self, instant: datetime) -> Iterator[datetime]:
        """Give the fires strictly after an instant, rising."""
        if instant >= LATEST:
            return
        zone, latest = read_zone(self.timezone), instant
        # two days of margin: a change of offset moves a wall time by a day at most
        for wall in self._walls(self._wall(max(instant, self.anchor)) - 2 * _DAY):
            fire = settle(wall, zone)
            if fire > latest and fire <= LATEST:
                yield fire
                latest = fire

    def _walls(self, near: datetime) -> Iterator[datetime]:
        """Give the rule's wall times from a little before `near` on.

        dateutil looks for a rule's next time up to the year 9999. The search is therefore made
        in the last cycle of 400 years, where an empty one ends soon, and moved back.
        """
        parts = read_parts(self.rule)
        end = self._end(parts.pop("UNTIL", None))
        start = self._wall(self.anchor)
        if "COUNT" not in parts:
            start = _forwarded(start, near, parts)
        cycles = (_LAST_YEAR - start.year - 40) // _CYCLE_YEARS * _CYCLE_YEARS
        text = ";".join(f"{key}={value}" for key, value in parts.items())
        try:
            rule = rrulestr(text, dtstart=start.replace(year=start.year + cycles))
        except ValueError as error:
            message = f"The rrule {shown(self.rule)} cannot be read: {str(error).rstrip('.')}."
            raise InvalidTriggerError(message, hint=RULE_EXAMPLE) from error
        for wall in rule:
            moved = wall.replace(year=wall.year - cycles)
            if end is not None and moved > end:
                return
            yield moved

    def _end(self, until: str | None) -> datetime | None:
        """Read UNTIL as a wall time: UTC where it ends in Z, a whole day where it has no time."""
        if until is None:
            return None
        if until.endswith("Z"):
            return self._wall(datetime.strptime(until, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
        return read_wall_time(until if "T" in until else f"{until}T235959")

    def _wall(self, instant: datetime) -> datetime:
        return instant.astimezone(read_zone(self.timezone)).replace(tzinfo=None, fold=0)


class RecurrenceRequest(Value):
    """A recurrence as an agent asks for it in a deployment's schedule.

    Attributes:
        rrule: An RFC 5545 rule, with or without `RRULE:` and a `DTSTART` line before it.
    """

    type: Literal["rrule"] = "rrule"
    rrule: str = Field(description="RFC 5545 rule: 'FREQ=WEEKLY;BYDAY=MO;BYHOUR=9'")
    timezone: str | None = Field(default=None, description="IANA zone: 'Europe/Paris'")

    def as_requested(self) -> JsonObject:
        """Give the fields that were given."""
        return self.model_dump(exclude_none=True)

    def resolve(
        self, *, now: datetime, default_timezone: str, min_interval: timedelta
    ) -> RecurrenceTrigger:
        """Make the trigger, or refuse the rule.

        Without DTSTART the rule starts at 00:00 of the current day in its zone.

        Args:
            now: The current instant.
            default_timezone: For a request without one.
            min_interval: The shortest distance of two fires that is allowed.

        Raises:
            InvalidTriggerError: unreadable, never firing, over, or too frequent.
        """
        zone_name = self.timezone or default_timezone
        zone = read_zone(zone_name)
        start, rule = split_rule(self.rrule)
        read_parts(rule)
        if start is None:
            wall = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
            wall = wall.replace(tzinfo=None)
        else:
            wall = start
        trigger = RecurrenceTrigger(rule=rule, timezone=zone_name, anchor=settle(wall, zone))
        first = trigger.next_after(now)
        if first is None or first > now + _HORIZON:
            message = f"The rrule {shown(rule)} does not fire in the next five years."
            hint = (
                "Loosen its BY parts or its UNTIL; preview_schedule shows the fires of a trigger."
            )
            raise InvalidTriggerError(message, hint=hint)
        period = trigger.period_hint()
        if period is not None and period < min_interval:
            seconds = min_interval.total_seconds()
            message = f"The rrule {shown(rule)} fires more often than every {seconds:g} s."
            hint = "Make it less frequent; the limit is limits.min_interval_seconds."
            raise InvalidTriggerError(message, hint=hint)
        return trigger


def _forwarded(start: datetime, near: datetime, parts: dict[str, str]) -> datetime:
    """Move a rule's start near an instant without changing its later times.

    Periods are moved whole, so that INTERVAL keeps its phase.
    """
    interval, frequency = int(parts.get("INTERVAL", "1")), parts["FREQ"]
    if frequency in _STEPS:
        step = interval * _STEPS[frequency]
        return start + max(0, (near - start) // step - 1) * step
    months = interval * _MONTHS[frequency]
    apart = (near.year - start.year) * _MONTHS_PER_YEAR + near.month - start.month
    for steps in range(apart // months - 1, 0, -1):
        moved = start.year * _MONTHS_PER_YEAR + start.month - 1 + steps * months
        year, month = divmod(moved, _MONTHS_PER_YEAR)
        try:
            return start.replace(year=year, month=month + 1)
        except ValueError:
            continue  # a 31st or 29 February that this month lacks: try an earlier one
    return start
