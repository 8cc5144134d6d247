"""The books of a job: its nominal times beside its records."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.servers import Server


@dataclass(frozen=True)
class Account:
    """What is wrong with a job's records; nothing, if all goes well.

    Attributes:
        missing: Nominal times without a record.
        doubles: Nominal times with more than one.
        strangers: Recorded times that the schedule does not name.
        miscounted: Records of a gap whose count is not that of the schedule.
    """

    missing: list[datetime]
    doubles: list[datetime]
    strangers: list[datetime]
    miscounted: list[dict[str, Any]]


def settle(
    runs: list[dict[str, Any]],
    nominals: Sequence[datetime],
    *,
    due_until: datetime,
    known_until: datetime,
) -> Account:
    """Compare the records of a job with its nominal times.

    Args:
        runs: Every record of the job.
        nominals: What the schedule names, in order, well beyond the present.
        due_until: Up to here each has to be recorded.
        known_until: Later than this none may be.
    """
    recorded: Counter[datetime] = Counter()
    strangers: list[datetime] = []
    miscounted = []
    for run in runs:
        first = instant(run["scheduled_for"])
        last = first if run["fires"] == 1 else instant(run["last_scheduled_for"])
        span = nominals[bisect_left(nominals, first) : bisect_right(nominals, last)]
        if len(span) != run["fires"]:
            miscounted.append(run)
        strangers += [time for time in (first, last) if time not in {*span[:1], *span[-1:]}]
        strangers += [time for time in span if time > known_until]
        recorded.update(span)
    due = nominals[: bisect_right(nominals, due_until)]
    return Account(
        missing=[time for time in due if time not in recorded],
        doubles=[time for time, count in recorded.items() if count > 1],
        strangers=strangers,
        miscounted=miscounted,
    )


async def every_run(server: Server, job_id: str) -> list[dict[str, Any]]:
    """List all records of a job, page by page, the newest first."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await server.call("list_runs", job_id=job_id, limit=200, cursor=cursor)
        found += page["runs"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def instant(text: str) -> datetime:
    """Read a time as the tools write it."""
    return datetime.fromisoformat(text).astimezone(UTC)
