"""Runs and their attempts in the ledger. Every function works in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.run import NodeRun, Outcome, Run, RunState
from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.rows import dump_json, run_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.ledger.database import Row

_OPEN = "state in ('pending', 'running')"


def insert(db: apsw.Connection, run: Run, *, at: datetime) -> bool:
    """Write a new run; False where this fire has its record already, which then stays."""
    before = db.total_changes()
    db.execute(
        """insert into run (run_id, job_serial, job_id, scheduled_for, cause, state, reason,
                  created_at, started_at, finished_at, fires, last_scheduled_for, replay_of,
                  reference)
           values (:run_id, :job_serial, :job_id, :scheduled_for, :cause, :state, :reason,
                  :created_at, :started_at, :finished_at, :fires, :last_scheduled_for, :replay_of,
                  :reference)
           on conflict do nothing""",
        {
            "run_id": run.run_id,
            "job_serial": run.job_serial,
            "job_id": run.job_id,
            "scheduled_for": to_micros(run.scheduled_for),
            "cause": run.cause.value,
            "state": run.state.value,
            "reason": run.reason,
            "created_at": to_micros(at),
            "started_at": to_micros(run.started_at),
            "finished_at": to_micros(run.finished_at),
            "fires": run.fires,
            "last_scheduled_for": to_micros(run.last_scheduled_for),
            "replay_of": run.replay_of,
            "reference": dump_json(run.reference),
        },
    )
    return db.total_changes() > before


def begin_attempt(
    db: apsw.Connection, run_id: str, *, at: datetime, worker: str, term: int
) -> Run | None:
    """Start the next attempt of a pending run; None where it is not pending any more."""
    rows = query(
        db,
        """update run set state = 'running', reason = null, attempts = attempts + 1,
                  worker = :worker, started_at = coalesce(started_at, :at)
            where run_id = :run_id and state = 'pending' and cancel_requested = 0
           returning attempts""",
        {"run_id": run_id, "at": to_micros(at), "worker": worker},
    )
    if not rows:
        return None
    # What the attempt before recorded of its nodes is no word on this one.
    db.execute("delete from node where run_id = ?", (run_id,))
    db.execute(
        "insert into attempt (run_id, number, term, started_at, worker) values (?, ?, ?, ?, ?)",
        (run_id, rows[0]["attempts"], term, to_micros(at), worker),
    )
    return get(db, run_id)


def end_attempt(db: apsw.Connection, run_id: str, *, outcome: RunState, at: datetime) -> None:
    """Close the open attempt of a run."""
    db.execute(
        """update attempt set finished_at = ?, outcome = ?
            where run_id = ? and finished_at is null""",
        (to_micros(at), outcome.value, run_id),
    )


def end(
    db: apsw.Connection, run_id: str, *, state: RunState, outcome: Outcome, at: datetime
) -> None:
    """Write the final state of a run; one that is final already stays as it is."""
    error = outcome.error
    db.execute(
        f"""update run set state = :state, reason = :reason, finished_at = :at, output = :output,
                  output_bytes = :bytes, output_truncated = :truncated,
                  error_type = :error_type, error_message = :error_message
            where run_id = :run_id and {_OPEN}""",  # noqa: S608 - a constant
        {
            "run_id": run_id,
            "state": state.value,
            "reason": outcome.reason,
            "at": to_micros(at),
            "output": outcome.output.text,
            "bytes": outcome.output.bytes,
            "truncated": int(outcome.output.truncated),
            "error_type": error.type if error else None,
            "error_message": error.message if error else None,
        },
    )


def return_to_pending(db: apsw.Connection, run_id: str, *, reason: str) -> int:
    """Let an interrupted run wait for another attempt; gives its interruptions so far."""
    rows = query(
        db,
        """update run set state = 'pending', reason = ?, interruptions = interruptions + 1
            where run_id = ? and state = 'running' returning interruptions""",
        (reason, run_id),
    )
    return int(rows[0]["interruptions"]) if rows else 0


def request_cancel(db: apsw.Connection, run_id: str) -> None:
    """Ask whoever runs it to stop."""
    db.execute("update run set cancel_requested = 1 where run_id = ?", (run_id,))


def refer(db: apsw.Connection, run_id: str, reference: dict[str, Any]) -> None:
    """Add an engine's own ids to a run."""
    db.execute(
        "update run set reference = json_patch(reference, ?) where run_id = ?",
        (dump_json(reference), run_id),
    )


