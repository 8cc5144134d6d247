"""When a job fires: what an agent asks for, and what that becomes."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from mahavishnu_sched_mcp.domain.cron import CronTrigger, normalise
from mahavishnu_sched_mcp.domain.interval import DateTrigger, IntervalTrigger
from mahavishnu_sched_mcp.domain.recurrence import RecurrenceRequest, RecurrenceTrigger
from mahavishnu_sched_mcp.domain.series import FireSeries, Gap, duration_in_words
from mahavishnu_sched_mcp.domain.value import JsonObject, Value
from mahavishnu_sched_mcp.domain.zone import read_instant, read_zone, shown
from mahavishnu_sched_mcp.errors import InvalidTriggerError, nearest

__all__ = [
    "CronTrigger",
    "DateTrigger",
    "FireSeries",
    "Gap",
    "IntervalTrigger",
    "RecurrenceRequest",
    "RecurrenceTrigger",
    "Trigger",
    "TriggerRequest",
]

Trigger = Annotated[
    IntervalTrigger | CronTrigger | DateTrigger | RecurrenceTrigger, Field(discriminator="type")
]

_UNITS = ("weeks", "days", "hours", "minutes", "seconds")
_FIELDS = {
    "interval": (*_UNITS, "start_at", "end_at", "jitter_seconds", "timezone"),
    "cron": ("expression", "timezone"),
    "date": ("run_at", "in_seconds", "timezone"),
}
_EXAMPLES = {
    "interval": '{"type": "interval", "minutes": 5}',
    "cron": '{"type": "cron", "expression": "0 2 * * 1-5", "timezone": "Europe/Paris"}',
    "date": '{"type": "date", "run_at": "2026-12-01T09:00:00+01:00"}',
}
_KINDS = ("cron", "interval_seconds", "rrule")
_CONFIG_KEYS = (*_KINDS, "timezone", "start_at")
_LONGEST = timedelta(days=100 * 366)
_NEVER = timedelta(days=5 * 366)

_Amount = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]


class TriggerRequest(Value):
    """When to fire, as an agent asks for it."""

    type: Literal["interval", "cron", "date"] = Field(
        description="interval: every so often; cron: at wall times; date: once"
    )
    weeks: _Amount = Field(default=None, description="interval: units add up")
    days: _Amount = None
    hours: _Amount = None
    minutes: _Amount = None
    seconds: _Amount = Field(default=None, description="interval, e.g. 30")
    start_at: str | None = Field(
        default=None, description="interval: first fire, with offset: '2026-12-01T09:00:00+01:00'"
    )
    end_at: str | None = Field(default=None, description="interval: no fire later than this")
    jitter_seconds: _Amount = Field(
        default=None, description="interval: each fire up to this much later"
    )
    expression: str | None = Field(
        default=None, description="cron: five fields '0 2 * * 1-5', or @hourly, @daily, ..."
    )
    timezone: str | None = Field(default=None, description="IANA zone: 'Europe/Paris'")
    run_at: str | None = Field(
        default=None, description="date: with offset: '2026-12-01T09:00:00+01:00'"
    )
    in_seconds: _Amount = Field(default=None, description="date: from now, e.g. 600")

    @classmethod
    def from_schedule_config(cls, config: JsonObject) -> TriggerRequest | RecurrenceRequest:
        """Read a deployment's `schedule_config`: exactly one of cron, interval_seconds, rrule.

        Raises:
            InvalidTriggerError: an unknown key, none or several kinds, or a wrong type.
        """
        kind = _kind_of(config)
        value, zone, start = config[kind], config.get("timezone"), config.get("start_at")
        _check_text("timezone", zone)
        _check_text("start_at", start)
        if start is not None and kind != "interval_seconds":
            message = f"schedule_config takes no start_at beside {kind}, but {shown(str(start))}."
            hint = "Remove it; a rrule may begin with a line 'DTSTART:20261201T090000'."
            raise InvalidTriggerError(message, hint=hint)
        if kind == "interval_seconds":
            seconds = _seconds(value)
            return cls(type="interval", seconds=seconds, start_at=start, timezone=zone)
        _check_text(kind, value)
        if kind == "cron":
            return cls(type="cron", expression=value, timezone=zone)
        return RecurrenceRequest(rrule=value, timezone=zone)

    def as_requested(self) -> JsonObject:
        """Give the fields that were given, so that two requests can be compared."""
        return self.model_dump(mode="json", exclude_none=True)

    def resolve(
        self, *, now: datetime, default_timezone: str, min_interval: timedelta
    ) -> IntervalTrigger | CronTrigger | DateTrigger:
        """Make the trigger with its anchor, or refuse the request.

        Args:
            now: The current instant; an interval without `start_at` fires one period later.
            default_timezone: The zone of a cron without one.
            min_interval: The shortest distance between two fires that is allowed.

        Raises:
            InvalidTriggerError: says what was refused, with the value, and the mend.
        """
        self._check_fields()
        if self.timezone is not None:
            read_zone(self.timezone)
        if self.type == "cron":
            return self._cron(now, self.timezone or default_timezone, min_interval)
        if self.type == "date":
            return self._date(now)
        return self._interval(now, min_interval)

    def _check_fields(self) -> None:
        for field in self.as_requested():
            if field != "type" and field not in _FIELDS[self.type]:
                message = f"Trigger type '{self.type}' takes no {field}."
                owner = next(kind for kind, fields in _FIELDS.items() if field in fields)
                hint = f"Remove it, or use type '{owner}': {_EXAMPLES[owner]}."
                raise InvalidTriggerError(message, hint=hint)

    def _interval(self, now: datetime, min_interval: timedelta) -> IntervalTrigger:
        period = self._period()
        if period < min_interval:
            message = (
                f"An interval of {duration_in_words(period)} is shorter than the"
                f" {duration_in_words(min_interval)} allowed."
            )
            hint = "Use a longer one; the limit is limits.min_interval_seconds."
            raise InvalidTriggerError(message, hint=hint)
        jitter = _duration("jitter_seconds", self.jitter_seconds or 0)
        if jitter >= period:
            message = (
                f"jitter_seconds {self.jitter_seconds:g} is not shorter than the period"
                f" of {duration_in_words(period)}."
            )
            raise InvalidTriggerError(message, hint="Use less jitter or a longer period.")
        anchor = now + period
        if self.start_at is not None:
            anchor = read_instant(self.start_at, field="start_at")
            _check_not_too_far("start_at", self.start_at, anchor, now)
        end_at = None if self.end_at is None else read_instant(self.end_at, field="end_at")
        trigger = IntervalTrigger(
            period=period,
            anchor=anchor,
            end_at=end_at,
            jitter=jitter,
            seed=self._seed(now) if jitter else "",
            timezone=self.timezone,
        )
        if trigger.next_after(now) is None:
            message = (
                f"end_at {shown(self.end_at or '')} leaves no fire: it is before the next one."
            )
            raise InvalidTriggerError(message, hint="Use a later end_at, or leave it out.")
        return trigger

    def _period(self) -> timedelta:
        given = [unit for unit in _UNITS if getattr(self, unit) is not None]
        if not given:
            message = "Trigger type 'interval' needs a period, and none was given."
            hint = f"Add weeks, days, hours, minutes or seconds: {_EXAMPLES['interval']}."
            raise InvalidTriggerError(message, hint=hint)
        period = sum((_duration(unit, getattr(self, unit)) for unit in given), timedelta(0))
        if not period:
            parts = ", ".join(f"{unit} {getattr(self, unit):g}" for unit in given)
            message = f"The interval is zero ({parts})."
            raise InvalidTriggerError(
                message, hint=f"Use at least a second: {_EXAMPLES['interval']}."
            )
        return period

    def _cron(self, now: datetime, zone: str, min_interval: timedelta) -> CronTrigger:
        if self.expression is None:
            message = "Trigger type 'cron' needs an expression, and none was given."
            raise InvalidTriggerError(message, hint=f"Add it: {_EXAMPLES['cron']}.")
        read_zone(zone)
        trigger = CronTrigger(expression=normalise(self.expression), timezone=zone)
        first = trigger.next_after(now)
        if first is None or first > now + _NEVER:
            message = f"Cron {shown(self.expression)} does not fire in the next five years."
            raise InvalidTriggerError(
                message, hint="Loosen its days; preview_schedule shows the fires of a trigger."
            )
        period = trigger.period_hint()
        if period is not None and period < min_interval:
            message = (
                f"Cron {shown(self.expression)} fires every {duration_in_words(period)}, more"
                f" often than the {duration_in_words(min_interval)} allowed."
            )
            hint = "Make it less frequent; the limit is limits.min_interval_seconds."
            raise InvalidTriggerError(message, hint=hint)
        return trigger

    def _date(self, now: datetime) -> DateTrigger:
        if (self.run_at is None) == (self.in_seconds is None):
            found = "none was" if self.run_at is None else "both were"
            message = f"Trigger type 'date' needs run_at or in_seconds, and {found} given."
            raise InvalidTriggerError(message, hint=f"Give exactly one: {_EXAMPLES['date']}.")
        if self.run_at is None:
            run_at, text = (
                now + _duration("in_seconds", self.in_seconds or 0),
                f"{self.in_seconds:g}",
            )
        else:
            run_at, text = read_instant(self.run_at, field="run_at"), self.run_at
        field = "in_seconds" if self.run_at is None else "run_at"
        if run_at <= now:
            message = f"{field} {shown(text)} is not in the future: now is {now.isoformat()}."
            hint = "Use a later time; run_job_now runs an existing job at once."
            raise InvalidTriggerError(message, hint=hint)
        _check_not_too_far(field, text, run_at, now)
        return DateTrigger(run_at=run_at, timezone=self.timezone)

    def _seed(self, now: datetime) -> str:
        text = json.dumps([self.as_requested(), now.isoformat()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _duration(field: str, amount: float) -> timedelta:
    unit = field if field in _UNITS else "seconds"
    try:
        duration = timedelta(**{unit: amount})
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        message = f"{field} {amount:g} is longer than 100 years."
        raise InvalidTriggerError(message, hint="Use a shorter one.")
    return duration


def _check_not_too_far(field: str, text: str, instant: datetime, now: datetime) -> None:
    if instant > now + _LONGEST or now - instant > _LONGEST:
        message = f"{field} {shown(text)} is more than 100 years away."
        raise InvalidTriggerError(message, hint="Check the year.")


def _kind_of(config: JsonObject) -> str:
    for key in config:
        if key not in _CONFIG_KEYS:
            message = f"schedule_config has an unknown key {shown(str(key))}."
            hint = f"{nearest(str(key), _CONFIG_KEYS)} Known are {', '.join(_CONFIG_KEYS)}."
            raise InvalidTriggerError(message, hint=hint.strip())
    kinds = [kind for kind in _KINDS if config.get(kind) is not None]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        message = f"schedule_config needs exactly one of {', '.join(_KINDS)}, and has {found}."
        hint = 'Write it as {"cron": "0 2 * * *", "timezone": "Europe/Paris"}.'
        raise InvalidTriggerError(message, hint=hint)
    return kinds[0]


def _check_text(key: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        message = f"schedule_config.{key} {shown(str(value))} is not text."
        raise InvalidTriggerError(message, hint="Put it in quotes.")


def _seconds(value: Any) -> float:
    limit = _LONGEST.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= limit:
        return value
    message = f"schedule_config.interval_seconds {shown(str(value))} is not a number of seconds."
    raise InvalidTriggerError(message, hint='Write it as a number: {"interval_seconds": 3600}.')
