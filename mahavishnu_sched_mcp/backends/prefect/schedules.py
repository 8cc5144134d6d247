"""Our triggers as Prefect's schedules."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.trigger import CronTrigger, IntervalTrigger, RecurrenceTrigger
from mahavishnu_sched_mcp.errors import CapabilityError

if TYPE_CHECKING:
    from datetime import datetime

    from mahavishnu_sched_mcp.domain.trigger import Trigger
    from mahavishnu_sched_mcp.domain.value import JsonObject

_FREQUENCIES = {
    "DAILY": timedelta(days=1),
    "HOURLY": timedelta(hours=1),
    "MINUTELY": timedelta(minutes=1),
    "SECONDLY": timedelta(seconds=1),
}


def schedule_of(trigger: Trigger, *, now: datetime) -> JsonObject:
    """Express a trigger as Prefect's API takes it, firing at our instants.

    Args:
        trigger: With its anchor resolved.
        now: When the schedule is made.

    Raises:
        CapabilityError: Prefect has no such schedule (a single date, an end, a jitter).
    """
    match trigger:
        case IntervalTrigger() if trigger.end_at is None and not trigger.jitter:
            return _interval(trigger, now)
        case CronTrigger():
            return {
                "cron": trigger.expression,
                "timezone": trigger.timezone,
                "day_or": _days_are_either(trigger.expression),
            }
        case RecurrenceTrigger():
            return {"rrule": trigger.rule_with_start, "timezone": trigger.timezone}
        case _:
            msg = f"Prefect has no schedule that fires {trigger.in_words()}."
            raise CapabilityError(
                msg,
                hint="Give schedule_config an interval_seconds, a cron or an rrule, "
                "or use enqueue_workflow for a single date.",
            )


def _interval(trigger: IntervalTrigger, now: datetime) -> JsonObject:
    if trigger.anchor > now + trigger.period:
        # Prefect counts an interval back from its anchor too and would fire before it.
        return {"rrule": _rule_from(trigger), "timezone": "UTC"}
    return {
        "interval": trigger.period.total_seconds(),
        "anchor_date": trigger.anchor.isoformat(),
        # UTC, or periods over a day would follow the clock changes of a zone.
        "timezone": "UTC",
    }


def _rule_from(trigger: IntervalTrigger) -> str:
    for frequency, unit in _FREQUENCIES.items():
        if not trigger.period % unit:
            count = trigger.period // unit
            return (
                f"DTSTART:{trigger.anchor:%Y%m%dT%H%M%S}\nRRULE:FREQ={frequency};INTERVAL={count}"
            )
    msg = f"Prefect cannot start {trigger.in_words()} at a later time."
    raise CapabilityError(msg, hint="Use whole seconds, or leave start_at out.")


def _days_are_either(expression: str) -> bool:
    """Whether one of the two day fields is enough: only where neither begins with a star."""
    _, _, day, _, weekday = expression.split()
    return not day.startswith("*") and not weekday.startswith("*")
