"""Which runs and jobs the ledger may forget; `sweeps` has the rest and the order.

Each step is one transaction of the caller's and does little, so that no claim waits for it. It
says where the next one goes on; what a step passes over stays until the next sweep.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import apsw

SETTLES_IN = timedelta(seconds=10)
"""Whoever waits for a run has seen its end by then."""

MIRRORED_FOR = timedelta(hours=25)
"""A new leader reads Prefect's last 24 hours again: what it finds there must still be known."""

_LONGEST_DAYS = 1_000_000
_DAY_MICROS = 86_400_000_000
_JOBS_A_STEP = 20
_PAST_ALL = 2**62
OPEN = "('pending', 'running')"
OVER = "('completed', 'cancelled')"

_MAY_GO = f"""
       run.finished_at <= :settled
   and coalesce(run.last_scheduled_for, run.scheduled_for) <= :now
   and (job.backend <> 'prefect' or run.finished_at <= :mirrored)
   and not exists (select 1 from idempotency_key as held where held.run_id = run.run_id)
   and not exists (select 1 from run as again
                    where again.replay_of = run.run_id and again.state in {OPEN})
"""  # noqa: S608 - a constant
"""A run nobody holds: settled, not of a clock that ran ahead, without key or open replay."""


_LEAVING = f"""
select job.serial, run.seq
  from job left join run on run.run_id = job.last_run_id
 where job.serial in (select value from json_each(:serials))
   and job.over_since < :aged
   -- Prefect has to hear of the end first, or its deployment would stay.
   and (job.backend <> 'prefect' or job.applied_revision >= job.revision)
   -- The newest change of all stays: its number must not be given again.
   and job.change < (select max(change) from job)
   and not exists (select 1 from idempotency_key as held where held.job_serial = job.serial)
   and not exists (select 1 from run as other
                    where other.job_serial = job.serial and other.run_id is not job.last_run_id)
   and (run.seq is null or (run.finished_at < :aged and {_MAY_GO}))
"""  # noqa: S608 - constants
"""Jobs that are over for long, heard of, held by nobody, with no run left but the last."""


@dataclass(frozen=True, kw_only=True)
class RetentionRules:
    """What is old.

    Attributes:
        runs_days: Days a finished run is kept, and a job that is over.
        runs_per_job: So many finished runs of a job id are kept.
        most: Rows that one step looks at.
    """

    now: datetime
    runs_days: float
    runs_per_job: int
    most: int = 200

    @property
    def aged(self) -> int:
        """What ended before this is too old, in the ledger's microseconds."""
        return to_micros(self.now) - int(min(self.runs_days, _LONGEST_DAYS) * _DAY_MICROS)

    def before(self, span: timedelta) -> int:
        """Give the instant so long ago, in the ledger's microseconds."""
        return to_micros(self.now - span)


type Cursor = tuple[Any, ...]


class Step(NamedTuple):
    """What a step did.

    Attributes:
        removed: Rows by kind.
        after: Where the next step goes on; None: the sweep is over.
    """

    removed: Counter[str]
    after: Cursor | None


def went_on(removed: Counter[str], seen: list[Any], last: Cursor, rules: RetentionRules) -> Step:
    """Say that this was the last step where it saw less than it may look at."""
    return Step(removed, last if len(seen) == rules.most else None)


