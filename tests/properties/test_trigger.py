"""What holds of every trigger, at every instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mahavishnu_sched_mcp.domain.trigger import (
    CronTrigger,
    DateTrigger,
    Gap,
    IntervalTrigger,
    RecurrenceTrigger,
    Trigger,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2028, 1, 1, tzinfo=UTC)
ANY_TRIGGER: TypeAdapter[Trigger] = TypeAdapter(Trigger)

untimed = settings(deadline=None, max_examples=80)
"""A busy machine is no counterexample."""

zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
instants = st.datetimes(
    min_value=START.replace(tzinfo=None), max_value=END.replace(tzinfo=None), timezones=st.just(UTC)
)
periods = st.timedeltas(min_value=timedelta(minutes=7), max_value=timedelta(days=40))


@st.composite
def intervals(draw: st.DrawFn) -> IntervalTrigger:
    """Draw an interval, with or without jitter and end."""
    period = draw(periods)
    return IntervalTrigger(
        period=period,
        anchor=draw(instants),
        end_at=draw(st.none() | instants),
        jitter=draw(st.sampled_from([timedelta(0), period / 3, period * 0.99])),
        seed=draw(st.text(max_size=3)),
        timezone=draw(st.none() | zones),
    )


crons = st.builds(
    CronTrigger,
    expression=st.sampled_from(
        ["*/20 * * * *", "30 1 * * *", "0 2 * * 1-5", "15 */3 13 * 5", "0 0 29 2 *", "5 4 1 * *"]
    ),
    timezone=zones,
)
dates = st.builds(DateTrigger, run_at=instants, timezone=st.none() | zones)
recurrences = st.builds(
    RecurrenceTrigger,
    rule=st.sampled_from(
        ["FREQ=DAILY;INTERVAL=2", "FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=2", "FREQ=MONTHLY;BYMONTHDAY=-1"]
    ),
    timezone=zones,
    anchor=instants,
)
triggers: st.SearchStrategy[Trigger] = st.one_of(intervals(), crons, dates, recurrences)


def listed(trigger: Trigger, after: datetime, until: datetime) -> Gap:
    """Count a gap by listing it."""
    fires = trigger.fires(after, count=1_000_000, until=until)
    if not fires:
        return Gap()
    return Gap(count=len(fires), first=fires[0], last=fires[-1])


@untimed
@given(triggers, instants)
def test_the_next_fire_is_later_aware_and_in_utc(trigger: Trigger, instant: datetime) -> None:
    """A fire is strictly after the instant asked for, and an aware UTC datetime."""
    fire = trigger.next_after(instant)

    assert fire is None or (fire > instant and fire.tzinfo is UTC)


@untimed
@given(triggers, instants)
def test_the_next_fire_does_not_depend_on_when_one_asks(
    trigger: Trigger, instant: datetime
) -> None:
    """Asked anywhere between two fires, a trigger names the same next one."""
    fire = trigger.next_after(instant)

    if fire is not None:
        assert trigger.next_after(instant + (fire - instant) / 2) == fire
        assert trigger.next_after(fire - timedelta(microseconds=1)) == fire


@untimed
@given(triggers, instants, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_gap_counts_what_a_list_would_show(
    trigger: Trigger, after: datetime, width: timedelta
) -> None:
    """Counting a gap gives what enumeration gives."""
    until = after + width

    assert trigger.gap(after, until) == listed(trigger, after, until)


@untimed
@given(triggers, st.lists(instants, min_size=3, max_size=3).map(sorted))
def test_gaps_add_up(trigger: Trigger, instants: list[datetime]) -> None:
    """The fires of (a, b] are those of (a, m] and of (m, b]."""
    start, middle, end = instants

    whole = trigger.gap(start, end)
    early, late = trigger.gap(start, middle), trigger.gap(middle, end)

    assert whole.count == early.count + late.count
    assert whole.first == (early.first or late.first)
    assert whole.last == (late.last or early.last)


@untimed
@given(triggers)
def test_storage_gives_an_equal_trigger(trigger: Trigger) -> None:
    """A trigger survives JSON, to the microsecond."""
    assert ANY_TRIGGER.validate_json(ANY_TRIGGER.dump_json(trigger)) == trigger


@untimed
@given(triggers)
def test_words_are_one_tidy_line(trigger: Trigger) -> None:
    """Every trigger can be said in one line that starts in lower case."""
    words = trigger.in_words()

    assert words == " ".join(words.split())
    assert words[0].islower()
    assert words[-1].isalnum()
