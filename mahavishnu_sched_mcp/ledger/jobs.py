"""Jobs in the ledger. Every function works inside the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.job import Counts, Job, JobDefinition, JobState
from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.rows import dump_json, dump_trigger, job_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.domain.run import Run, RunState
    from mahavishnu_sched_mcp.ledger.database import Row

SELECT = """
select job.*, last.state as last_state, last.finished_at as last_finished_at
  from job left join run as last on last.run_id = job.last_run_id
"""
_NEXT_CHANGE = "(select coalesce(max(change), 0) + 1 from job)"
UNFINISHED = ("pending", "pending_approval", "active", "paused", "quarantined")


def insert(db: apsw.Connection, job: Job, *, fingerprint: str) -> Job:
    """Write a new job; its serial and generation are given here."""
    given = query(
        db,
        f"""insert into job (job_id, generation, change, backend, target, state, name, definition,
                 fingerprint, trigger, next_run_at, created_at, created_by, origin, tags, note)
            values (:job_id,
                 1 + max((select coalesce(max(generation), 0) from job where job_id = :job_id),
                         (select generation from retired)),
                 {_NEXT_CHANGE}, :backend, :target, :state, :name, :definition, :fingerprint,
                 :trigger, :next_run_at, :created_at, :created_by, :origin, :tags, :note)
            returning serial, generation""",  # noqa: S608 - a constant
        {
            "job_id": job.job_id,
            "backend": job.backend.value,
            "target": job.definition.target,
            "state": job.state.value,
            "name": job.name,
            "definition": job.definition.model_dump_json(),
            "fingerprint": fingerprint,
            "trigger": dump_trigger(job.trigger),
            "next_run_at": to_micros(job.next_run_at),
            "created_at": to_micros(job.created_at),
            "created_by": job.created_by,
            "origin": job.origin.value,
            "tags": dump_json(list(job.tags)),
            "note": job.note,
        },
    )
    return job.model_copy(update=given[0])


def save(db: apsw.Connection, job: Job, *, fingerprint: str | None = None) -> Job:
    """Write a changed job under its serial with its revision counted up by one.

    Of a damaged job only its state is written, unless it gets a new definition: what its record
    holds may still help someone.

    Args:
        fingerprint: The new definition's, where that changed; None keeps the stored one.
    """
    if job.is_damaged and fingerprint is None:
        set_state(db, job.serial, job.state)
        return require(db, job.serial)
    _update(
        db,
        job.serial,
        {
            "revision": job.revision + 1,
            "state": job.state.value,
            "name": job.name,
            "definition": job.definition.model_dump_json(),
            "trigger": dump_trigger(job.trigger),
            "next_run_at": to_micros(job.next_run_at),
            "paused_until": to_micros(job.paused_until),
            "tags": dump_json(list(job.tags)),
            "note": job.note,
        }
        | ({} if fingerprint is None else {"fingerprint": fingerprint}),
    )
    return require(db, job.serial)


def set_paused_at(db: apsw.Connection, serial: int, at: datetime | None) -> None:
    """Remember since when a job is paused, or that it is not."""
    _update(db, serial, {"paused_at": to_micros(at)})


def advance(db: apsw.Connection, serial: int, *, next_run_at: datetime | None, fired: int) -> None:
    """Move a job to its next fire and count the fires that were taken."""
    db.execute(
        "update job set next_run_at = ?, fired = fired + ? where serial = ?",
        (to_micros(next_run_at), fired, serial),
    )


def set_state(
    db: apsw.Connection, serial: int, state: JobState, *, note: str | None = None
) -> None:
    """Move a job to another state."""
    columns: dict[str, Any] = {"state": state.value}
    if state.is_over:
        columns["next_run_at"] = None
    if note is not None:
        columns["note"] = note
    _update(db, serial, columns)


def record_receipt(
    db: apsw.Connection, serial: int, *, revision: int, reference: dict[str, Any]
) -> None:
    """Remember that the engine has this revision; a pending job becomes active."""
    db.execute(
        f"""update job set applied_revision = max(applied_revision, :revision),
                   reference = :reference, note = case when state = 'pending' then '' else note end,
                   state = case when state = 'pending' then 'active' else state end,
                   change = {_NEXT_CHANGE}
             where serial = :serial""",  # noqa: S608 - a constant
        {"serial": serial, "revision": revision, "reference": dump_json(reference)},
    )


def set_note(db: apsw.Connection, serial: int, note: str) -> None:
    """Leave a word with a job, without a new revision."""
    _update(db, serial, {"note": note})


def count_outcome(
    db: apsw.Connection, serial: int, *, state: RunState, fires: int, run_id: str | None
) -> None:
    """Add ended fires to a job's counts, and name its newest run."""
    column = Counts.model_fields.keys() & {state.value}
    if not column:
        return
    db.execute(
        f"""update job set {state.value} = {state.value} + ?,
                   last_run_id = coalesce(?, last_run_id) where serial = ?""",  # noqa: S608 - an enum's value
        (fires, run_id, serial),
    )


