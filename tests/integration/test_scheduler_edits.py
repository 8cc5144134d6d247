"""What was asked for before an edit stays what it was; what comes after it is the new."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import LedgerCorruptError
from tests.factories import (
    MINUTE,
    Gate,
    ManualClock,
    a_date,
    an_app,
    an_interval,
    eventually,
    policies,
    ring,
    run_reached,
    runs_of,
    settled,
    what_a_kill_leaves,
)

if TYPE_CHECKING:
    from pathlib import Path

JOB = "apscheduler:a"


@pytest.mark.parametrize("how", ["update", "replace"])
async def test_a_waiting_run_stays_what_its_job_was_when_it_was_made(
    how: str, tmp_path: Path
) -> None:
    """Neither an update nor a replacement turns a waiting fire into another task."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        create = app.scheduler.schedule_internal_task
        await create(
            "wait_at",
            trigger=an_interval(60),
            params={"gate": gate.name},
            id="a",
            policies=policies(overlap_policy="queue_all"),
        )
        await ring(app, clock)
        await ring(app, clock)
        other = Gate()
        if how == "update":
            await app.scheduler.update_job(
                JOB, params={"gate": other.name}, trigger=an_interval(3600)
            )
        else:
            await create("greet", trigger=an_interval(3600), id="a", replace=True)
        gate.open()
        runs = await settled(app, JOB, count=2)

    assert [(run.state, run.output.text) for run in runs] == [(RunState.SUCCEEDED, "passed")] * 2
    assert (gate.entries, other.entries) == (2, 0)


async def test_a_retry_keeps_the_attempts_it_was_promised(tmp_path: Path) -> None:
    """Fewer attempts are for the runs to come: the one that waits ends dead after its last."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "fail",
            trigger=a_date(60),
            id="a",
            policies=policies(max_attempts=2, retry_backoff_seconds=30),
        )
        await ring(app, clock)
        (waiting,) = await runs_of(app, JOB)
        waiting = await run_reached(app, waiting.run_id, RunState.PENDING)
        await eventually(
            lambda: _reason_is(app, "retry"), description="the first attempt has failed"
        )
        await app.scheduler.update_job(JOB, policies={"max_attempts": 1})
        await ring(app, clock)
        (run,) = await settled(app, JOB)

    assert (run.state, len(run.attempts)) == (RunState.DEAD, 2)


async def test_a_pause_that_ended_while_nothing_ran_ends_at_its_own_instant(
    tmp_path: Path,
) -> None:
    """What came due after it was missed, and is made up for as the job says."""
    clock = ManualClock()
    async with an_app(tmp_path / "a", clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        until = clock.now() + 3 * MINUTE + timedelta(seconds=1)
        await app.scheduler.pause_job(JOB, until=until.isoformat())
        left = what_a_kill_leaves(app, at=tmp_path / "b")
    clock.shift(10 * MINUTE)
    async with an_app(left, clock=clock) as app:
        await eventually(lambda: _is_active(app), description="the pause is over")
        await ring(app, clock, by=timedelta(0))
        runs = await settled(app, JOB, count=3)

    assert [(run.state, run.reason, run.fires) for run in runs] == [
        (RunState.SKIPPED, "paused", 3),
        (RunState.MISSED, "policy", 6),
        (RunState.SUCCEEDED, None, 1),
    ]


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_ledger_that_is_taken_away_acknowledges_nothing(how: str, tmp_path: Path) -> None:
    """What would be written into a file that is no ledger any more is refused, and said."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        ledger = tmp_path / "ledger.db"
        if how == "replaced":
            (tmp_path / "other").write_bytes(b"other")
            os.replace(tmp_path / "other", ledger)  # noqa: PTH105 - what `mv` does
        else:
            ledger.unlink()
        with pytest.raises(LedgerCorruptError, match="removed or replaced"):
            await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="b")
        attention = (await app.scheduler.status()).attention

    assert any("removed or replaced" in line or "restore" in line for line in attention)


def _is_active(app: object) -> bool:
    jobs = app.scheduler._ledger.read(_states)  # type: ignore[attr-defined]  # an app
    return bool(jobs == [JobState.ACTIVE])


def _reason_is(app: object, reason: str) -> bool:
    rows = app.scheduler._ledger.read(lambda db: db.execute("select reason from run").fetchall())  # type: ignore[attr-defined]  # an app
    return bool([row["reason"] for row in rows] == [reason])


def _states(db: object) -> list[JobState]:
    rows = db.execute("select state from job").fetchall()  # type: ignore[attr-defined]  # a connection
    return [JobState(row["state"]) for row in rows]
