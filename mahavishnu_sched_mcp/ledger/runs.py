"""Runs and their attempts in the ledger. Every function works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.run import NodeRun, Outcome, Run, RunState
from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import from_micros, to_micros
from mahavishnu_sched_mcp.ledger.rows import dump_json, run_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.ledger.database import Row

OPEN = "state in ('pending', 'running')"


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


def newest_fire(db: apsw.Connection, job_serial: int) -> datetime | None:
    """Give the latest instant for which a job has, or had before retention, a fire's record."""
    found: int | None = scalar(
        db,
        """select max(coalesce((select max(coalesce(last_scheduled_for, scheduled_for)) from run
                                 where job_serial = job.serial
                                   and cause in ('schedule', 'catch_up')), swept_until),
                      coalesce(swept_until, 0))
             from job where serial = ?""",
        (job_serial,),
    )
    return from_micros(found)


def keep_definition(db: apsw.Connection, job: Job) -> None:
    """Let the unfinished runs of a job that changes stay what they were asked for as."""
    db.execute(
        f"update run set definition = ? where job_serial = ? and definition is null and {OPEN}",  # noqa: S608 - a constant
        (job.definition.model_dump_json(), job.serial),
    )


def accounted_until(db: apsw.Connection, job_serial: int, fire: datetime) -> datetime:
    """Give how far the record reaches that a fire has already, or had before retention."""
    found: int = scalar(
        db,
        """select coalesce(
                  (select coalesce(last_scheduled_for, scheduled_for) from run
                    where job_serial = :job_serial and scheduled_for = :fire
                      and cause in ('schedule', 'catch_up')),
                  (select swept_until from job where serial = :job_serial))""",
        {"job_serial": job_serial, "fire": to_micros(fire)},
    )
    return from_micros(found)


def begin_attempt(
    db: apsw.Connection, run_id: str, *, at: datetime, worker: str, term: int
) -> Run | None:
    """Start the next attempt of a pending run; None where it may not start (any more)."""
    rows = query(
        db,
        """update run set state = 'running', reason = null, attempts = attempts + 1,
                  worker = :worker, started_at = coalesce(started_at, :at), available_at = null,
                  output = '', output_bytes = 0, output_truncated = 0,
                  error_type = null, error_message = null
            where run_id = :run_id and state = 'pending' and cancel_requested = 0
              and coalesce(available_at, :at) <= :at
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
    _update_open(
        db,
        run_id,
        _seen(outcome) | {"state": state.value, "reason": outcome.reason, "finished_at": at},
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


def wait_for_retry(db: apsw.Connection, run_id: str, outcome: Outcome, *, until: datetime) -> None:
    """Let a failed run wait for its next attempt, with what the last one left to see."""
    _update_open(
        db, run_id, _seen(outcome) | {"state": "pending", "reason": "retry", "available_at": until}
    )


def request_cancel(db: apsw.Connection, run_id: str, *, reason: str) -> None:
    """Ask whoever runs it to stop; the first reason stands."""
    db.execute(
        f"""update run set cancel_requested = 1, reason = ?
            where run_id = ? and cancel_requested = 0 and {OPEN}""",  # noqa: S608 - a constant
        (reason, run_id),
    )


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
    return complete(db, rows[0]) if rows else None


def require(db: apsw.Connection, run_id: str) -> Run:
    """Give one run that is known to exist."""
    run = get(db, run_id)
    assert run is not None, run_id  # noqa: S101 - the caller has just seen it
    return run


def _seen(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "output": outcome.output.text,
        "output_bytes": outcome.output.bytes,
        "output_truncated": int(outcome.output.truncated),
        "error_type": error.type if error else None,
        "error_message": error.message if error else None,
    }


def _update_open(db: apsw.Connection, run_id: str, columns: dict[str, Any]) -> None:
    values = {
        name: to_micros(value) if isinstance(value, datetime) else value
        for name, value in columns.items()
    }
    settings = ", ".join(f"{name} = :{name}" for name in values)
    db.execute(
        f"update run set {settings} where run_id = :run_id and {OPEN}",  # noqa: S608 - our column names
        {**values, "run_id": run_id},
    )


def complete(db: apsw.Connection, row: Row) -> Run:
    """Build a run from its row, with its attempts and nodes."""
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
