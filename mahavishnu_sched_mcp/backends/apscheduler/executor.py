"""An APScheduler executor that runs nothing: it gathers what is due in a pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from apscheduler.executors.base import BaseExecutor

from mahavishnu_sched_mcp.backends.protocol import Fire, due_order

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.backends.apscheduler.trigger import ArmedTrigger


class GatheringExecutor(BaseExecutor):  # type: ignore[misc]  # APScheduler ships no types
    """Turns due jobs into fires and hands those of one pass over in one call.

    Runs are started by the listener, after their claim is committed. Overlap is the listener's
    rule, too, so APScheduler's own count of instances is freed at once.
    """

    def __init__(self, deliver: Callable[[Sequence[Fire]], None]) -> None:
        """Keep whom to deliver to."""
        super().__init__()
        self._deliver = deliver
        self._due: list[Fire] = []

    def hand_over(self) -> None:
        """Deliver the fires gathered since the last call, in the order of their times."""
        if not self._due:
            return
        fires, self._due = sorted(self._due, key=due_order), []
        self._deliver(fires)

    def submit_job(self, job: Any, run_times: list[datetime]) -> None:
        """Gather a due job; no limit of instances applies here."""
        self._do_submit_job(job, run_times)

    def submit_last(self, job: Any, due: datetime) -> None:
        """Gather a due job whose following fire cannot be told: the listener decides on it."""
        serial, revision, _ = job.args
        fire = Fire(serial=serial, revision=revision, scheduled_for=due, next_run_at=None)
        self._due.append(fire)

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        self._due += [job.func(*job.args, scheduled_for=due) for due in run_times]


def make_fire(
    serial: int, revision: int, trigger: ArmedTrigger, scheduled_for: datetime | None = None
) -> Fire:
    """Say that a job is due: the function of every APScheduler job of ours.

    Args:
        serial: The job's generation.
        revision: The job's revision when it was armed.
        trigger: Knows the fire after this one.
        scheduled_for: The armed time; only the executor calls this, and always gives it.
    """
    if scheduled_for is None:
        message = "an alarm job is run by the gathering executor only"
        raise TypeError(message)
    return Fire(
        serial=serial,
        revision=revision,
        scheduled_for=scheduled_for,
        next_run_at=trigger.following(scheduled_for),
    )


# APScheduler checks the arguments against the signature at each arming: read it once
make_fire.__signature__ = inspect.signature(make_fire)  # type: ignore[attr-defined]  # PEP 362
