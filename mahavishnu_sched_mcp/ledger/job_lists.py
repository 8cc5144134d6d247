"""Lists of jobs: by state, by tag, by what changed, by what troubles them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.jobs import SELECT, UNFINISHED
from mahavishnu_sched_mcp.ledger.rows import job_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.domain.engine import Backend
    from mahavishnu_sched_mcp.domain.job import Job, JobState

_NOT_OVER = "job.state not in ('completed', 'cancelled')"
"""In these words, so that the index `job_counted` serves."""


_TAGS = "case when json_valid(job.tags) then job.tags else '[]' end"
"""One damaged row must not fail the list of all others."""


def changed_since(db: apsw.Connection, change: int) -> tuple[list[Job], int]:
    """Give the jobs that changed after a change number, and the newest number."""
    newest = newest_change(db)
    if newest == change:
        return [], newest
    rows = query(db, f"{SELECT} where job.change > ? order by job.change", (change,))
    return [job_of(row) for row in rows], newest


def newest_change(db: apsw.Connection) -> int:
    """Give the number of the newest change of any job."""
    return int(scalar(db, "select coalesce(max(change), 0) from job"))


def unfinished(db: apsw.Connection, *, backend: Backend | None = None) -> list[Job]:
    """Give all jobs that are not over, oldest first."""
    where, values = _filter(backend=backend, state=None, tag=None, include_system=True)
    return [job_of(row) for row in query(db, f"{SELECT} where {where} order by job.serial", values)]


def count_unfinished(db: apsw.Connection) -> int:
    """Count the jobs that are not over, without the system's own."""
    return int(scalar(db, f"select count(*) from job where {_NOT_OVER} and origin <> 'system'"))  # noqa: S608 - a constant


def pauses_over(db: apsw.Connection, *, now: datetime) -> list[Job]:
    """Give the paused jobs whose pause has run out."""
    rows = query(
        db, f"{SELECT} where job.state = 'paused' and job.paused_until <= ?", (to_micros(now),)
    )
    return [job_of(row) for row in rows]


def troubled(db: apsw.Connection, *, since: datetime, limit: int) -> list[Job]:
    """Give the jobs that someone should look at, the newest first.

    Those whose last run ended badly (of jobs that are over: since an instant), those that
    wait for their engine with a note, and those in quarantine.
    """
    marks = ", ".join("?" for _ in UNFINISHED)
    rows = query(
        db,
        f"""{SELECT} where (last.state in ('failed', 'timed_out', 'dead', 'interrupted', 'missed')
                  and (job.state in ({marks}) or last.finished_at >= ?))
               or (job.state = 'pending' and job.note <> '')
               or job.state = 'quarantined'
             order by job.serial desc limit ?""",
        (*UNFINISHED, to_micros(since), limit),
    )
    return [job_of(row) for row in rows]


def unapplied(db: apsw.Connection, *, backend: Backend) -> list[Job]:
    """Give the jobs that are over and of whose end the engine has not heard."""
    rows = query(
        db,
        f"""{SELECT} where job.backend = ? and job.state in ('completed', 'cancelled')
              and job.applied_revision < job.revision""",
        (backend.value,),
    )
    return [job_of(row) for row in rows]


def select(
    db: apsw.Connection,
    *,
    backend: Backend | None,
    state: JobState | None,
    tag: str | None,
    include_system: bool,
    after_serial: int,
    limit: int,
) -> tuple[list[Job], int]:
    """Give a page of jobs, oldest first, and how many the filter has in all.

    Args:
        state: None leaves out completed and cancelled jobs.
        after_serial: Only jobs made after this one; 0 starts at the first.
    """
    where, values = _filter(backend=backend, state=state, tag=tag, include_system=include_system)
    total = int(scalar(db, f"select count(*) from job where {where}", values))  # noqa: S608 - from _filter
    rows = query(
        db,
        f"{SELECT} where {where} and job.serial > ? order by job.serial limit ?",
        (*values, after_serial, limit),
    )
    return [job_of(row) for row in rows], total


def count_by_state(db: apsw.Connection) -> dict[str, int]:
    """Count the jobs in each state, without the system's own."""
    rows = query(db, "select state, count(*) as n from job where origin <> 'system' group by state")
    return {row["state"]: row["n"] for row in rows}


def _filter(
    *, backend: Backend | None, state: JobState | None, tag: str | None, include_system: bool
) -> tuple[str, tuple[Any, ...]]:
    parts: list[tuple[str, Sequence[Any]]] = []
    parts.append((_NOT_OVER, []) if state is None else ("job.state = ?", [state.value]))
    if backend is not None:
        parts.append(("job.backend = ?", [backend.value]))
    if tag is not None:
        parts.append((f"exists (select 1 from json_each({_TAGS}) where value = ?)", [tag]))  # noqa: S608 - a constant
    if not include_system:
        parts.append(("job.origin <> 'system'", []))
    where = " and ".join(part for part, _ in parts)
    return where, tuple(value for _, given in parts for value in given)
