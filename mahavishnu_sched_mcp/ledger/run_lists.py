"""Lists of runs: the unfinished ones, pages of all, counts. In the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.runs import OPEN, complete

if TYPE_CHECKING:
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.domain.run import Run, RunState


def open_of(db: apsw.Connection, job_serial: int) -> list[Run]:
    """Give the unfinished runs of a job, oldest first."""
    rows = query(
        db,
        f"select * from run where job_serial = ? and {OPEN} order by scheduled_for, seq",  # noqa: S608 - a constant
        (job_serial,),
    )
    return [complete(db, row) for row in rows]


def has_open(db: apsw.Connection, job_serial: int) -> bool:
    """Whether a job has an unfinished run."""
    sql = f"select exists (select 1 from run where job_serial = ? and {OPEN})"  # noqa: S608 - a constant
    return bool(scalar(db, sql, (job_serial,)))


def all_open(db: apsw.Connection, *, state: RunState | None = None) -> list[Run]:
    """Give all unfinished runs, or those in one open state, oldest first."""
    where = OPEN if state is None else f"{OPEN} and state = '{state.value}'"
    rows = query(db, f"select * from run where {where} order by scheduled_for, seq")  # noqa: S608 - enum
    return [complete(db, row) for row in rows]


def cancel_requested(db: apsw.Connection) -> list[str]:
    """Give the ids of unfinished runs that someone asked to stop."""
    rows = query(db, f"select run_id from run where {OPEN} and cancel_requested = 1")  # noqa: S608 - a constant
    return [row["run_id"] for row in rows]


def select(
    db: apsw.Connection,
    *,
    job_id: str | None,
    state: RunState | None,
    since: datetime | None,
    until: datetime | None,
    include_system: bool,
    before: tuple[int, int] | None,
    limit: int,
) -> tuple[list[Run], int, tuple[int, int] | None]:
    """Give a page of runs, the newest `scheduled_for` first, and how many there are in all.

    Args:
        before: Where the previous page ended: (scheduled_for, seq) of its last row.

    Returns:
        The runs, the total, and where this page ended (None on the last page).
    """
    parts, values = ["1"], list[Any]()
    for part, value in (
        ("job_id = ?", job_id),
        ("state = ?", None if state is None else state.value),
        ("coalesce(last_scheduled_for, scheduled_for) >= ?", to_micros(since)),
        ("scheduled_for <= ?", to_micros(until)),
    ):
        if value is not None:
            parts.append(part)
            values.append(value)
    if job_id is None and not include_system:
        parts.append("job_serial not in (select serial from job where origin = 'system')")
    where = " and ".join(parts)
    total = int(scalar(db, f"select count(*) from run where {where}", values))  # noqa: S608 - parts above
    if before is not None:
        where += " and (scheduled_for, seq) < (?, ?)"
        values += before
    rows = query(
        db,
        f"select * from run where {where} order by scheduled_for desc, seq desc limit ?",  # noqa: S608 - parts above
        (*values, limit + 1),
    )
    shown = rows[:limit]
    end = (shown[-1]["scheduled_for"], shown[-1]["seq"]) if len(rows) > limit else None
    return [complete(db, row) for row in shown], total, end


def count_since(db: apsw.Connection, since: datetime) -> dict[str, int]:
    """Count the fires by state whose runs ended or wait since an instant."""
    rows = query(
        db,
        f"""select state, sum(fires) as n from
                  (select state, fires from run where finished_at >= ?
                   union all select state, fires from run where {OPEN}) group by state""",  # noqa: S608 - a constant
        (to_micros(since),),
    )
    return {row["state"]: row["n"] for row in rows}
