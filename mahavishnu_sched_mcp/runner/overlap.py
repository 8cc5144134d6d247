"""What becomes of a fire while runs of its job are not over: the five overlap policies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.policy import OverlapPolicy
from mahavishnu_sched_mcp.domain.run import Cause, RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.domain.run import Run


class Verdict(Enum):
    """What becomes of a fire.

    START: it takes its place among the job's runs, at once or as soon as one is free.
    SKIP: it is recorded `skipped(overlap)`.
    DROP: it is recorded `missed(queue_full)`.
    REPLACE: it starts when the unfinished runs, which are cancelled, have ended.
    """

    START = "start"
    SKIP = "skip"
    DROP = "drop"
    REPLACE = "replace"


@dataclass(frozen=True)
class Bounds:
    """The operator's limits.

    Attributes:
        together: `limits.max_overlap`: runs of one job at once under `allow`.
        queued: `limits.max_queued_per_job`: waiting fires of one job under `queue_all`.
    """

    together: int
    queued: int


def judge(policy: OverlapPolicy, unfinished: Sequence[Run], *, bounds: Bounds) -> Verdict:
    """Decide about one fire.

    Runs that someone asked for by hand, and missed fires that are made up for, keep a place busy
    but take none of the waiting ones: those are for fires.

    Args:
        unfinished: All unfinished runs of the job, in the order in which they start.
    """
    if not unfinished:
        return Verdict.START
    fresh = sum(_is_fresh(run) for run in unfinished)
    has_begun = any(run.state is RunState.RUNNING or run.attempts for run in unfinished)
    is_first_in_line = not has_begun and _is_fresh(unfinished[0])  # waits for a slot only
    queued = fresh - is_first_in_line
    match policy:
        case OverlapPolicy.SKIP:
            return Verdict.SKIP
        case OverlapPolicy.QUEUE_ONE:
            return Verdict.SKIP if queued > 0 else Verdict.START
        case OverlapPolicy.QUEUE_ALL:
            return Verdict.DROP if queued >= bounds.queued else Verdict.START
        case OverlapPolicy.CANCEL_PREVIOUS:
            return Verdict.REPLACE
        case OverlapPolicy.ALLOW:
            return Verdict.START if len(unfinished) < bounds.together else Verdict.SKIP


def _is_fresh(run: Run) -> bool:
    """Whether it is a fire that has not started yet."""
    return run.state is RunState.PENDING and not run.attempts and run.cause is Cause.SCHEDULE
