"""Recurrences by RFC 5545, for deployments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dateutil.rrule import rrulestr

from mahavishnu_sched_mcp.domain.trigger import Gap, RecurrenceRequest, RecurrenceTrigger
from mahavishnu_sched_mcp.errors import InvalidTriggerError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def resolve(rule: str, *, zone: str | None = None, least: timedelta = SECOND) -> RecurrenceTrigger:
    """Resolve a rule at NOW."""
    request = RecurrenceRequest(rrule=rule, timezone=zone)
    return request.resolve(now=NOW, default_timezone="UTC", min_interval=least)


def test_a_rule_fires_at_wall_times_of_its_zone() -> None:
    """Without DTSTART a rule starts at 00:00 of the current day in its zone."""
    trigger = resolve("RRULE:FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=9", zone="Europe/Paris")

    assert trigger.fires(NOW, count=2) == [
        datetime(2026, 7, 3, 7, tzinfo=UTC),
        datetime(2026, 7, 6, 7, tzinfo=UTC),
    ]
    assert trigger.rule_with_start == (
        "DTSTART:20260701T000000\nRRULE:FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=9"
    )


def test_a_rule_in_words_keeps_its_parts() -> None:
    """The words say the frequency, the other parts as written, and the zone."""
    trigger = resolve("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", zone="Europe/Paris")

    assert trigger.as_json() == {
        "type": "rrule",
        "rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO",
        "timezone": "Europe/Paris",
    }
    assert trigger.in_words() == "every 2 weeks by BYDAY=MO, Europe/Paris"
    assert resolve("FREQ=DAILY").in_words() == "every day, UTC"
    assert trigger.zone == "Europe/Paris"


def test_a_wall_time_in_a_gap_fires_right_after_it() -> None:
    """A recurrence treats changes of offset as cron does for fixed times."""
    trigger = resolve("DTSTART:20260101T023000 RRULE:FREQ=DAILY", zone="America/New_York")

    fires = trigger.fires(datetime(2027, 3, 13, 12, tzinfo=UTC), count=2)

    assert fires == [datetime(2027, 3, 14, 7, tzinfo=UTC), datetime(2027, 3, 15, 6, 30, tzinfo=UTC)]


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=3;BYHOUR=1,5",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=SU",
        "FREQ=MONTHLY;INTERVAL=5",
        "FREQ=MONTHLY;BYDAY=-1FR",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=YEARLY;INTERVAL=3",
        "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        "FREQ=YEARLY;BYYEARDAY=-1",
        "FREQ=HOURLY;INTERVAL=7",
        "FREQ=MINUTELY;INTERVAL=50",
    ],
)
@pytest.mark.parametrize("start", ["20200131T091500", "20200229T000000"])
def test_a_rule_keeps_its_phase_over_the_years(rule: str, start: str) -> None:
    """Far from its start a rule gives what an uninterrupted count from the start gives."""
    anchor = datetime.strptime(start, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    trigger = RecurrenceTrigger(rule=rule, anchor=anchor)
    plain = rrulestr(rule, dtstart=anchor)

    expected = [fire for _, fire in zip(range(4), plain.xafter(NOW), strict=False)]

    assert trigger.fires(NOW, count=4) == expected


def test_a_gap_of_a_rule_is_counted() -> None:
    """The fires in (after, until] have a count, a first and a last."""
    trigger = resolve("FREQ=DAILY")

    assert trigger.gap(NOW, NOW + timedelta(days=3)) == Gap(
        count=3, first=datetime(2026, 7, 2, tzinfo=UTC), last=datetime(2026, 7, 4, tzinfo=UTC)
    )
    assert trigger.gap(NOW, NOW) == Gap()


@pytest.mark.parametrize(
    "rule",
    [
        "DTSTART:20260702T000000\nRRULE:FREQ=DAILY;COUNT=2",
        "FREQ=DAILY;UNTIL=20260703T000000Z",
        "FREQ=DAILY;UNTIL=20260703",
        "FREQ=DAILY;UNTIL=20260703T000000",
    ],
)
def test_a_finite_rule_ends(rule: str) -> None:
    """COUNT counts from DTSTART; UNTIL is the last possible fire."""
    trigger = resolve(rule)

    assert trigger.fires(NOW, count=9) == [
        datetime(2026, 7, 2, tzinfo=UTC),
        datetime(2026, 7, 3, tzinfo=UTC),
    ]
    assert trigger.gap(NOW, NOW + timedelta(days=999)).count == 2


def test_a_rule_ends_before_the_calendar_does() -> None:
    """Far instants end the series instead of overflowing."""
    assert resolve("FREQ=DAILY").next_after(datetime.max.replace(tzinfo=UTC)) is None


def test_a_single_fire_has_no_period() -> None:
    """A rule that fires once has no distance between fires."""
    assert resolve("DTSTART:20270101T000000 RRULE:FREQ=DAILY;COUNT=1").period_hint() is None


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("", "is not one rule"),
        ("FREQ=DAILY EXDATE:20260101T000000", "is not one rule"),
        (
            "DTSTART:20261301T000000 RRULE:FREQ=DAILY",
            "'20261301T000000' in the rrule is not a time",
        ),
        ("BYDAY=MO", "has no FREQ"),
        ("FREQ=SECONDLY", "Use schedule_internal_task with type 'interval'"),
        ("FREQ=OFTEN", "'FREQ=OFTEN' cannot be read"),
        ("FREQ=DAILY;FREQ=DAILY", "has FREQ twice"),
        ("FREQ=DAILY;BYHUOR=2", "Did you mean 'BYHOUR'?"),
        ("FREQ=DAILY;BYHOUR=25", "BYHOUR goes from 0 to 23"),
        ("FREQ=DAILY;BYHOUR=x", "'BYHOUR=X' cannot be read"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL goes from 1 to 10000"),
        ("FREQ=DAILY;INTERVAL=1,2", "INTERVAL goes from 1 to 10000"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY goes from -31 to 31"),
        ("FREQ=DAILY;COUNT=5", "has no start to count from"),
        (
            "DTSTART:20260702T000000 RRULE:FREQ=DAILY;COUNT=5;UNTIL=20270101T000000Z",
            "has both COUNT and UNTIL",
        ),
        ("FREQ=DAILY;UNTIL=20261301", "'20261301T000000' in the rrule is not a time"),
        ("FREQ=DAILY;BYDAY=1MO", "numbers its days"),
        ("FREQ=HOURLY;INTERVAL=2;BYHOUR=1", "generates an empty set."),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31", "does not fire in the next five years"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=10", "does not fire in the next five years"),
        ("FREQ=DAILY;UNTIL=20200101T000000Z", "does not fire in the next five years"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(rule: str, text: str) -> None:
    """Unreadable, endless-search and never-firing rules are refused with the mend."""
    with pytest.raises(InvalidTriggerError) as caught:
        resolve(rule)

    assert text in str(caught.value)
    assert caught.value.hint


def test_a_rule_obeys_the_shortest_interval() -> None:
    """`limits.min_interval_seconds` holds for recurrences too."""
    with pytest.raises(InvalidTriggerError, match="more often than every 3600 s"):
        resolve("FREQ=MINUTELY", least=timedelta(hours=1))
