"""Jobs whose next fire was computed under rules of a time zone that have changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.ledger import job_lists, jobs, runs

if TYPE_CHECKING:
    from datetime import datetime

    import apsw

_ZONED = {"cron", "rrule"}

_log = structlog.get_logger()


def follow_zone_rules(db: apsw.Connection, *, now: datetime) -> int:
    """Compute the fires to come anew where the rules changed; give how many jobs moved.

    A fire that is due stays: it was right when it was computed. Recorded fires stay, and none
    is asked for again that is not later than the newest of them.
    """
    moved = 0
    for job in job_lists.unfinished(db):
        fire = _revised(db, job, now=now)
        if fire is not None and fire != job.next_run_at:
            jobs.advance(db, job.serial, next_run_at=fire, fired=0)
            _log.info("zone_rules_changed", job_id=job.job_id, next_run_at=fire.isoformat())
            moved += 1
    return moved


def _revised(db: apsw.Connection, job: Job, *, now: datetime) -> datetime | None:
    """Give a job's next fire by the rules of today; None where no rules decide on it."""
    trigger, armed = job.trigger, job.next_run_at
    is_ours = job.state is JobState.ACTIVE and job.backend is not Backend.PREFECT
    if not is_ours or trigger is None or armed is None or trigger.type not in _ZONED:
        return None
    if trigger.revised(armed, after=now) == armed:
        return armed
    newest = runs.newest_fire(db, job.serial)
    return trigger.revised(armed, after=now if newest is None else max(now, newest))
