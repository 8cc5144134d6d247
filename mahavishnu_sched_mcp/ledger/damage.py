"""What stands in for a row that cannot be read, so that it hides no other and is not hidden."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Counts, Job, JobDefinition, JobKind, JobState, Origin
from mahavishnu_sched_mcp.domain.run import Attempt, Cause, NodeRun, Run, RunState
from mahavishnu_sched_mcp.ledger.instant import from_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from enum import StrEnum

    from mahavishnu_sched_mcp.ledger.database import Row

UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading a row of damaged content raises: no JSON, a wrong type, a word nobody knows."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TARGET = "?"
"""Nothing of the catalog has this name, so nothing can be run by mistake."""
_ENGINE_OF_KIND = {
    Backend.APSCHEDULER: JobKind.TASK,
    Backend.ONEIRIC: JobKind.WORKFLOW,
    Backend.PREFECT: JobKind.DEPLOYMENT,
}


def stand_in_for_job(row: Row, error: Exception) -> Job:
    """Make a quarantined job with the id of a damaged row; one that is over stays so.

    Args:
        error: What reading it raised.
    """
    state = _one_of(JobState, row["state"], JobState.QUARANTINED)
    serial = _number(row["serial"], 0)
    job_id = _text(row["job_id"], f"{Backend.APSCHEDULER}:damaged-{serial}")
    backend = _one_of(Backend, row["backend"], None) or _one_of(
        Backend, job_id.partition(":")[0], Backend.APSCHEDULER
    )
    return Job(
        serial=serial,
        job_id=job_id,
        generation=_number(row["generation"], 1),
        revision=_number(row["revision"], 1),
        applied_revision=_number(row["applied_revision"], 0),
        definition=JobDefinition(
            backend=backend,
            kind=_ENGINE_OF_KIND[backend],
            target=_NO_TARGET,
            trigger_requested=None,
        ),
        name=_text(row["name"], job_id),
        state=state if state.is_over else JobState.QUARANTINED,
        created_at=_instant(row["created_at"]) or _EPOCH,
        created_by=_text(row["created_by"], ""),
        origin=_one_of(Origin, row["origin"], Origin.AGENT),
        note=f"its record in the ledger is damaged ({type(error).__name__}) and nothing of it"
        " fires: cancel_job takes it away, then make it anew",
        fired=_number(row["fired"], 0),
        counts=Counts(**{name: _number(row[name], 0) for name in Counts.model_fields}),
        is_damaged=True,
    )


def stand_in_for_run(row: Row, attempts: Sequence[Attempt], nodes: Sequence[NodeRun]) -> Run:
    """Make a run of what can be read of a damaged row.

    One whose state is unknown counts as interrupted: it shall not be taken for a success.
    """
    return Run(
        run_id=_text(row["run_id"], f"damaged-{row['seq']}"),
        job_id=_text(row["job_id"], "?"),
        job_serial=_number(row["job_serial"], 0),
        scheduled_for=_instant(row["scheduled_for"]) or _EPOCH,
        cause=_one_of(Cause, row["cause"], Cause.SCHEDULE),
        state=_one_of(RunState, row["state"], RunState.INTERRUPTED),
        reason="its record in the ledger is damaged",
        started_at=_instant(row["started_at"]),
        finished_at=_instant(row["finished_at"]),
        fires=_number(row["fires"], 1),
        last_scheduled_for=_instant(row["last_scheduled_for"]),
        attempts=tuple(attempts),
        nodes=tuple(nodes),
        worker=_text(row["worker"], None),
        replay_of=_text(row["replay_of"], None),
        cancel_requested=row["cancel_requested"] == 1,
    )


def sound[Part](read: Callable[[Row], Part], rows: Sequence[Row]) -> list[Part]:
    """Read those rows that can be read."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except UNREADABLE:
            continue
    return found


def _text[Else: str | None](value: Any, otherwise: Else) -> str | Else:
    return value if isinstance(value, str) else otherwise


def _number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, int):
        return None
    try:
        return from_micros(value)
    except OverflowError:
        return None


def _one_of[Word: StrEnum, Else](words: type[Word], value: Any, otherwise: Else) -> Word | Else:
    try:
        return words(value)
    except ValueError:
        return otherwise
