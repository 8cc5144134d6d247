"""What engines have to be handed, until they have given their receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.dispatch import Dispatch
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.ledger.damage import sound
from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import from_micros, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    import apsw


def put(db: apsw.Connection, work: Dispatch, *, backend: Backend, at: datetime) -> None:
    """Write down that an engine has to be handed a run; once per run."""
    db.execute(
        """insert into outbox (run_id, backend, work, created_at, next_try_at)
           values (?, ?, ?, ?, ?)
           on conflict do nothing""",
        (work.run_id, backend.value, work.model_dump_json(), to_micros(at), to_micros(at)),
    )


def due(db: apsw.Connection, *, now: datetime, limit: int = 100) -> list[tuple[Backend, Dispatch]]:
    """Give what waits to be handed over, oldest first; a damaged row keeps no other back.

    Of paused jobs only what someone asked for by hand.
    """
    rows = query(
        db,
        """select outbox.backend, work from outbox
             join run on run.run_id = outbox.run_id join job on job.serial = run.job_serial
            where sent_at is null and next_try_at <= ?
              and (job.state <> 'paused' or run.cause in ('manual', 'replay'))
            order by outbox.created_at, outbox.run_id limit ?""",
        (to_micros(now), limit),
    )
    return sound(
        lambda row: (Backend(row["backend"]), Dispatch.model_validate_json(row["work"])), rows
    )


def waiting(db: apsw.Connection) -> dict[str, int]:
    """Count what waits, by engine."""
    rows = query(
        db, "select backend, count(*) as n from outbox where sent_at is null group by backend"
    )
    return {row["backend"]: row["n"] for row in rows}


def next_try(db: apsw.Connection) -> datetime | None:
    """Give when the next waiting row may be tried; None when nothing waits."""
    found: int | None = scalar(db, "select min(next_try_at) from outbox where sent_at is null")
    return from_micros(found)


def mark_sent(db: apsw.Connection, run_id: str, *, at: datetime) -> None:
    """The engine has it."""
    db.execute(
        "update outbox set sent_at = ?, last_error = null where run_id = ?", (to_micros(at), run_id)
    )


def mark_failed(db: apsw.Connection, run_id: str, *, error: str, next_try_at: datetime) -> None:
    """The engine does not have it; try again later with the same run."""
    db.execute(
        "update outbox set tries = tries + 1, last_error = ?, next_try_at = ? where run_id = ?",
        (error, to_micros(next_try_at), run_id),
    )


def drop(db: apsw.Connection, run_id: str) -> None:
    """Forget a row: the run's result is recorded."""
    db.execute("delete from outbox where run_id = ?", (run_id,))


def withdraw(db: apsw.Connection, job_serial: int) -> None:
    """Take back what waits to be handed over of a job, but for what was asked for by hand."""
    db.execute(
        """delete from outbox where sent_at is null and run_id in
                  (select run_id from run where job_serial = ? and state = 'pending'
                      and cause not in ('manual', 'replay'))""",
        (job_serial,),
    )


def has(db: apsw.Connection, run_id: str) -> bool:
    """Whether an engine has a run or is to be handed it."""
    return bool(scalar(db, "select exists (select 1 from outbox where run_id = ?)", (run_id,)))


def tries(db: apsw.Connection, run_id: str) -> int:
    """Count the failed hand-overs of a run."""
    found = scalar(db, "select tries from outbox where run_id = ?", (run_id,))
    return int(found or 0)
