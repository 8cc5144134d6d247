"""Intervals and dates: when they fire, how they are counted, said and stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from mahavishnu_sched_mcp.domain.trigger import (
    CronTrigger,
    DateTrigger,
    Gap,
    IntervalTrigger,
    RecurrenceTrigger,
    Trigger,
    TriggerRequest,
)

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ANY_TRIGGER: TypeAdapter[Trigger] = TypeAdapter(Trigger)


def an_interval(
    period: timedelta = 30 * SECOND,
    *,
    end_at: datetime | None = None,
    jitter: timedelta = timedelta(0),
    timezone: str | None = None,
) -> IntervalTrigger:
    """Make an interval anchored at NOW."""
    return IntervalTrigger(
        period=period, anchor=NOW, end_at=end_at, jitter=jitter, seed="s", timezone=timezone
    )


def test_an_interval_fires_first_at_its_anchor() -> None:
    """With `start_at` the first fire is `start_at`."""
    trigger = an_interval()

    assert trigger.next_after(NOW - timedelta(days=9)) == NOW


def test_an_interval_keeps_its_cadence_whatever_happened_between() -> None:
    """Fire k is at start + k x period."""
    trigger = an_interval()

    assert trigger.next_after(NOW) == NOW + 30 * SECOND
    assert trigger.next_after(NOW + timedelta(hours=5, seconds=7)) == NOW + timedelta(
        hours=5, seconds=30
    )


def test_an_interval_fires_at_its_end_and_not_after() -> None:
    """No fire is later than `end_at`; one at that very instant happens."""
    trigger = an_interval(end_at=NOW + 60 * SECOND)

    assert trigger.fires(NOW - SECOND, count=9) == [NOW, NOW + 30 * SECOND, NOW + 60 * SECOND]


def test_jitter_makes_each_fire_later_by_its_own_share() -> None:
    """Each fire is up to `jitter_seconds` later, by an amount that a restart finds again."""
    trigger = an_interval(jitter=20 * SECOND)

    fires = trigger.fires(NOW - SECOND, count=50)
    shares = [fire - NOW - number * 30 * SECOND for number, fire in enumerate(fires)]

    assert all(timedelta(0) <= share < 20 * SECOND for share in shares)
    assert len(set(shares)) > 40
    assert an_interval(jitter=20 * SECOND).fires(NOW - SECOND, count=50) == fires


def test_a_jitter_as_long_as_the_period_is_no_interval() -> None:
    """Fires never change their order, so jitter stays below the period."""
    with pytest.raises(ValidationError, match="shorter than the period"):
        an_interval(jitter=30 * SECOND)


def test_an_interval_ends_before_the_calendar_does() -> None:
    """Far instants end the series instead of overflowing."""
    century = an_interval(timedelta(days=36_600))

    assert century.next_after(datetime(8999, 12, 31, tzinfo=UTC)) is None
    assert century.next_after(datetime.max.replace(tzinfo=UTC)) is None


def test_the_period_of_an_interval_is_known() -> None:
    """The hint of an interval is its period."""
    assert an_interval().period_hint() == 30 * SECOND


def test_a_gap_of_an_interval_is_counted_by_arithmetic() -> None:
    """The fires in (after, until] have a count, a first and a last."""
    ten_years = timedelta(days=3650)

    gap = an_interval(SECOND).gap(NOW, NOW + ten_years)

    assert gap == Gap(count=3650 * 86400, first=NOW + SECOND, last=NOW + ten_years)


@pytest.mark.parametrize(
    ("after", "until"),
    [(NOW, NOW), (NOW + SECOND, NOW), (NOW, NOW + SECOND), (NOW - 9 * SECOND, NOW - SECOND)],
)
def test_a_gap_without_fires_is_empty(after: datetime, until: datetime) -> None:
    """Nothing due counts zero and names no fire."""
    assert an_interval().gap(after, until) == Gap()


def test_fires_stop_at_until() -> None:
    """A list of fires ends at `until`, inclusive."""
    fires = an_interval().fires(NOW, count=9, until=NOW + 60 * SECOND)

    assert fires == [NOW + 30 * SECOND, NOW + 60 * SECOND]


def test_a_date_fires_once() -> None:
    """A date is due at its instant and never again."""
    trigger = DateTrigger(run_at=NOW)

    assert trigger.fires(NOW - SECOND, count=3) == [NOW]
    assert trigger.gap(NOW - SECOND, NOW) == Gap(count=1, first=NOW, last=NOW)
    assert trigger.gap(NOW, NOW + SECOND) == Gap()
    assert trigger.period_hint() is None


@pytest.mark.parametrize(
    ("period", "words"),
    [
        (timedelta(seconds=30), "every 30 seconds"),
        (timedelta(minutes=1), "every minute"),
        (timedelta(minutes=90), "every 1 hour 30 minutes"),
        (timedelta(days=1), "every day"),
        (timedelta(days=10), "every 10 days"),
        (timedelta(days=14), "every 2 weeks"),
        (timedelta(seconds=0.2), "every 0.2 seconds"),
        (timedelta(days=1, seconds=61), "every 1 day 1 minute 1 second"),
    ],
)
def test_an_interval_is_said_in_its_largest_units(period: timedelta, words: str) -> None:
    """The words name weeks, days, hours, minutes and seconds, without zeros."""
    assert an_interval(period).in_words() == words


def test_the_words_of_an_interval_name_jitter_and_end() -> None:
    """What limits or moves the fires is said, in the trigger's zone."""
    trigger = an_interval(
        end_at=datetime(2026, 12, 1, 8, tzinfo=UTC), jitter=SECOND, timezone="Europe/Paris"
    )

    assert trigger.in_words() == (
        "every 30 seconds plus up to 1 second until 2026-12-01 09:00 Europe/Paris"
    )