def record_node(db: apsw.Connection, run_id: str, node: NodeRun) -> None:
    """Write how a node of a run is, in place of what was known of it."""
    db.execute(
        """insert into node
                  (run_id, node, position, state, started_at, finished_at, attempts, reason)
           values (:run_id, :node, (select count(*) from node where run_id = :run_id), :state,
                  :started_at, :finished_at, :attempts, :reason)
           on conflict do update set state = :state, started_at = :started_at,
                  finished_at = :finished_at, attempts = :attempts, reason = :reason""",
        {
            "run_id": run_id,
            "node": node.node,
            "state": node.state.value,
            "started_at": to_micros(node.started_at),
            "finished_at": to_micros(node.finished_at),
            "attempts": node.attempts,
            "reason": node.reason,
        },
    )


def close_nodes(db: apsw.Connection, run_id: str, *, state: RunState, at: datetime) -> None:
    """End the nodes that went on when their run was stopped."""
    db.execute(
        "update node set state = ?, finished_at = ? where run_id = ? and state = 'running'",
        (state.value, to_micros(at), run_id),
    )


def get(db: apsw.Connection, run_id: str) -> Run | None:
    """Give one run with its attempts and nodes."""
    rows = query(db, "select * from run where run_id = ?", (run_id,))
    return _complete(db, rows[0]) if rows else None


def require(db: apsw.Connection, run_id: str) -> Run:
    """Give one run that is known to exist."""
    run = get(db, run_id)
    assert run is not None, run_id  # noqa: S101 - the caller has just seen it
    return run


def open_of(db: apsw.Connection, job_serial: int) -> list[Run]:
    """Give the unfinished runs of a job, oldest first."""
    rows = query(
        db,
        f"select * from run where job_serial = ? and {_OPEN} order by scheduled_for, seq",  # noqa: S608 - a constant
        (job_serial,),
    )
    return [_complete(db, row) for row in rows]


def has_open(db: apsw.Connection, job_serial: int) -> bool:
    """Whether a job has an unfinished run."""
    sql = f"select exists (select 1 from run where job_serial = ? and {_OPEN})"  # noqa: S608 - a constant
    return bool(scalar(db, sql, (job_serial,)))


def all_open(db: apsw.Connection, *, state: RunState | None = None) -> list[Run]:
    """Give all unfinished runs, or those in one open state, oldest first."""
    where = _OPEN if state is None else f"{_OPEN} and state = '{state.value}'"
    rows = query(db, f"select * from run where {where} order by scheduled_for, seq")  # noqa: S608 - enum
    return [_complete(db, row) for row in rows]


def cancel_requested(db: apsw.Connection) -> list[str]:
    """Give the ids of unfinished runs that someone asked to stop."""
    rows = query(db, f"select run_id from run where {_OPEN} and cancel_requested = 1")  # noqa: S608 - a constant
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
    return [_complete(db, row) for row in shown], total, end


def count_since(db: apsw.Connection, since: datetime) -> dict[str, int]:
    """Count the fires by state whose runs ended or wait since an instant."""
    rows = query(
        db,
        f"""select state, sum(fires) as n from run
            where finished_at >= ? or {_OPEN} group by state""",  # noqa: S608 - a constant
        (to_micros(since),),
    )
    return {row["state"]: row["n"] for row in rows}


def _complete(db: apsw.Connection, row: Row) -> Run:
    attempts: Iterable[Row] = ()
    if row["attempts"]:
        attempts = query(
            db, "select * from attempt where run_id = ? order by number", (row["run_id"],)
        )
    nodes = query(
        db,
        "select * from node where run_id = ? order by started_at is null, started_at, position",
        (row["run_id"],),
    )
    return run_of(row, attempts, nodes)
