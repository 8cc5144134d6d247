"""What an agent may ask for as a trigger, and how each mistake is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mahavishnu_sched_mcp.domain.trigger import (
    CronTrigger,
    DateTrigger,
    IntervalTrigger,
    RecurrenceRequest,
    RecurrenceTrigger,
    Trigger,
    TriggerRequest,
)
from mahavishnu_sched_mcp.errors import InvalidTriggerError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def resolve(
    *, min_interval: timedelta = timedelta(seconds=1), zone: str = "UTC", **fields: Any
) -> Trigger:
    """Resolve a request at NOW."""
    request = TriggerRequest.model_validate(fields)
    return request.resolve(now=NOW, default_timezone=zone, min_interval=min_interval)


def refusal(**fields: Any) -> str:
    """Give the text with which a request is refused."""
    with pytest.raises(InvalidTriggerError) as caught:
        resolve(**fields)
    assert caught.value.hint
    return str(caught.value)


def test_an_interval_without_start_fires_one_period_from_now() -> None:
    """Without `start_at` an interval's first fire is one period after creation."""
    trigger = resolve(type="interval", minutes=1, seconds=30)

    assert trigger == IntervalTrigger(
        period=timedelta(seconds=90), anchor=NOW + timedelta(seconds=90)
    )


def test_a_start_in_the_past_is_an_anchor() -> None:
    """An interval may be anchored in the past: its cadence counts from there."""
    trigger = resolve(type="interval", days=1, start_at="2020-01-01T06:00:00+01:00")

    assert trigger.next_after(NOW) == datetime(2026, 7, 2, 5, tzinfo=UTC)


def test_two_jittered_intervals_get_their_own_shares() -> None:
    """Jobs made at different instants do not fire in step."""
    request = TriggerRequest(type="interval", seconds=60, jitter_seconds=30)
    minute = timedelta(minutes=1)

    seeds = {
        trigger.seed
        for trigger in (
            request.resolve(now=NOW + n * minute, default_timezone="UTC", min_interval=minute)
            for n in range(3)
        )
        if isinstance(trigger, IntervalTrigger)
    }

    assert len(seeds) == 3


def test_a_cron_without_zone_gets_the_default_one() -> None:
    """`timezone` of the settings is the default for cron triggers without one."""
    trigger = resolve(type="cron", expression="@daily", zone="Asia/Tokyo")

    assert trigger == CronTrigger(expression="0 0 * * *", timezone="Asia/Tokyo")


def test_a_date_may_be_relative() -> None:
    """`in_seconds` counts from the call."""
    assert resolve(type="date", in_seconds=600) == DateTrigger(run_at=NOW + timedelta(minutes=10))


def test_a_request_is_remembered_as_it_was_given() -> None:
    """Only the given fields count when two requests are compared."""
    request = TriggerRequest(type="date", in_seconds=600)

    assert request.as_requested() == {"type": "date", "in_seconds": 600}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "interval"}, "needs a period, and none was given"),
        ({"type": "interval", "seconds": 0, "minutes": 0}, "zero (minutes 0, seconds 0)"),
        ({"type": "interval", "seconds": 0.5}, "0.5 seconds is shorter than the 1 second allowed"),
        ({"type": "interval", "weeks": 1e300}, "weeks 1e+300 is longer than 100 years"),
        ({"type": "interval", "seconds": 5, "jitter_seconds": 5}, "jitter_seconds 5 is not"),
        ({"type": "interval", "seconds": 5, "expression": "* * * * *"}, "takes no expression"),
        ({"type": "interval", "seconds": 5, "start_at": "soon"}, "start_at 'soon' is not a time"),
        ({"type": "interval", "seconds": 5, "start_at": "2026-08-01"}, "'2026-08-01T00:00:00Z'"),
        (
            {"type": "interval", "seconds": 5, "start_at": "0001-01-01T00:00:00+14:00"},
            "lies outside the calendar",
        ),
        (
            {"type": "interval", "seconds": 5, "start_at": "2199-01-01T00:00:00Z"},
            "more than 100 years away",
        ),
        (
            {"type": "interval", "seconds": 5, "end_at": "2026-07-01T12:00:04Z"},
            "end_at '2026-07-01T12:00:04Z' leaves no fire",
        ),
        ({"type": "interval", "seconds": 5, "timezone": "Mars/Olympus"}, "'Mars/Olympus'"),
        ({"type": "date"}, "needs run_at or in_seconds, and none was given"),
        (
            {"type": "date", "in_seconds": 5, "run_at": "2026-08-01T00:00:00Z"},
            "and both were given",
        ),
        (
            {"type": "date", "run_at": "2026-07-01T12:00:00Z"},
            "not in the future: now is 2026-07-01",
        ),
        ({"type": "date", "run_at": "2026-08-01T09:00"}, "has no UTC offset"),
        ({"type": "date", "run_at": "9999-12-31T23:59:59-12:00"}, "outside the calendar"),
        ({"type": "date", "in_seconds": 0}, "in_seconds '0' is not in the future"),
        ({"type": "date", "in_seconds": 1e18}, "in_seconds 1e+18 is longer than 100 years"),
        ({"type": "date", "in_seconds": 5, "seconds": 5}, "takes no seconds"),
        ({"type": "cron"}, "needs an expression"),
        ({"type": "cron", "expression": "0 0 29 2 */3"}, "does not fire in the next five years"),
        ({"type": "cron", "expression": "@hourly", "run_at": "x"}, "takes no run_at"),
    ],
)
def test_a_mistake_is_named_with_its_value(fields: dict[str, Any], text: str) -> None:
    """A refusal says what was refused, with the value, and how to mend it."""
    assert text in refusal(**fields)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("* * * *", "has 4 fields, 5 are needed. Add the day of week: '* * * * *'."),
        ("0 */5 * * * *", "has 6 fields, 5 are needed. There is no field for seconds"),
        ("0 2", "has 2 fields"),
        ("", "has no fields"),
        ("5", "has 1 field,"),
        ("@dayly", "Did you mean '@daily'?"),
        ("@every 5m", "Use type 'interval'"),
        ("@reboot", "Cron alias '@reboot' is not known"),
        ("0 0 31 2 *", "never fires: no such day exists"),
        ("0 0 L * *", "'L' is not part of cron"),
        ("0 0 LW * *", "'L' and 'W' are not part of cron"),
        ("0 0 15W * *", "'W' is not part of cron"),
        ("0 0 * * 5#2", "the day-of-week '5#2' cannot be read"),
        ("0 0 * * 5L", "'L' is not part of cron"),
        ("0 0 ? * *", "write '*' for any day-of-month"),
        ("61 * * * *", "the minute '61' cannot be read. Use 0-59"),
        ("0 24 * * *", "the hour '24' cannot be read. Use 0-23"),
        ("1/0 * * * *", "the minute '1/0' cannot be read"),
        ("0 9 * * monday", "Did you mean 'mon'?"),
        ("0 9 * january *", "the month 'january' cannot be read"),
        ("0 9 * * fri-sun", "write 7, as in '5-7'"),
        ("0 9 * * 8", "0 and 7 are Sunday"),
        ("0;9 * * * *", "the minute '0;9' cannot be read"),
        (f"{','.join(['1'] * 200)} * * * *", "is longer than 200 characters"),
        ("9" * 5000 + " * * * *", "is longer than 200 characters"),
    ],
)
def test_a_cron_outside_the_five_fields_is_refused(expression: str, text: str) -> None:
    """Cron is the five fields of Vixie/Debian cron, without cronsim's extras."""
    assert text in refusal(type="cron", expression=expression)


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Pari", "Did you mean 'Europe/Paris'?"),
        ("europe/paris", "Did you mean 'Europe/Paris'?"),
        ("america/new york", "Did you mean 'America/New_York'?"),
        ("CEST", "Use an IANA name"),
        ("../../etc/passwd", "Use an IANA name"),
        ("right/UTC", "Use an IANA name"),
        ("Europe", "Use an IANA name"),
        ("", "Use an IANA name"),
        ("+02:00", "Use an IANA name"),
        ("a\x00b", "Use an IANA name"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone: str, hint: str) -> None:
    """Zones are IANA names; a near miss is suggested."""
    text = refusal(type="cron", expression="@daily", timezone=zone)

    assert hint in text
    assert "\x00" not in text


