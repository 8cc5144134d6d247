"""Death at the three moments between a promise and its proof."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Run, RunState
from tests.factories import an_app, eventually
from tests.faults.failpoint import Point, settings
from tests.faults.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mahavishnu_sched_mcp.app import MahavishnuApp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

_ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def after_death_at(
    point: Point, folder: Path
) -> AsyncIterator[tuple[MahavishnuApp, list[str]]]:
    """Let an engine die at a moment; give the next one, and read which attempts were seen."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.failpoint", point.value, str(folder)),
        cwd=_ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        code = await asyncio.wait_for(process.wait(), 60)
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
    assert code == -signal.SIGKILL
    witness = Witness.build(folder)
    seen: list[str] = []
    async with an_app(folder / "data", **settings(witness)) as app:
        yield app, seen
    seen += [f"{one.run_id} {one.attempt}" for one in witness.sightings() if one.word == "START"]


async def only_run(app: MahavishnuApp, name: str, *, state: RunState) -> Run:
    """Wait until the only run of a job is in a state."""

    async def is_there() -> bool:
        page = await app.scheduler.list_runs(job_id=f"apscheduler:{name}")
        return [run.state for run in page.rows] == [state]

    await eventually(is_there, description=f"the run of {name} is {state}", within=20)
    return (await app.scheduler.list_runs(job_id=f"apscheduler:{name}")).rows[0]


def outcomes(run: Run) -> list[str | None]:
    """Give how the attempts of a run ended."""
    return [attempt.outcome for attempt in run.attempts]


async def test_a_change_committed_and_not_answered_is_there(tmp_path: Path) -> None:
    """The caller does not know, but the change is whole; asking again changes nothing."""
    point = Point.AFTER_COMMIT_BEFORE_REPLY
    async with after_death_at(point, tmp_path) as (app, _):
        found = (await app.scheduler.get_job("apscheduler:witness")).job
        again = await app.scheduler.pause_job("apscheduler:witness")

        assert found.state is JobState.PAUSED
        assert again.revision == found.revision


async def test_a_claim_without_an_execution_is_interrupted(tmp_path: Path) -> None:
    """Claimed is counted as begun: run again where that does no harm, else held for a decision."""
    point = Point.AFTER_CLAIM_BEFORE_SPAWN
    async with after_death_at(point, tmp_path) as (app, seen):
        rerun = await only_run(app, "witness", state=RunState.SUCCEEDED)
        held = await only_run(app, "delicate", state=RunState.INTERRUPTED)

    assert outcomes(rerun) == ["interrupted", "succeeded"]
    assert outcomes(held) == ["interrupted"]
    assert seen == [f"{rerun.run_id} 2"]


async def test_an_execution_without_a_record_is_interrupted(tmp_path: Path) -> None:
    """Nobody knows how it ended: run again where that does no harm, else never by itself."""
    point = Point.AFTER_EXIT_BEFORE_RECORD
    async with after_death_at(point, tmp_path) as (app, seen):
        rerun = await only_run(app, "witness", state=RunState.SUCCEEDED)
        held = await only_run(app, "delicate", state=RunState.INTERRUPTED)

    assert outcomes(rerun) == ["interrupted", "succeeded"]
    assert outcomes(held) == ["interrupted"]
    assert sorted(seen) == sorted([f"{rerun.run_id} 1", f"{rerun.run_id} 2", f"{held.run_id} 1"])
