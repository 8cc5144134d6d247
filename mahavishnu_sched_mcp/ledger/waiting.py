"""Which pending runs may start: those whose time has come and whose job has a place for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.run import Cause
from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import from_micros, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    import apsw

# Which other runs of the job have a place: those that go on or are with their engine, and for one
# that has not begun also those that wait for their next attempt, unless the pause holds them.
# "state in (...)" in these very words, so that the index `run_open` serves.
_OTHERS = """
       select count(*) from run as other
        where other.job_serial = run.job_serial and other.state in ('pending', 'running')
          and other.run_id <> run.run_id
          and (other.state = 'running'
               or exists (select 1 from outbox where outbox.run_id = other.run_id)
               or (other.attempts > 0 and run.attempts = 0
                   and (job.state <> 'paused' or other.cause in ('manual', 'replay'))))
"""
_SELECT = f"""
select run.run_id, run.job_serial, run.cause, run.attempts, job.backend,
       ({_OTHERS}) as busy,
       ({_OTHERS} and other.cause = 'catch_up') as catching_up,
       case when not json_valid(job.definition) then 0  -- damaged: nothing of it starts
            when json_extract(job.definition, '$.policies.overlap_policy') = 'allow'
            then :together else 1 end as places
  from run join job on job.serial = run.job_serial
 where run.state = 'pending' and run.cancel_requested = 0
   and (run.available_at is null or run.available_at <= :now)
   and job.backend <> 'prefect' and job.state not in ('cancelled', 'quarantined')
   and (:has_slots or job.backend <> 'apscheduler')
   and (job.state <> 'paused' or run.cause in ('manual', 'replay'))  -- as in is_held
   and not exists (select 1 from outbox where outbox.run_id = run.run_id)
   and busy < places and (run.cause <> 'catch_up' or catching_up = 0)
"""  # noqa: S608 - a constant


class Waiting(NamedTuple):
    """A pending run that may start.

    Attributes:
        has_begun: It was attempted before, so those that have not begun leave it its place.
        busy: How many other runs of its job have a place.
        places: How many may have one at once.
    """

    run_id: str
    job_serial: int
    cause: Cause
    backend: Backend
    has_begun: bool
    busy: int
    places: int


def startable(
    db: apsw.Connection,
    *,
    now: datetime,
    together: int,
    has_slots: bool,
    limit: int,
    job_serial: int | None = None,
) -> list[Waiting]:
    """Give pending runs that may start now, in their order; each as if it were the only one.

    Args:
        together: How many runs of one job may go on at once under `allow`.
        has_slots: Whether this process can run any itself; else those of queues only.
        job_serial: Only those of one job.
    """
    only = "" if job_serial is None else " and run.job_serial = :job_serial"
    rows = query(
        db,
        f"{_SELECT}{only} order by run.scheduled_for, run.seq limit :limit",
        {
            "now": to_micros(now),
            "together": together,
            "has_slots": has_slots,
            "limit": limit,
            "job_serial": job_serial,
        },
    )
    return [
        Waiting(
            run_id=row["run_id"],
            job_serial=row["job_serial"],
            cause=Cause(row["cause"]),
            backend=Backend(row["backend"]),
            has_begun=row["attempts"] > 0,
            busy=row["busy"],
            places=row["places"],
        )
        for row in rows
    ]


def is_held(db: apsw.Connection, run_id: str) -> bool:
    """Whether a run waits for its job to be resumed; one asked for by hand does not."""
    sql = """select count(*) from run join job on job.serial = run.job_serial
              where run.run_id = ? and job.state = 'paused'
                and run.cause not in ('manual', 'replay')"""
    return bool(scalar(db, sql, (run_id,)))


def next_available(db: apsw.Connection, *, after: datetime) -> datetime | None:
    """Give when the next retry is due that is not due yet; None where none waits."""
    found: int | None = scalar(
        db,
        """select min(available_at) from run
            where state = 'pending' and available_at > ?""",
        (to_micros(after),),
    )
    return from_micros(found)


def bring_forward(db: apsw.Connection, *, seconds: float) -> None:
    """Move every wait by so much: the wall clock was set back, and waits are durations."""
    by = round(seconds * 1e6)
    db.execute(
        "update run set available_at = available_at - ? where state = 'pending'"
        " and available_at is not null",
        (by,),
    )
    db.execute("update outbox set next_try_at = next_try_at - ? where sent_at is null", (by,))


def wake_by(db: apsw.Connection, run_id: str, at: datetime) -> None:
    """Let a run wait for its retry no longer than to an instant."""
    db.execute(
        "update run set available_at = min(available_at, ?) where run_id = ?",
        (to_micros(at), run_id),
    )


def hand_over_by(db: apsw.Connection, at: datetime) -> None:
    """Let nothing wait for its next hand-over longer than to an instant."""
    db.execute(
        "update outbox set next_try_at = min(next_try_at, ?) where sent_at is null",
        (to_micros(at),),
    )
