"""How the engines are, reminders and metric samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.engine import Backend, Health
from mahavishnu_sched_mcp.ledger.damage import sound
from mahavishnu_sched_mcp.ledger.database import query
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.rows import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import apsw


def save_health(db: apsw.Connection, health: Mapping[Backend, Health], *, at: datetime) -> None:
    """Let other processes know how the engines are."""
    db.executemany(
        "insert or replace into engine_health (backend, health, updated_at) values (?, ?, ?)",
        [(name.value, value.model_dump_json(), to_micros(at)) for name, value in health.items()],
    )


def health(db: apsw.Connection) -> dict[Backend, Health]:
    """Give how the leader last saw the engines."""
    rows = query(db, "select backend, health from engine_health")
    return dict(
        sound(
            lambda row: (Backend(row["backend"]), Health.model_validate_json(row["health"])), rows
        )
    )


def add_reminder(db: apsw.Connection, run_id: str, message: str, *, at: datetime) -> None:
    """Keep a message for the agent's next look; once per run."""
    db.execute(
        "insert or replace into reminder (run_id, message, created_at) values (?, ?, ?)",
        (run_id, message, to_micros(at)),
    )


def reminders(db: apsw.Connection, *, since: datetime, limit: int) -> list[tuple[str, str]]:
    """Give the newest messages with their runs."""
    rows = query(
        db,
        """select run_id, message from reminder where created_at >= ?
            order by created_at desc limit ?""",
        (to_micros(since), limit),
    )
    return [(row["run_id"], row["message"]) for row in rows]


def add_sample(db: apsw.Connection, sample: Mapping[str, Any], *, at: datetime) -> None:
    """Keep one sample of the metrics."""
    db.execute(
        "insert or replace into metric_sample (at, sample) values (?, ?)",
        (to_micros(at), dump_json(sample)),
    )


def samples(db: apsw.Connection, *, limit: int) -> list[dict[str, Any]]:
    """Give the newest samples of the metrics, newest first."""
    rows = query(db, "select sample from metric_sample order by at desc limit ?", (limit,))
    return [json.loads(row["sample"]) for row in rows]


def lateness_ms(db: apsw.Connection, *, since: datetime) -> list[int]:
    """Give how late the scheduled runs since an instant started, sorted, in milliseconds."""
    rows = query(
        db,
        """select (started_at - scheduled_for) / 1000 as late from run
            where started_at >= ? and cause = 'schedule' and fires = 1 order by late""",
        (to_micros(since),),
    )
    return [row["late"] for row in rows]