def sweep_aged_runs(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Remove runs that ended too long ago."""
    seen = query(
        db,
        """select finished_at, seq from run
            where (finished_at, seq) > (?, ?) and finished_at < ?
            order by finished_at, seq limit ?""",
        (*after, rules.aged, rules.most),
    )
    if not seen:
        return Step(Counter(), None)
    removed = _remove_runs(db, rules, [row["seq"] for row in seen])
    return went_on(removed, seen, tuple(seen[-1].values()), rules)


def sweep_surplus_runs(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Remove runs beyond the newest so many of their job id."""
    name, position = after
    rows = query(
        db,
        "select distinct job_id from job where job_id >= ? order by job_id limit ?",
        (name, _JOBS_A_STEP),
    )
    removed: Counter[str] = Counter()
    room = rules.most
    for job_id in (row["job_id"] for row in rows):
        start = position if job_id == name else 0
        seen = _find_surplus(db, rules, job_id, after=start, most=room)
        removed += _remove_runs(db, rules, _decided(db, rules, job_id, seen))
        room -= len(seen)
        if room <= 0:
            return Step(removed, (job_id, seen[-1]))
    if len(rows) < _JOBS_A_STEP:
        return Step(removed, None)
    return Step(removed, (rows[-1]["job_id"], _PAST_ALL))


def sweep_jobs(db: apsw.Connection, rules: RetentionRules, after: Cursor) -> Step:
    """Remove jobs that are over for long and whose runs have left, with the last run."""
    seen = query(
        db,
        f"select serial from job where serial > ? and state in {OVER} order by serial limit ?",  # noqa: S608 - a constant
        (*after, rules.most),
    )
    if not seen:
        return Step(Counter(), None)
    serials = json.dumps([row["serial"] for row in seen])
    db.execute(
        """update job set over_since = ?
            where serial in (select value from json_each(?)) and over_since is null""",
        (to_micros(rules.now), serials),
    )
    rows = query(db, _LEAVING, _values(rules) | {"serials": serials})
    removed = _delete_runs(db, [row["seq"] for row in rows if row["seq"] is not None])
    if not rows:
        return went_on(removed, seen, (seen[-1]["serial"],), rules)
    leaving = json.dumps([row["serial"] for row in rows])
    db.execute(
        """update retired set generation = max(generation, (select coalesce(max(job.generation), 0)
              from job where job.serial in (select value from json_each(?))))""",
        (leaving,),
    )
    db.execute("delete from job where serial in (select value from json_each(?))", (leaving,))
    removed["jobs"] += db.changes()
    return went_on(removed, seen, (seen[-1]["serial"],), rules)


def _find_surplus(
    db: apsw.Connection, rules: RetentionRules, job_id: str, *, after: int, most: int
) -> list[int]:
    edge = _oldest_kept(db, rules, job_id, which="finished_at is not null")
    rows = query(
        db,
        """select seq from run where job_id = ? and finished_at is not null
              and seq > ? and seq < ? order by seq limit ?""",
        (job_id, after, edge, most),
    )
    return [row["seq"] for row in rows]


def _decided(
    db: apsw.Connection, rules: RetentionRules, job_id: str, seqs: Iterable[int]
) -> list[int]:
    """Leave out those that wait for a decision: interrupted ones, and the newest dead ones."""
    found = list(seqs)
    if not found:
        return found
    rows = query(
        db,
        """select seq from run
            where seq in (select value from json_each(?))
              and (state not in ('interrupted', 'dead') or (state = 'dead' and seq < ?)
                   or exists (select 1 from run as again where again.replay_of = run.run_id))""",
        (json.dumps(found), _oldest_kept(db, rules, job_id, which="state = 'dead'")),
    )
    return [row["seq"] for row in rows]


def _oldest_kept(db: apsw.Connection, rules: RetentionRules, job_id: str, *, which: str) -> int:
    """Give the place of the oldest run among the newest so many; 0 where there are fewer."""
    found = scalar(
        db,
        f"select seq from run where job_id = ? and {which} order by seq desc limit 1 offset ?",  # noqa: S608 - constants
        (job_id, rules.runs_per_job - 1),
    )
    return int(found or 0)


def _remove_runs(db: apsw.Connection, rules: RetentionRules, seqs: list[int]) -> Counter[str]:
    """Remove those of these runs that nobody holds; a job's last run stays with its job."""
    if not seqs:
        return Counter()
    rows = query(
        db,
        f"""select run.seq from run join job on job.serial = run.job_serial
             where run.seq in (select value from json_each(:seqs))
               and run.run_id is not job.last_run_id and {_MAY_GO}""",  # noqa: S608 - constants
        _values(rules) | {"seqs": json.dumps(seqs)},
    )
    return _delete_runs(db, [row["seq"] for row in rows])


def _delete_runs(db: apsw.Connection, seqs: list[int]) -> Counter[str]:
    removed: Counter[str] = Counter()
    if not seqs:
        return removed
    chosen = (json.dumps(seqs),)
    db.execute(
        """update job set swept_until = max(coalesce(swept_until, fires.newest), fires.newest)
             from (select job_serial, max(coalesce(last_scheduled_for, scheduled_for)) as newest
                     from run where seq in (select value from json_each(?))
                      and cause in ('schedule', 'catch_up') group by job_serial) as fires
            where job.serial = fires.job_serial""",
        chosen,
    )
    of_these = "run_id in (select run_id from run where seq in (select value from json_each(?)))"
    for table, kind in (("attempt", "attempts"), ("node", "nodes"), ("outbox", "outbox_rows")):
        db.execute(f"delete from {table} where {of_these}", chosen)  # noqa: S608 - named above
        removed[kind] = db.changes()
    db.execute("delete from run where seq in (select value from json_each(?))", chosen)
    removed["runs"] = db.changes()
    return removed


def _values(rules: RetentionRules) -> dict[str, int]:
    return {
        "now": to_micros(rules.now),
        "aged": rules.aged,
        "settled": rules.before(SETTLES_IN),
        "mirrored": rules.before(MIRRORED_FOR),
    }
