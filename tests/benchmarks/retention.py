"""What a large cleanup costs those who need the ledger meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.leadership import Leadership
from mahavishnu_sched_mcp.ledger import Ledger, runs
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.retention import LedgerRetention
from tests.benchmarks.figures import Figure, milliseconds, percentile
from tests.factories import ManualClock
from tests.unit.ledger.past import DAY, NOW, a_job

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    import apsw

_RUNS, _JOBS = 200_000, 200
_TICK_SECONDS = 0.002
_CLAIM_SECONDS = 0.01
_BESIDE_SECONDS = 5.0


def measure(folder: Path) -> list[Figure]:
    """Remove 200,000 runs while claims go on, and look at how long these wait."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> list[Figure]:
    ledger, clock = Ledger(folder / "ledger.db"), ManualClock(NOW)
    leadership = Leadership(folder / "leader.lock", ledger=ledger, clock=clock)
    retention = LedgerRetention(
        ledger=ledger, leadership=leadership, clock=clock, runs_days=30, runs_per_job=1000
    )
    await ledger.open()
    await leadership._try()
    serial = await ledger.write(_fill)
    try:
        quiet = await _watch(ledger, serial, asyncio.sleep(_BESIDE_SECONDS))
        began = time.perf_counter()
        busy = await _watch(ledger, serial, retention.remove_old())
        took = time.perf_counter() - began
    finally:
        leadership._lock.release()
        await ledger.close()
    return [
        Figure(what=f"removing {_RUNS:,} runs with their attempts", ours=took, unit="s"),
        *(
            Figure(
                what=f"{what} meanwhile, p{rank}",
                ours=milliseconds(percentile(busy[what], rank)),
                beside=milliseconds(percentile(quiet[what], rank)),
            )
            for what in busy
            for rank in (50, 99, 100)
        ),
    ]


async def _watch(ledger: Ledger, serial: int, work: Awaitable[object]) -> dict[str, list[float]]:
    """Tick and claim until the work is done; give how late each tick and commit was."""
    late: dict[str, list[float]] = {"lateness of the loop": [], "commit of a run": []}
    watchers = [
        asyncio.create_task(_tick(late["lateness of the loop"])),
        asyncio.create_task(_claim(ledger, serial, late["commit of a run"])),
    ]
    await work
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    return late


async def _tick(late: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_TICK_SECONDS)
        late.append(time.perf_counter() - began - _TICK_SECONDS)


async def _claim(ledger: Ledger, serial: int, waits: list[float]) -> None:
    while True:
        number = time.time_ns()
        run = Run(
            run_id=f"claim-{number}",
            job_id="apscheduler:claims",
            job_serial=serial,
            scheduled_for=NOW,
            cause=Cause.MANUAL,
            state=RunState.PENDING,
        )
        began = time.perf_counter()
        await ledger.write(lambda db, made=run: runs.insert(db, made, at=NOW), durable=False)  # type: ignore[misc]  # bound now
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(_CLAIM_SECONDS)


def _fill(db: apsw.Connection) -> int:
    """Write the runs of 200 jobs, ended 40 days ago, and a job for the claims."""
    serials = [a_job(db, f"job-{number}").serial for number in range(_JOBS)]
    db.execute(
        """with recursive beat (k) as (select 0 union all select k + 1 from beat where k < :n - 1)
           insert into run (run_id, job_serial, job_id, scheduled_for, cause, state, created_at,
                            started_at, finished_at, attempts, output, output_bytes)
           select 'run-' || hex(k * 2654435761 % 4294967296) || k, :first + k % :jobs,
                  'apscheduler:job-' || (k % :jobs), :at + k, 'schedule', 'succeeded',
                  :at + k, :at + k, :at + k, 1, hex(zeroblob(150)), 300 from beat""",
        {"n": _RUNS, "first": serials[0], "jobs": _JOBS, "at": to_micros(NOW - 40 * DAY)},
    )
    db.execute(
        """insert into attempt (run_id, number, term, started_at, finished_at, outcome)
           select run_id, 1, 1, started_at, finished_at, 'succeeded' from run"""
    )
    return a_job(db, "claims").serial
