"""The master invariant, told from outside: every due fire has its record, once, in one state.

Which fires were due is computed here, from the trigger as the tools show it, with cronsim and
plain arithmetic: nothing of the product's own calendar is used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim

SCHEDULED = frozenset({"schedule", "catch_up"})
UNFINISHED = frozenset({"pending", "running"})
STATES = frozenset(
    "succeeded failed timed_out cancelled interrupted dead skipped missed".split()  # noqa: SIM905 - the contract's line
)


@dataclass(frozen=True)
class Span:
    """A stretch of a job's life in which one trigger was in force.

    Attributes:
        trigger: As `get_job` shows it.
        after: Fires at or before this instant belong to an earlier span.
        surely_until: Fires up to here were due for certain.
        maybe_until: Fires up to here may have been due: a change was under way.
    """

    trigger: dict[str, Any]
    after: datetime
    surely_until: datetime
    maybe_until: datetime


def nominals(trigger: dict[str, Any], *, after: datetime, until: datetime) -> list[datetime]:
    """List the fires of a trigger in (after, until]."""
    if trigger["type"] == "date":
        due = datetime.fromisoformat(trigger["run_at"]).astimezone(UTC)
        return [due] if after < due <= until else []
    if trigger["type"] == "interval":
        return _beats(trigger, after=after, until=until)
    found: list[datetime] = []
    zone = ZoneInfo(trigger.get("timezone") or "UTC")
    for instant in CronSim(trigger["expression"], after.astimezone(zone)):
        if instant > until:
            return found
        found.append(instant.astimezone(UTC))
    return found


def discrepancies(job: dict[str, Any], runs: list[dict[str, Any]], spans: list[Span]) -> list[str]:
    """Say which fires of a job have no record, more than one, or never were; empty where none.

    Args:
        job: As `get_job` shows it, when nothing of it is going on any more.
        runs: All its runs, as `list_runs` shows them.
        spans: Its whole life, the oldest first.
    """
    maybe = [
        _cut(due)
        for span in spans
        for due in nominals(span.trigger, after=span.after, until=span.maybe_until)
    ]
    surely = {
        _cut(due)
        for span in spans
        for due in nominals(span.trigger, after=span.after, until=span.surely_until)
    }
    covered: Counter[datetime] = Counter()
    found = []
    for run in runs:
        if run["cause"] in SCHEDULED:
            stood_for = _stood_for(run, maybe)
            covered.update(stood_for)
            found += _miscounted(run, stood_for)
    found += [f"{due}: no record" for due in sorted(surely - covered.keys())]
    found += [f"{due}: {count} records" for due, count in covered.items() if count > 1]
    found += _miscounts(job, runs)
    return [f"{job['job_id']} {objection}" for objection in found]


def due_count(runs: list[dict[str, Any]]) -> int:
    """Count the fires that these records stand for."""
    return sum(run["fires"] for run in runs if run["cause"] in SCHEDULED)


def _beats(trigger: dict[str, Any], *, after: datetime, until: datetime) -> list[datetime]:
    anchor = datetime.fromisoformat(trigger["start_at"]).astimezone(UTC)
    period = timedelta(seconds=trigger["seconds"])
    number = max(0, (after - anchor) // period + 1)
    found = []
    while (due := anchor + number * period) <= until:
        found.append(due)
        number += 1
    return found


def _cut(instant: datetime) -> datetime:
    """Leave out what the tools do not show: they answer in milliseconds."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _stood_for(run: dict[str, Any], known: list[datetime]) -> list[datetime]:
    first, last = (
        datetime.fromisoformat(run[name]).astimezone(UTC)
        for name in ("scheduled_for", "last_scheduled_for")
    )
    return [due for due in known if first <= due <= last]


def _miscounted(run: dict[str, Any], stood_for: list[datetime]) -> list[str]:
    """Check one record: it begins and ends with a fire, and says how many it stands for."""
    ends = {
        datetime.fromisoformat(run[name]).astimezone(UTC)
        for name in ("scheduled_for", "last_scheduled_for")
    }
    found = []
    if not ends <= set(stood_for):
        found.append(f"{run['run_id']} is for {sorted(ends)}, when nothing was due")
    if len(stood_for) != run["fires"]:
        found.append(f"{run['run_id']} says {run['fires']} fires, {len(stood_for)} were due")
    return found


def _miscounts(job: dict[str, Any], runs: list[dict[str, Any]]) -> list[str]:
    """Check that the job's counts are the sums of its records."""
    sums: Counter[str] = Counter()
    for run in runs:
        sums[run["state"]] += run["fires"]
    strange = sums.keys() - STATES - UNFINISHED
    found = [f"has runs in the unknown states {strange}"] if strange else []
    counted = {state: job["counts"].get(state, 0) for state in STATES}
    recorded = {state: sums[state] for state in STATES}
    if counted != recorded:
        found.append(f"counts {counted}, the records say {recorded}")
    return found
