"""Cron at changes of offset, its words, and the cost of counting it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from mahavishnu_sched_mcp.domain.cron import normalise
from mahavishnu_sched_mcp.domain.trigger import CronTrigger, Gap, Trigger, TriggerRequest
from mahavishnu_sched_mcp.errors import InvalidTriggerError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def local_fires(expression: str, zone: str, day: str) -> list[str]:
    """List a day's fires as UTC times `HH:MM`, from 00:00 to 24:00 UTC of that day."""
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    trigger = CronTrigger(expression=expression, timezone=zone)
    fires = trigger.fires(start - timedelta(seconds=1), count=2000, until=start + DAY)
    return [f"{fire:%H:%M}" for fire in fires if fire < start + DAY]


@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        # London 2026-03-29: 01:00 GMT becomes 02:00 BST at 01:00 UTC
        ("30 1 * * *", "Europe/London", "2026-03-29", ["01:00"]),
        ("15,45 1 * * *", "Europe/London", "2026-03-29", ["01:00"]),
        ("0,30 1,2 * * *", "Europe/London", "2026-03-29", ["01:00", "01:30"]),
        ("*/30 1 * * *", "Europe/London", "2026-03-29", []),
        # London 2026-10-25: 02:00 BST becomes 01:00 GMT at 01:00 UTC
        ("30 1 * * *", "Europe/London", "2026-10-25", ["00:30"]),
        ("*/30 1 * * *", "Europe/London", "2026-10-25", ["00:00", "00:30", "01:00", "01:30"]),
        # New York 2026-03-08: 02:00 EST becomes 03:00 EDT at 07:00 UTC
        ("30 2 * * *", "America/New_York", "2026-03-08", ["07:00"]),
        # Lord Howe moves by half an hour: 2026-10-03 15:30 UTC, 02:00 becomes 02:30
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["15:30"]),
        ("*/15 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["15:30", "15:45"]),
        # Apia left out 30 December 2011: its fixed times fire when the 31st begins
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-30", ["10:00"]),
        ("0 * 30 12 *", "Pacific/Apia", "2011-12-30", []),
        # St John's went back (until 2011) from 00:01 to 23:01 of the day before
        ("30 23 6 11 *", "America/St_Johns", "2010-11-07", ["02:00"]),
        ("*/30 23 6 11 *", "America/St_Johns", "2010-11-07", ["01:30", "02:00", "03:00"]),
    ],
)
def test_changes_of_offset_follow_debian(
    expression: str, zone: str, day: str, expected: list[str]
) -> None:
    """A fixed time in a gap fires once right after it, in an overlap once at the first."""
    assert local_fires(expression, zone, day) == expected


def test_both_restricted_days_are_alternatives() -> None:
    """Day-of-month and day-of-week are OR-ed when both are restricted; 0 and 7 are Sunday."""
    either = CronTrigger(expression="0 9 13 * fri")
    sunday = CronTrigger(expression="0 0 * * 7")

    assert [f.day for f in either.fires(NOW, count=4)] == [3, 10, 13, 17]
    assert sunday.fires(NOW, count=9) == CronTrigger(expression="0 0 * * 0").fires(NOW, count=9)


@pytest.mark.parametrize(
    ("alias", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        (" @ANNUALLY ", "0 0 1 1 *"),
        (" 0   2 * JAN mon-fri ", "0 2 * jan mon-fri"),
    ],
)
def test_an_expression_is_kept_as_five_fields(alias: str, fields: str) -> None:
    """The aliases are accepted and written out; names and spaces are normalised."""
    trigger = TriggerRequest(type="cron", expression=alias).resolve(
        now=NOW, default_timezone="UTC", min_interval=timedelta(0)
    )

    assert trigger == CronTrigger(expression=fields)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/5 * * * *", "every 5 minutes, Europe/Paris"),
        ("0 2 * * 1-5", "at 02:00, Monday through Friday, Europe/Paris"),
        ("30 14 * * *", "at 14:30, every day, Europe/Paris"),
        ("0 9-17 * * mon-fri", "every hour, between 09:00 and 17:00, Monday through Friday"),
        ("0 9 13 * 5", "at 09:00, on day 13 of the month, or on Friday, Europe/Paris"),
        ("0 9 */2 * 5", "at 09:00, every 2 days, and only on Friday, Europe/Paris"),
        ("0 9 13 * 1-5", "at 09:00, on day 13 of the month, or Monday through Friday, Europe"),
        ("0 9 * * 0,7", "at 09:00, only on Sunday, Europe/Paris"),
        ("0 9 * * sun,7,mon,1", "at 09:00, only on Sunday and Monday, Europe/Paris"),
        ("0 9 * * 0-7", "at 09:00, Sunday through Saturday, Europe/Paris"),
        ("0 9 * * 5-7", "at 09:00, Friday through Sunday, Europe/Paris"),
    ],
)
def test_a_cron_is_said_in_words_with_its_zone(expression: str, words: str) -> None:
    """The words use a 24-hour clock, name the zone and follow Debian's rule for days."""
    trigger = CronTrigger(expression=expression, timezone="Europe/Paris")

    assert trigger.in_words().startswith(words)
    assert trigger.in_words().endswith(f", {trigger.zone}")


