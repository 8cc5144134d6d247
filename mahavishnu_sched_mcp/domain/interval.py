"""Triggers that need no calendar: an anchored interval, and a single date."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self, override

from pydantic import Field, model_validator

from mahavishnu_sched_mcp.domain.series import (
    LATEST,
    FireSeries,
    Gap,
    duration_in_words,
    for_people,
    in_zone,
)
from mahavishnu_sched_mcp.domain.value import Instant, JsonObject
from mahavishnu_sched_mcp.domain.zone import read_zone

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_Duration = Annotated[timedelta, Field(ge=timedelta(0))]


class IntervalTrigger(FireSeries):
    """Fire k is at anchor + k x period (k from 0), whatever happened between.

    Attributes:
        period: Between two fires; above zero.
        anchor: The first fire.
        end_at: No fire is later; a fire at this very instant still happens.
        jitter: Each fire is later by a fixed share in [0, jitter), below the period.
        seed: With k it decides the share, so that a restart finds the same fires.
        timezone: For display only.
    """

    type: Literal["interval"] = "interval"
    period: Annotated[timedelta, Field(gt=timedelta(0))]
    anchor: Instant
    end_at: Instant | None = None
    jitter: _Duration = timedelta(0)
    seed: str = ""
    timezone: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.jitter >= self.period:
            message = "the jitter has to be shorter than the period"
            raise ValueError(message)
        return self

    @property
    @override
    def zone(self) -> str:
        return self.timezone or "UTC"

    @override
    def next_after(self, instant: datetime) -> datetime | None:
        fire = self._fire(self._fired_by(instant))
        return None if fire > self._end else fire

    @override
    def gap(self, after: datetime, until: datetime) -> Gap:
        start = self._fired_by(after)
        count = self._fired_by(min(until, self._end)) - start
        if count <= 0:
            return Gap()
        return Gap(count=count, first=self._fire(start), last=self._fire(start + count - 1))

    @override
    def in_words(self) -> str:
        words = duration_in_words(self.period)
        words = "every " + (
            words[2:] if words.startswith("1 ") and words.count(" ") == 1 else words
        )
        if self.jitter:
            words += f" plus up to {duration_in_words(self.jitter)}"
        if self.end_at is not None:
            words += f" until {for_people(self.end_at, self.zone)}"
        return words

    @override
    def period_hint(self) -> timedelta:
        return self.period

    @override
    def as_json(self) -> JsonObject:
        shape: JsonObject = {
            "type": "interval",
            "seconds": _number(self.period),
            "start_at": in_zone(self.anchor, self.zone),
        }
        if self.end_at is not None:
            shape["end_at"] = in_zone(self.end_at, self.zone)
        if self.jitter:
            shape["jitter_seconds"] = _number(self.jitter)
        if self.timezone is not None:
            shape["timezone"] = self.timezone
        return shape

    @property
    def _end(self) -> datetime:
        return LATEST if self.end_at is None else min(self.end_at, LATEST)

    def _fired_by(self, instant: datetime) -> int:
        """Count the fires at or before an instant, as if there were no end."""
        if instant < self.anchor:
            return 0
        number = (instant - self.anchor) // self.period
        return number + 1 if self._fire(number) <= instant else number

    def _fire(self, number: int) -> datetime:
        steps = max(0, (LATEST + self.period - self.anchor) // self.period)
        return self.anchor + min(number, steps) * self.period + self._share(number)

    def _share(self, number: int) -> timedelta:
        if not self.jitter:
            return timedelta(0)
        digest = hashlib.blake2b(f"{self.seed}:{number}".encode(), digest_size=8).digest()
        width = self.jitter // _MICROSECOND
        return (int.from_bytes(digest) * width >> 64) * _MICROSECOND


class DateTrigger(FireSeries):
    """One fire at one instant.

    Attributes:
        run_at: The instant.
        timezone: For display only.
    """

    type: Literal["date"] = "date"
    run_at: Instant
    timezone: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        read_zone(self.zone)
        return self

    @property
    @override
    def zone(self) -> str:
        return self.timezone or "UTC"

    @override
    def next_after(self, instant: datetime) -> datetime | None:
        return self.run_at if self.run_at > instant else None

    @override
    def gap(self, after: datetime, until: datetime) -> Gap:
        if after < self.run_at <= until:
            return Gap(count=1, first=self.run_at, last=self.run_at)
        return Gap()

    @override
    def in_words(self) -> str:
        return f"once at {for_people(self.run_at, self.zone)}"

    @override
    def period_hint(self) -> timedelta | None:
        return None

    @override
    def as_json(self) -> JsonObject:
        shape: JsonObject = {"type": "date", "run_at": in_zone(self.run_at, self.zone)}
        if self.timezone is not None:
            shape["timezone"] = self.timezone
        return shape


def _number(duration: timedelta) -> float:
    whole, rest = divmod(duration, _SECOND)
    return whole if not rest else duration / _SECOND
