"""Cron against two oracles, around every kind of change of offset.

Fixed times are compared with an uninterrupted iteration of cronsim (Debian's rules). Where
minute or hour has a star, Debian follows the clocks: the oracle looks at them minute by minute.
(cronsim itself strays there in zones that move by half an hour or at midnight.)
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mahavishnu_sched_mcp.domain.trigger import CronTrigger, Gap

ZONES = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Pacific/Apia",
]
WHOLE_HOUR_ZONES = ["America/New_York", "Europe/London", "Antarctica/Troll"]
AROUND = timedelta(hours=40)

untimed = settings(deadline=None, max_examples=60)
"""A busy machine is no counterexample."""

offsets = st.integers(-int(AROUND.total_seconds()), int(AROUND.total_seconds()))


@lru_cache
def changes(zone: str) -> list[datetime]:
    """Find the instants from 2009 to 2013 at which a zone changes its offset."""
    found = []
    instant = datetime(2009, 1, 1, tzinfo=UTC)
    offset = instant.astimezone(ZoneInfo(zone)).utcoffset()
    while instant.year < 2013:
        instant += timedelta(minutes=30)
        if (new := instant.astimezone(ZoneInfo(zone)).utcoffset()) != offset:
            found.append(instant)
            offset = new
    return found


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    """Draw a field without a star: a value, a list, a range or a stepped range."""
    first, second = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    return draw(
        st.sampled_from(
            [str(first), f"{first},{second}", f"{first}-{second}", f"{first}-{second}/7"]
        )
    )


starred = st.sampled_from(["*", "*/7", "*/30"])
days = st.sampled_from(["* *", "* 0", "* 6", "*/2 1-5", "30 6", "31 5,6", "1-7 0"])


@st.composite
def situations(draw: st.DrawFn, *, is_fixed: bool) -> tuple[CronTrigger, datetime, datetime]:
    """Draw a cron and two instants around a change of offset of its zone."""
    zone = draw(st.sampled_from(ZONES))
    minute = draw(fields(0, 59) if is_fixed else starred)
    hour = draw(fields(0, 23) if is_fixed else st.one_of(starred, fields(0, 23)))
    day, weekday = draw(days).split()
    change = draw(st.sampled_from(changes(zone)))
    start, end = sorted(change + timedelta(seconds=draw(offsets)) for _ in range(2))
    expression = f"{minute} {hour} {day} * {weekday}"
    assume(not re.search(r"\b(\w+)-\1/", expression))  # cronsim steps out of such a range
    return CronTrigger(expression=expression, timezone=zone), start, end


def by_cronsim(trigger: CronTrigger, start: datetime, end: datetime) -> list[datetime]:
    """List the fires in (start, end] as cronsim gives them, begun days before the change."""
    begin = (start - timedelta(days=5)).astimezone(ZoneInfo(trigger.timezone))
    found: list[datetime] = []
    for local in CronSim(trigger.expression, begin):
        fire = local.astimezone(UTC)
        if fire > end:
            return found
        if fire > start:
            found.append(fire)
    return found


def by_the_clocks(trigger: CronTrigger, start: datetime, end: datetime) -> list[datetime]:
    """List the minutes in (start, end] at which the zone's clocks show a matching time."""
    zone, wanted = ZoneInfo(trigger.timezone), CronSim(trigger.expression, start)
    minute = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    found = []
    while minute <= end:
        local = minute.astimezone(zone)
        if (
            local.minute in wanted.minutes
            and local.hour in wanted.hours
            and local.month in wanted.months
            and wanted.match_day(local.date())
        ):
            found.append(minute)
        minute += timedelta(minutes=1)
    return found


def offset_of(local: datetime) -> timedelta:
    """Give the offset of a local time."""
    offset = local.utcoffset()
    assert offset is not None
    return offset


def check(trigger: CronTrigger, start: datetime, end: datetime, expected: list[datetime]) -> None:
    """Compare list and gap with the oracle's fires."""
    gap = Gap(count=len(expected), first=expected[0], last=expected[-1]) if expected else Gap()

    assert trigger.fires(start, count=100_000, until=end) == expected
    assert trigger.gap(start, end) == gap


@untimed
@given(situations(is_fixed=True))
def test_fixed_times_fire_as_debian_does(
    situation: tuple[CronTrigger, datetime, datetime],
) -> None:
    """A fixed time fires once in an overlap, at the first, and right after the gap it is in."""
    trigger, start, end = situation

    check(trigger, start, end, by_cronsim(trigger, start, end))


@untimed
@given(situations(is_fixed=False))
def test_a_star_follows_the_clocks(situation: tuple[CronTrigger, datetime, datetime]) -> None:
    """With a star in minute or hour a cron fires whenever the clocks show the time."""
    trigger, start, end = situation

    check(trigger, start, end, by_the_clocks(trigger, start, end))


@pytest.mark.parametrize("zone", WHOLE_HOUR_ZONES)
@pytest.mark.parametrize(
    "expression", ["*/30 * * * *", "0 * * * *", "* 1 * * *", "*/7 0,1,2 * * 0"]
)
def test_a_star_agrees_with_cronsim_where_hours_are_whole(zone: str, expression: str) -> None:
    """An uninterrupted iteration of cronsim names the same instants."""
    trigger = CronTrigger(expression=expression, timezone=zone)

    for change in changes(zone):
        start, end = change - AROUND, change + AROUND
        check(trigger, start, end, by_cronsim(trigger, start, end))


@untimed
@given(situations(is_fixed=True))
def test_a_fire_shows_a_named_time_or_the_end_of_a_gap(
    situation: tuple[CronTrigger, datetime, datetime],
) -> None:
    """At a fire the clocks show what the expression names, or have just jumped over it."""
    trigger, start, end = situation
    zone, wanted = ZoneInfo(trigger.timezone), CronSim(trigger.expression, start)

    for fire in trigger.fires(start, count=500, until=end):
        local = fire.astimezone(zone)
        before = (fire - timedelta(seconds=1)).astimezone(zone)
        is_named = local.minute in wanted.minutes and local.hour in wanted.hours
        is_after_gap = offset_of(local) > offset_of(before)
        assert local.second == 0
        assert is_named or is_after_gap
