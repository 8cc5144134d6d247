"""What becomes of flow runs that came due while no worker took them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.policy import MissedPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.backends.prefect.records import FlowRunRecord
    from mahavishnu_sched_mcp.domain.policy import Policies

MOST_CATCH_UPS = 100


def to_skip(
    waiting: Sequence[FlowRunRecord], *, policies: Policies, now: datetime, grace: timedelta
) -> list[FlowRunRecord]:
    """Choose the overdue runs of one job that must not start any more.

    A run someone asked for by hand is always kept, and so is one that is late by less than
    the grace. Prefect itself would start them all at once.

    Args:
        waiting: The job's flow runs that wait for a worker.
        policies: The job's.
        now: The instant to be late at.
        grace: How late a run may be and still start as if in time.
    """
    overdue = sorted(
        (run for run in waiting if run.run_id is None and run.expected_start < now - grace),
        key=lambda run: run.expected_start,
    )
    match policies.missed_policy:
        case MissedPolicy.SKIP:
            kept: list[FlowRunRecord] = []
        case MissedPolicy.RUN_ONCE:
            kept = overdue[-1:]
        case MissedPolicy.RUN_ALL:
            window = now - timedelta(seconds=policies.catchup_window_seconds)
            kept = [run for run in overdue if run.expected_start >= window][-MOST_CATCH_UPS:]
    return [run for run in overdue if run not in kept]