@pytest.mark.parametrize(
    ("expression", "extra"),
    [
        ("0 0 * * FRI#2", "'#' is not part of cron"),
        ("0 0 * * mon#1", "'#' is not part of cron"),
        ("0 0 * jan#1 *", "'#' is not part of cron"),
        ("0 0 * * 5#2", "'#' is not part of cron"),
        ("0 0 * * friL", "'L' is not part of cron"),
        ("0 0 * * 5L", "'L' is not part of cron"),
        ("0 0 L * *", "'L' is not part of cron"),
        ("0 0 15W * *", "'W' is not part of cron"),
        ("0 0 LW * *", "'L' and 'W' are not part of cron"),
        ("0 0 ? * *", "'?' is not part of cron"),
    ],
)
def test_the_signs_of_other_crons_are_refused_by_name(expression: str, extra: str) -> None:
    """The refusal shows the expression as given, names the sign and guesses no misspelt day."""
    with pytest.raises(InvalidTriggerError) as caught:
        normalise(expression)

    assert extra in caught.value.hint
    assert f"Cron '{expression}'" in caught.value.message
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "mends"),
    [
        ("0 0 * * 1/2", ("1-7/2", "*/2")),
        ("0 0 * * MON/2", ("1-7/2", "*/2")),
        ("5/15 * * * *", ("5-59/15", "*/15")),
        ("0 0 1-5,9/2 * *", ("9-31/2", "*/2")),
        ("0 0 1 feb/3 *", ("2-12/3", "*/3")),
    ],
)
def test_a_step_without_a_range_is_refused(expression: str, mends: tuple[str, str]) -> None:
    """Vixie cron steps through a range or a star; both mends are accepted as they stand."""
    with pytest.raises(InvalidTriggerError) as caught:
        normalise(expression)

    for mend in mends:
        assert f"'{mend}'" in caught.value.hint
        fields = [mend if "/" in field else field for field in expression.split()]
        assert normalise(" ".join(fields))


@pytest.mark.parametrize("expression", ["0 0 * * FRY", "0 0 30 FEB *", "@Dayly", "0 2 * JAN"])
def test_a_refused_cron_is_shown_as_it_was_given(expression: str) -> None:
    """The caller finds again what it wrote, capitals and all."""
    with pytest.raises(InvalidTriggerError, match=rf"'{expression.replace('*', '[*]')}'"):
        normalise(expression)


@pytest.mark.parametrize(
    ("expression", "period"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("0 2 * * 1-5", DAY),
        ("0 0 * * 0", 7 * DAY),
        ("0 1,23 * * *", timedelta(hours=2)),
        ("0 1,23 1 * *", timedelta(hours=22)),
    ],
)
def test_the_period_of_a_cron_is_its_closest_pair(expression: str, period: timedelta) -> None:
    """The hint is the shortest usual distance of two fires."""
    assert CronTrigger(expression=expression).period_hint() == period


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Africa/Casablanca"])
def test_ten_years_of_minutes_are_counted_at_once(zone: str) -> None:
    """A gap is counted day by day, never fire by fire: ten years in well under 50 ms."""
    trigger: Trigger = CronTrigger(expression="* * * * *", timezone=zone)
    until = NOW + timedelta(days=3650)
    taken = []

    for _ in range(3):
        start = time.process_time()
        gap = trigger.gap(NOW, until)
        taken.append(time.process_time() - start)

    assert gap == Gap(count=3650 * 1440, first=NOW + timedelta(minutes=1), last=until)
    assert min(taken) < 0.05


def test_a_cron_ends_before_the_calendar_does() -> None:
    """Far instants end the series instead of overflowing."""
    trigger = CronTrigger(expression="0 0 * * *", timezone="Asia/Tokyo")

    assert trigger.next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert trigger.next_after(datetime(8999, 12, 31, 23, tzinfo=UTC)) is None
    assert trigger.gap(datetime(9500, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)) == Gap()


def test_a_leap_day_is_found_across_the_years() -> None:
    """Rare dates are looked for up to fifty years ahead."""
    trigger = CronTrigger(expression="0 0 29 2 *")

    assert trigger.next_after(NOW) == datetime(2028, 2, 29, tzinfo=UTC)
    assert trigger.gap(NOW, NOW + 3650 * DAY).last == datetime(2036, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "plain"),
    [
        ("5-5/10 1 * * *", "5 1 * * *"),
        ("0 0 7-7/2,20 * *", "0 0 7,20 * *"),
        ("0 0 * 6-jun/2 sun-sun/3", "0 0 * 6 0"),
        ("00-0/5 3-03/1 * * *", "0 3 * * *"),
    ],
)
def test_a_stepped_range_of_one_value_is_that_value(field: str, plain: str) -> None:
    """Debian steps inside a range: in `5-5/10` there is nothing to step to."""
    assert normalise(field) == plain
