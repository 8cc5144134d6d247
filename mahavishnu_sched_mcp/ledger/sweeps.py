"""Sweeps of the whole ledger, in their order: what is old leaves, kind by kind."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.retention import (
    OPEN,
    OVER,
    Cursor,
    RetentionRules,
    Step,
    sweep_aged_runs,
    sweep_jobs,
    sweep_surplus_runs,
    went_on,
)

if TYPE_CHECKING:
    import apsw

KEYS_FOR = timedelta(days=7)
"""An idempotency key works at least so long; 24 hours are promised."""

REMINDERS_FOR = timedelta(days=1)
"""As long as `get_status` shows them."""

SAMPLES_FOR = timedelta(days=7)
"""A week of metrics: about ten thousand rows at one sample a minute."""


def sweep_keys(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Forget idempotency keys that are old and whose work is done."""
    seen = query(
        db,
        """select principal, tool, key from idempotency_key
            where (principal, tool, key) > (?, ?, ?) order by principal, tool, key limit ?""",
        (*after, rules.most),
    )
    if not seen:
        return Step(Counter(), None)
    last = tuple(seen[-1].values())
    db.execute(
        f"""delete from idempotency_key as held
             where (principal, tool, key) > (?, ?, ?) and (principal, tool, key) <= (?, ?, ?)
               and created_at < ?
               and not exists (select 1 from run
                                where run.run_id = held.run_id and run.state in {OPEN})
               and (held.run_id is not null or not exists
                    (select 1 from job
                      where job.serial = held.job_serial and job.state not in {OVER}))""",  # noqa: S608 - constants
        (*after, *last, rules.before(KEYS_FOR)),
    )
    return went_on(Counter(idempotency_keys=db.changes()), seen, last, rules)


def sweep_outbox(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Forget what was to be handed over for runs that are over."""
    seen = query(
        db,
        "select run_id from outbox where run_id > ? order by run_id limit ?",
        (*after, rules.most),
    )
    if not seen:
        return Step(Counter(), None)
    last = (seen[-1]["run_id"],)
    db.execute(
        f"""delete from outbox where run_id > ? and run_id <= ? and not exists
               (select 1 from run where run.run_id = outbox.run_id and run.state in {OPEN})""",  # noqa: S608 - a constant
        (*after, *last),
    )
    return went_on(Counter(outbox_rows=db.changes()), seen, last, rules)


def sweep_reminders(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Forget reminders that `get_status` shows no more."""
    db.execute(
        """delete from reminder where run_id in
              (select run_id from reminder where created_at < ? order by created_at limit ?)""",
        (rules.before(REMINDERS_FOR), rules.most),
    )
    return Step(Counter(reminders=db.changes()), after if db.changes() == rules.most else None)


def sweep_samples(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Forget old samples of the metrics."""
    db.execute(
        """delete from metric_sample where at in
              (select at from metric_sample where at < ? order by at limit ?)""",
        (rules.before(SAMPLES_FOR), rules.most),
    )
    return Step(Counter(metric_samples=db.changes()), after if db.changes() == rules.most else None)


class Sweep(Protocol):
    """Goes over one kind of rows, step by step."""

    def __call__(self, db: apsw.Connection, /, rules: RetentionRules, after: Cursor) -> Step:
        """Do one step from a cursor on."""
        ...


KINDS = (
    "runs",
    "attempts",
    "nodes",
    "jobs",
    "idempotency_keys",
    "outbox_rows",
    "reminders",
    "metric_samples",
)
"""Of what rows are removed."""

SWEEPS: tuple[tuple[Sweep, Cursor], ...] = (
    (sweep_keys, ("", "", "")),  # first: what a key holds stays
    (sweep_aged_runs, (-1, 0)),
    (sweep_surplus_runs, ("", 0)),
    (sweep_jobs, (0,)),  # after the runs: a job leaves with its last one
    (sweep_outbox, ("",)),
    (sweep_reminders, ()),
    (sweep_samples, ()),
)
"""All sweeps in their order, each with the cursor it starts at."""


def measure(db: apsw.Connection) -> dict[str, int]:
    """Say how large the ledger's file is, and how much of it is free to be used again."""
    size, pages, free = (
        int(scalar(db, f"pragma {name}")) for name in ("page_size", "page_count", "freelist_count")
    )
    return {"bytes": size * pages, "free_bytes": size * free, "freelist_count": free}
