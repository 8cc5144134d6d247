"""Thirty days of the server's own chores leave a small ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.domain.job import Job
from mahavishnu_sched_mcp.leadership import Leadership
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.retention import LedgerRetention
from mahavishnu_sched_mcp.settings import Settings
from tests.factories import ManualClock
from tests.unit.ledger.past import a_job, size

HOUR = timedelta(hours=1)
MOST_RUNS = 2 * 1000 + 120 + 60 + 720
"""The newest 1000 of both chores, what they add until the next sweep, the sweeps' own runs."""
MOST_SAMPLES = 7 * 24 * 60 + 1 + 60
"""A week of minutes with both its ends, and what an hour adds."""


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_month_of_chores_keeps_the_ledger_small(tmp_path: Path) -> None:
    """With the default periods and the default retention no table grows beyond its bound."""
    clock, ledger, usual = ManualClock(), Ledger(tmp_path / "ledger.db"), Settings()
    chores, rules = usual.internal_tasks, usual.retention
    periods = {
        "health-check": chores.health_check_seconds,
        "metrics-collection": chores.metrics_collection_seconds,
        "cache-cleanup": chores.cache_cleanup_seconds,
    }
    assert list(periods.values()) == [30, 60, 3600]
    leadership = Leadership(tmp_path / "leader.lock", ledger=ledger, clock=clock)
    retention = LedgerRetention(
        ledger=ledger,
        leadership=leadership,
        clock=clock,
        runs_days=rules.runs_days,
        runs_per_job=rules.runs_per_job,
    )
    await ledger.open()
    assert await leadership._try()
    jobs = await ledger.write(lambda db: [(a_job(db, name), p) for name, p in periods.items() if p])
    most, sizes = Counter[str](), list[int]()

    for _ in range(30 * 24):
        began = to_micros(clock.now())
        clock.shift(HOUR)
        await ledger.write(partial(_run_an_hour, jobs=jobs, began=began), durable=False)
        most |= ledger.read(_count)
        await retention.remove_old()
        sizes.append((tmp_path / "ledger.db").stat().st_size)
    counts = ledger.read(lambda db: [row["succeeded"] for row in db.execute("select * from job")])
    leadership._lock.release()
    await ledger.close()

    assert most["run"] <= MOST_RUNS
    assert most["attempt"] <= MOST_RUNS
    assert most["metric_sample"] <= MOST_SAMPLES
    assert sizes[-1] <= 1.1 * sizes[10 * 24]  # free pages are used again
    assert counts == [30 * 24 * 120, 30 * 24 * 60, 30 * 24]


def _count(db: apsw.Connection) -> Counter[str]:
    return Counter({table: size(db, table) for table in ("run", "attempt", "metric_sample")})


def _run_an_hour(db: apsw.Connection, *, jobs: Sequence[tuple[Job, float]], began: int) -> None:
    for job, period in jobs:
        _run_job(db, job, began=began, every=int(period * 1_000_000), number=int(3600 / period))


def _run_job(db: apsw.Connection, job: Job, *, began: int, every: int, number: int) -> None:
    """Write the runs of an hour as the runner leaves them: ended, with one attempt, counted."""
    values: dict[str, int | str] = {
        "job": job.serial,
        "id": job.job_id,
        "began": began,
        "every": every,
        "n": number,
    }
    db.execute(
        """with recursive beat (k) as (select 1 union all select k + 1 from beat where k < :n)
           insert into run (run_id, job_serial, job_id, scheduled_for, cause, state, created_at,
                            started_at, finished_at, attempts, output, output_bytes)
           select :id || (:began + k * :every), :job, :id, :began + k * :every, 'schedule',
                  'succeeded', :began + k * :every, :began + k * :every, :began + k * :every, 1,
                  hex(zeroblob(150)), 300 from beat""",
        values,
    )
    db.execute(
        """insert into attempt (run_id, number, term, started_at, finished_at, outcome)
           select run_id, 1, 1, started_at, finished_at, 'succeeded' from run
            where job_serial = :job and scheduled_for > :began""",
        {"job": job.serial, "began": began},
    )
    db.execute(
        """update job set succeeded = succeeded + :n, fired = fired + :n, last_run_id =
                  (select run_id from run where job_serial = :job order by seq desc limit 1)
            where serial = :job""",
        {"job": job.serial, "n": number},
    )
    if job.name == "metrics-collection":
        db.execute(
            """insert into metric_sample (at, sample) select scheduled_for, hex(zeroblob(200))
                 from run where job_serial = :job and scheduled_for > :began""",
            {"job": job.serial, "began": began},
        )