def test_the_operators_shortest_interval_holds_for_cron_too() -> None:
    """`limits.min_interval_seconds` is compared with a cron's closest fires."""
    text = refusal(type="cron", expression="0,1 * * * *", min_interval=timedelta(minutes=5))

    assert "fires every 1 minute, more often than the 5 minutes allowed" in text
    assert "limits.min_interval_seconds" in text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"cron": "0 2 * * *", "timezone": "Europe/Paris"},
            TriggerRequest(type="cron", expression="0 2 * * *", timezone="Europe/Paris"),
        ),
        (
            {"interval_seconds": 60, "start_at": "2026-08-01T00:00:00Z"},
            TriggerRequest(type="interval", seconds=60, start_at="2026-08-01T00:00:00Z"),
        ),
        ({"rrule": "FREQ=DAILY"}, RecurrenceRequest(rrule="FREQ=DAILY")),
    ],
)
def test_a_schedule_config_has_exactly_one_kind(
    config: dict[str, Any], expected: TriggerRequest | RecurrenceRequest
) -> None:
    """`schedule_config` is cron, interval_seconds or rrule, with timezone."""
    assert TriggerRequest.from_schedule_config(config) == expected


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "needs exactly one of cron, interval_seconds, rrule, and has none"),
        ({"cron": "@daily", "rrule": "FREQ=DAILY"}, "has cron and rrule"),
        ({"crn": "@daily"}, "unknown key 'crn'. Did you mean 'cron'?"),
        ({"cron": 5}, "schedule_config.cron '5' is not text"),
        ({"cron": "@daily", "timezone": 2}, "schedule_config.timezone '2' is not text"),
        ({"cron": "@daily", "start_at": "x"}, "takes no start_at beside cron"),
        ({"interval_seconds": "60"}, "interval_seconds '60' is not a number of seconds"),
        ({"interval_seconds": True}, "interval_seconds 'True' is not a number of seconds"),
        ({"interval_seconds": 10**400}, "is not a number of seconds"),
        ({"interval_seconds": float("nan")}, "is not a number of seconds"),
    ],
)
def test_a_wrong_schedule_config_is_refused(config: dict[str, Any], text: str) -> None:
    """Unknown keys, several kinds and wrong types are named."""
    with pytest.raises(InvalidTriggerError) as caught:
        TriggerRequest.from_schedule_config(config)

    assert text in str(caught.value)


def test_a_recurrence_is_remembered_as_it_was_given() -> None:
    """The request of a recurrence keeps the rule as the agent wrote it."""
    request = RecurrenceRequest(rrule="freq=daily")

    assert request.as_requested() == {"type": "rrule", "rrule": "freq=daily"}
    assert isinstance(
        request.resolve(now=NOW, default_timezone="UTC", min_interval=timedelta(0)),
        RecurrenceTrigger,
    )