def complete_if_over(db: apsw.Connection, serial: int) -> None:
    """Complete an active job that has no next fire and no unfinished run."""
    db.execute(
        f"""update job set state = 'completed', revision = revision + 1, change = {_NEXT_CHANGE}
             where serial = :serial and state = 'active' and next_run_at is null
               and backend <> 'prefect'
               and not exists (select 1 from run where job_serial = :serial
                                  and state in ('pending', 'running'))""",  # noqa: S608 - a constant
        {"serial": serial},
    )


def find(db: apsw.Connection, job_id: str) -> Job | None:
    """Give the newest generation of a job id."""
    rows = query(
        db, f"{SELECT} where job.job_id = ? order by job.generation desc limit 1", (job_id,)
    )
    return _first(rows)


def get(db: apsw.Connection, serial: int) -> Job | None:
    """Give one generation by its serial."""
    return _first(query(db, f"{SELECT} where job.serial = ?", (serial,)))


def require(db: apsw.Connection, serial: int) -> Job:
    """Give one generation that is known to exist."""
    job = get(db, serial)
    assert job is not None, serial  # noqa: S101 - the caller has just seen it
    return job


def of_run(db: apsw.Connection, run: Run) -> Job:
    """Give the job of a run, defined as it was when the run was made."""
    job = require(db, run.job_serial)
    kept = scalar(db, "select definition from run where run_id = ?", (run.run_id,))
    if kept is None or job.is_damaged:
        return job
    return job.model_copy(update={"definition": JobDefinition.model_validate_json(kept)})


def fingerprint_of(db: apsw.Connection, serial: int) -> str:
    """Give the digest of what was asked for."""
    return str(scalar(db, "select fingerprint from job where serial = ?", (serial,)))


def paused_at(db: apsw.Connection, serial: int) -> int | None:
    """Give since when a job is paused, in microseconds."""
    found = scalar(db, "select paused_at from job where serial = ?", (serial,))
    return None if found is None else int(found)


def end_ephemeral(db: apsw.Connection) -> None:
    """Cancel the jobs that were held in memory only by a server that is gone."""
    marks = ", ".join("?" for _ in UNFINISHED)
    rows = query(
        db,
        f"""select serial from job where state in ({marks})
              and json_extract(case when json_valid(definition) then definition end,
                               '$.durable') = 0""",  # noqa: S608 - marks only
        UNFINISHED,
    )
    for row in rows:
        note = "ended with the server that held it (durable=false)"
        set_state(db, row["serial"], JobState.CANCELLED, note=note)


def _update(db: apsw.Connection, serial: int, columns: dict[str, Any]) -> None:
    settings = ", ".join(f"{name} = :{name}" for name in columns)
    db.execute(
        f"update job set {settings}, change = {_NEXT_CHANGE} where serial = :serial",  # noqa: S608 - our column names
        {**columns, "serial": serial},
    )


def _first(rows: Iterable[Row]) -> Job | None:
    for row in rows:
        return job_of(row)
    return None
