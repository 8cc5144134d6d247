"""Rows of the ledger as domain values.

A row that cannot be read hides nothing: its job stands there in quarantine, its run says so.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from mahavishnu_sched_mcp.domain.job import Counts, Job, JobDefinition, JobState, LastRun, Origin
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import Attempt, Cause, NodeRun, Run, RunError, RunState
from mahavishnu_sched_mcp.domain.trigger import Trigger
from mahavishnu_sched_mcp.ledger.damage import (
    UNREADABLE,
    sound,
    stand_in_for_job,
    stand_in_for_run,
)
from mahavishnu_sched_mcp.ledger.instant import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mahavishnu_sched_mcp.ledger.database import Row

_TRIGGER: TypeAdapter[Trigger] = TypeAdapter(Trigger)


def dump_json(value: object) -> str:
    """Write JSON the way the ledger keeps it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def dump_trigger(trigger: Trigger | None) -> str | None:
    """Write a resolved trigger."""
    return None if trigger is None else _TRIGGER.dump_json(trigger).decode()


def load_trigger(stored: str | None) -> Trigger | None:
    """Read a resolved trigger."""
    return None if stored is None else _trigger_of(stored)


def job_of(row: Row) -> Job:
    """Build a job from its row, joined with its last run (`last_state`, `last_finished_at`).

    A damaged row becomes a quarantined job that keeps its id and can be cancelled.
    """
    try:
        return _job_of(row)
    except UNREADABLE as error:
        return stand_in_for_job(row, error)


def run_of(row: Row, attempts: Iterable[Row] = (), nodes: Iterable[Row] = ()) -> Run:
    """Build a run from its row and the rows of its attempts and nodes.

    Of a damaged row what can be read is kept, and the reason says so.
    """
    attempts, nodes = list(attempts), list(nodes)
    try:
        return _run_of(row, attempts, nodes)
    except UNREADABLE:
        return stand_in_for_run(row, sound(_attempt_of, attempts), sound(_node_of, nodes))


def _job_of(row: Row) -> Job:
    last = None
    if row["last_run_id"] is not None and row.get("last_state") is not None:
        last = LastRun(
            run_id=row["last_run_id"],
            state=RunState(row["last_state"]),
            finished_at=from_micros(row["last_finished_at"]),
        )
    return Job(
        serial=row["serial"],
        job_id=row["job_id"],
        generation=row["generation"],
        revision=row["revision"],
        applied_revision=row["applied_revision"],
        definition=JobDefinition.model_validate_json(row["definition"]),
        name=row["name"],
        state=JobState(row["state"]),
        trigger=load_trigger(row["trigger"]),
        next_run_at=from_micros(row["next_run_at"]),
        created_at=from_micros(row["created_at"]),
        created_by=row["created_by"],
        origin=Origin(row["origin"]),
        tags=tuple(json.loads(row["tags"])),
        note=row["note"],
        fired=row["fired"],
        counts=Counts(**{name: row[name] for name in Counts.model_fields}),
        last_run=last,
        reference=json.loads(row["reference"]),
        paused_until=from_micros(row["paused_until"]),
    )


def _run_of(row: Row, attempts: Iterable[Row], nodes: Iterable[Row]) -> Run:
    error = None
    if row["error_type"] is not None:
        error = RunError(type=row["error_type"], message=row["error_message"] or "")
    return Run(
        run_id=row["run_id"],
        job_id=row["job_id"],
        job_serial=row["job_serial"],
        scheduled_for=from_micros(row["scheduled_for"]),
        cause=Cause(row["cause"]),
        state=RunState(row["state"]),
        reason=row["reason"],
        started_at=from_micros(row["started_at"]),
        finished_at=from_micros(row["finished_at"]),
        fires=row["fires"],
        last_scheduled_for=from_micros(row["last_scheduled_for"]),
        attempts=tuple(map(_attempt_of, attempts)),
        nodes=tuple(map(_node_of, nodes)),
        worker=row["worker"],
        output=Output(
            text=row["output"], bytes=row["output_bytes"], truncated=bool(row["output_truncated"])
        ),
        error=error,
        replay_of=row["replay_of"],
        reference=json.loads(row["reference"]),
        cancel_requested=bool(row["cancel_requested"]),
    )


@lru_cache(maxsize=4096)
def _trigger_of(stored: str) -> Trigger:
    # A trigger is read with every job and every fire, and holds nothing that can change.
    return _TRIGGER.validate_json(stored)


def _attempt_of(row: Row) -> Attempt:
    return Attempt(
        number=row["number"],
        started_at=from_micros(row["started_at"]),
        finished_at=from_micros(row["finished_at"]),
        outcome=None if row["outcome"] is None else RunState(row["outcome"]),
    )


def _node_of(row: Row) -> NodeRun:
    return NodeRun(
        node=row["node"],
        state=RunState(row["state"]),
        started_at=from_micros(row["started_at"]),
        finished_at=from_micros(row["finished_at"]),
        attempts=row["attempts"],
        reason=row["reason"],
    )
