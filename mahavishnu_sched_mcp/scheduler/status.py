"""How everything is, with what needs attention first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.answer import Status
from mahavishnu_sched_mcp.domain.engine import Backend, EngineState, Health
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.ledger import job_lists, lease, outbox, reports, run_lists

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import apsw

    from mahavishnu_sched_mcp.domain.job import Job

_DAY = timedelta(days=1)
_MOST_LINES = 20
_LEAST_STEP_SECONDS = 60.0
_BAD_ENDS = {RunState.FAILED, RunState.TIMED_OUT, RunState.DEAD, RunState.INTERRUPTED}


def read_status(
    db: apsw.Connection,
    *,
    now: datetime,
    is_leader: bool,
    is_led: bool,
    health: Mapping[Backend, Health],
    notices: Sequence[str],
    troubles: Sequence[str] = (),
) -> Status:
    """Answer `get_status`.

    Args:
        is_led: Whether any process fires now.
        health: How the engines are, as this process or the leader sees them.
        notices: What the operator should know of the settings.
        troubles: What is wrong with the ledger itself.
    """
    leader = lease.read(db)
    since = now - _DAY
    return Status(
        now=now,
        leader={
            "is_running": is_led,
            "is_this_process": is_leader,
            "pid": leader.holder.pid,
            "host": leader.holder.host,
            "term": leader.term,
            "since": leader.started_at.isoformat(),
        },
        engines={name.value: shown(value) for name, value in health.items()},
        queues=dict(health[Backend.ONEIRIC].figures) if Backend.ONEIRIC in health else {},
        counts={
            "jobs": job_lists.count_by_state(db),
            "runs_last_24h": run_lists.count_since(db, since),
            "outbox_waiting": outbox.waiting(db),
        },
        attention=(
            *troubles,
            *_attention(db, is_led=is_led, health=health, since=since, notices=notices),
        ),
    )


def shown(health: Health) -> dict[str, object]:
    """Show an engine's health without what is empty."""
    return {key: value for key, value in health.model_dump(mode="json").items() if value}


def _attention(
    db: apsw.Connection,
    *,
    is_led: bool,
    health: Mapping[Backend, Health],
    since: datetime,
    notices: Sequence[str],
) -> list[str]:
    lines = [] if is_led else ["No server leads this data dir: nothing fires now."]
    lines += [
        f"Engine {name} is unavailable: {value.detail}"
        for name, value in health.items()
        if value.state is EngineState.UNAVAILABLE
    ]
    lines += _clock_lines(health, since=since)
    lines += _job_lines(job_lists.troubled(db, since=since, limit=_MOST_LINES + 1))
    lines += [
        f"Reminder from {run_id}: {message}"
        for run_id, message in reports.reminders(db, since=since, limit=5)
    ]
    lines += notices
    surplus = len(lines) - _MOST_LINES
    return lines if surplus <= 0 else [*lines[:_MOST_LINES], f"... and {surplus} more."]


def _clock_lines(health: Mapping[Backend, Health], *, since: datetime) -> list[str]:
    """Say where the wall clock was set by more than fires may be late."""
    engine = health.get(Backend.APSCHEDULER)
    step = None if engine is None else engine.figures.get("clock_step")
    if not step or abs(step["seconds"]) < _LEAST_STEP_SECONDS:
        return []
    if datetime.fromisoformat(step["at"]) < since:
        return []
    if step["seconds"] > 0:
        became = "what came due in between follows each job's missed_policy"
    else:
        became = "no fire is made twice: jobs go on when the clock is where it was"
    return [f"The wall clock was set by {step['seconds']:+.0f} s at {step['at']}: {became}."]


def _job_lines(found: Iterable[Job]) -> list[str]:
    lines: list[str] = []
    for job in found:
        last = job.last_run
        if last is not None and last.state in _BAD_ENDS:
            mend = " Decide with replay_run." if last.state is RunState.INTERRUPTED else ""
            lines.append(
                f"Job {job.job_id}: last run {last.state}; see get_run('{last.run_id}').{mend}"
            )
        elif last is not None and last.state is RunState.MISSED:
            lines.append(f"Job {job.job_id}: missed fires; see list_runs(job_id='{job.job_id}').")
        if job.state is JobState.PENDING and job.note:
            lines.append(f"Job {job.job_id} is pending: {job.note}")
        if job.state is JobState.QUARANTINED:
            lines.append(f"Job {job.job_id} is quarantined: {job.note}")
    return lines
