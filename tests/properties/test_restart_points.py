"""The fires of a trigger do not depend on when its server was stopped and started."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mahavishnu_sched_mcp.domain.trigger import DateTrigger, IntervalTrigger, Trigger
from tests.faults.tally import PROPERTY, amount
from tests.properties.test_trigger import instants, intervals, triggers

if TYPE_CHECKING:
    from collections.abc import Callable

STORED: TypeAdapter[Trigger] = TypeAdapter(Trigger)
MOST_FIRES = 200
MOST_SECONDS = 1.0
TEN_YEARS = timedelta(days=3652)
START = datetime(2026, 1, 1, tzinfo=UTC)

alone = st.one_of(intervals(), st.builds(DateTrigger, run_at=instants))
widths = st.timedeltas(timedelta(days=1), timedelta(days=400))
shares = st.lists(st.floats(0, 1), max_size=6).map(sorted)


def arithmetic(trigger: IntervalTrigger | DateTrigger, start: datetime, end: datetime) -> list[int]:
    """Count, without the trigger's own methods, which k lie in (start, end], apart from jitter."""
    if isinstance(trigger, DateTrigger):
        return [0] if start < trigger.run_at <= end else []
    last = min(end, trigger.end_at or end)
    low = max(0, (start - trigger.anchor) // trigger.period + 1)
    return list(range(low, (last - trigger.anchor) // trigger.period + 1))


@settings(deadline=None, max_examples=amount(2000))
@given(alone, instants, widths, shares)
def test_restarts_do_not_change_the_set_of_fires(
    trigger: IntervalTrigger | DateTrigger, start: datetime, width: timedelta, cuts: list[float]
) -> None:
    """However often a server starts anew, an interval or a date names the same instants."""
    end = start + width
    whole = trigger.fires(start, count=MOST_FIRES, until=end)
    end = whole[-1] if len(whole) == MOST_FIRES else end

    pieces: list[datetime] = []
    bounds = [start, *(start + share * (end - start) for share in cuts), end]
    for begin, stop in pairwise(bounds):
        anew = STORED.validate_json(STORED.dump_json(trigger))
        pieces += anew.fires(begin, count=MOST_FIRES, until=stop)

    assert pieces == whole


@settings(deadline=None, max_examples=amount(2000))
@given(alone, instants, widths)
def test_a_fire_is_its_number_times_the_period(
    trigger: IntervalTrigger | DateTrigger, start: datetime, width: timedelta
) -> None:
    """Fire k is at anchor plus k periods, later by less than the jitter, none after the end."""
    end = start + width
    found = trigger.fires(start, count=MOST_FIRES, until=end)

    if isinstance(trigger, DateTrigger):
        assert found == [trigger.run_at][: len(arithmetic(trigger, start, end))]
        return
    for fire in found:
        late = (fire - trigger.anchor) % trigger.period
        assert late < max(trigger.jitter, timedelta(microseconds=1))
        assert trigger.end_at is None or fire <= trigger.end_at
    if not trigger.jitter and len(found) < MOST_FIRES:
        numbers = [(fire - trigger.anchor) // trigger.period for fire in found]
        assert numbers == arithmetic(trigger, start, end)


@settings(deadline=None, max_examples=amount(2000))
@given(triggers, instants, instants)
def test_a_later_question_never_gets_an_earlier_answer(
    trigger: Trigger, one: datetime, other: datetime
) -> None:
    """The next fire rises with the instant one asks at."""
    early, late = sorted((one, other))
    first, second = trigger.next_after(early), trigger.next_after(late)

    assert second is None or (first is not None and first <= second)


@pytest.mark.parametrize("expression", ["* * * * *", "30 2 * * 1-5", "0 0 29 2 *"])
def test_ten_years_are_counted_and_not_walked(
    expression: str, record_property: Callable[[str, object], None]
) -> None:
    """The fires of ten years are counted day by day at most, however many they are."""
    trigger = STORED.validate_python(
        {"type": "cron", "expression": expression, "timezone": "America/New_York"}
    )
    began = time.process_time()

    gap = trigger.gap(START, START + TEN_YEARS)

    took = time.process_time() - began
    record_property(
        PROPERTY,
        f"ten years of '{expression}' in New York: {gap.count} fires, {took * 1e3:.1f} ms",
    )
    assert gap.count > 0
    assert took < MOST_SECONDS