def test_a_date_is_said_in_its_zone() -> None:
    """A date with a zone is read there, one without in UTC; seconds only where there are any."""
    nine = datetime(2026, 12, 1, 8, tzinfo=UTC)

    in_paris = DateTrigger(run_at=nine, timezone="Europe/Paris")

    assert in_paris.in_words() == "once at 2026-12-01 09:00 Europe/Paris"
    assert DateTrigger(run_at=nine + SECOND).in_words() == "once at 2026-12-01 08:00:01 UTC"


@pytest.mark.parametrize(
    ("trigger", "shape"),
    [
        (
            an_interval(end_at=NOW + 90 * SECOND, jitter=SECOND / 2, timezone="Asia/Tokyo"),
            {
                "type": "interval",
                "seconds": 30,
                "start_at": "2026-07-01T21:00:00+09:00",
                "end_at": "2026-07-01T21:01:30+09:00",
                "jitter_seconds": 0.5,
                "timezone": "Asia/Tokyo",
            },
        ),
        (
            an_interval(timedelta(days=1)),
            {"type": "interval", "seconds": 86400, "start_at": "2026-07-01T12:00:00+00:00"},
        ),
        (
            DateTrigger(run_at=NOW, timezone="Asia/Tokyo"),
            {"type": "date", "run_at": "2026-07-01T21:00:00+09:00", "timezone": "Asia/Tokyo"},
        ),
        (DateTrigger(run_at=NOW), {"type": "date", "run_at": "2026-07-01T12:00:00+00:00"}),
        (
            CronTrigger(expression="0 2 * * 1-5", timezone="Europe/Paris"),
            {"type": "cron", "expression": "0 2 * * 1-5", "timezone": "Europe/Paris"},
        ),
    ],
)
def test_the_public_shape_is_a_request_for_the_same_trigger(
    trigger: Trigger, shape: dict[str, object]
) -> None:
    """What an agent reads can be sent back and fires at the same instants."""
    again = TriggerRequest.model_validate(shape).resolve(
        now=NOW - SECOND, default_timezone="UTC", min_interval=SECOND
    )

    assert trigger.as_json() == shape
    if not shape.get("jitter_seconds"):
        assert again.fires(NOW - SECOND, count=5) == trigger.fires(NOW - SECOND, count=5)
    assert again.as_json() == shape


@pytest.mark.parametrize(
    "trigger",
    [
        an_interval(timedelta(days=3, microseconds=7), jitter=SECOND, timezone="Asia/Tokyo"),
        CronTrigger(expression="*/5 * * * *", timezone="America/New_York"),
        DateTrigger(run_at=NOW, timezone="Europe/Paris"),
        RecurrenceTrigger(rule="FREQ=DAILY", timezone="Europe/Paris", anchor=NOW),
    ],
)
def test_a_trigger_survives_storage(trigger: Trigger) -> None:
    """The ledger keeps triggers as JSON and gets equal ones back."""
    assert ANY_TRIGGER.validate_json(ANY_TRIGGER.dump_json(trigger)) == trigger


@pytest.mark.parametrize(
    "row",
    [
        {"type": "cron", "expression": "61 * * * *", "timezone": "UTC"},
        {"type": "cron", "expression": "* * * * *", "timezone": "Mars/Olympus"},
        {"type": "date", "run_at": NOW.isoformat(), "timezone": "Mars/Olympus"},
        {"type": "interval", "period": "PT0S", "anchor": NOW.isoformat()},
        {"type": "rrule", "rule": "FREQ=NEVER", "anchor": NOW.isoformat()},
    ],
)
def test_a_spoilt_row_is_refused_at_once(row: dict[str, object]) -> None:
    """A stored trigger that cannot fire is found when it is read, not when it is due."""
    with pytest.raises(ValidationError):
        ANY_TRIGGER.validate_python(row)
