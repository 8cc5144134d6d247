"""Fires that came due while nobody could take them: what is made up for, and what is missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.ledger import run_lists
from mahavishnu_sched_mcp.runner.starting import OVERTAKEN
from tests.doors import ENGINES, Door, a_house, keep_at, quick_folder
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    ManualClock,
    a_date,
    an_app,
    eventually,
    ledger_of,
    policies,
    ring,
    runs_of,
    settled,
    what_a_kill_leaves,
)

HOUR = timedelta(hours=1)
JOB = "apscheduler:a"


def at(minutes: float) -> datetime:
    """Give the instant so many minutes after the tests' start."""
    return TWO_O_CLOCK + minutes * MINUTE


def told(runs: list[Run]) -> list[tuple[str, str | None, int]]:
    """Say of each record its state, its reason and for how many fires it stands."""
    return [(run.state.value, run.reason, run.fires) for run in runs]


async def letting_go(app: MahavishnuApp, door: Door, job_id: str) -> list[Run]:
    """Open the door, wait until the job is quiet, and give its runs."""
    door.open()
    await eventually(
        lambda: not ledger_of(app).read(run_lists.all_open),
        description=f"{job_id} is quiet",
        within=60,
    )
    return await runs_of(app, job_id)


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """Give a folder for tests of many runs."""
    with quick_folder() as folder:
        yield folder


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("missed_policy", "expected"),
    [
        ("run_once", {("missed", "policy"): 119, ("succeeded", None): 1}),
        ("skip", {("missed", "policy"): 120}),
        ("run_all", {("missed", "catchup_limit"): 20, ("succeeded", None): 100}),
    ],
)
@pytest.mark.timeout(90)
async def test_two_hours_of_minutes(
    missed_policy: str, expected: dict[tuple[str, str | None], int], engine: str, quick_path: Path
) -> None:
    """run_once runs the latest, skip none, run_all the newest hundred in their order."""
    clock, door = ManualClock(), Door()
    async with a_house(quick_path, clock=clock) as app:
        job_id = await keep_at(
            app, door, engine=engine, missed_policy=missed_policy, overlap_policy="queue_all"
        )
    clock.shift(2 * HOUR)
    async with a_house(quick_path, clock=clock) as app:
        await eventually(lambda: _count(app, job_id, 1), description="the gap is on record")
        runs = await letting_go(app, door, job_id)
        job = (await app.scheduler.get_job(job_id)).job

    counted: Counter[tuple[str, str | None]] = Counter()
    for run in runs:
        counted[run.state.value, run.reason] += run.fires
    assert counted == expected
    ran = [run for run in runs if run.state is RunState.SUCCEEDED]
    assert {run.cause for run in ran} <= {Cause.CATCH_UP}
    assert [visit.run_id for visit in door.visits] == [run.run_id for run in ran]
    assert door.most <= 1
    assert (job.fired, job.next_run_at) == (120, at(121))


async def test_run_all_makes_up_inside_its_window_only(tmp_path: Path) -> None:
    """What is older is missed(catchup_window); a fire just as old as the window is inside."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, missed_policy="run_all", catchup_window_seconds=120)
    clock.shift(10 * MINUTE)
    async with a_house(tmp_path, clock=clock) as app:
        await eventually(lambda: _count(app, JOB, 4), description="the gap is on record")
        runs = await letting_go(app, door, JOB)

    assert told(runs) == [("missed", "catchup_window", 7)] + [("succeeded", None, 1)] * 3
    assert [run.scheduled_for for run in runs[1:]] == [at(8), at(9), at(10)]


@pytest.mark.parametrize(
    ("overlap_policy", "live", "made_up"),
    [
        ("skip", ("skipped", "overlap"), ("succeeded", None)),
        ("queue_one", ("succeeded", None), ("succeeded", None)),
        ("queue_all", ("succeeded", None), ("succeeded", None)),
        ("cancel_previous", ("succeeded", None), ("cancelled", OVERTAKEN)),
        ("allow", ("skipped", "overlap"), ("succeeded", None)),
    ],
)
async def test_a_live_fire_while_missed_ones_are_made_up_for(
    overlap_policy: str,
    live: tuple[str, str | None],
    made_up: tuple[str, str | None],
    tmp_path: Path,
) -> None:
    """The overlap policy decides about the live fire; the missed ones never skip each other."""
    clock, door = ManualClock(), Door()
    limits = {"max_overlap": 2}
    async with a_house(tmp_path, clock=clock, limits=limits) as app:
        await keep_at(app, door, missed_policy="run_all", overlap_policy=overlap_policy)
    clock.shift(3 * MINUTE)
    async with a_house(tmp_path, clock=clock, limits=limits) as app:
        await door.visited(1)
        await ring(app, clock)
        runs = await letting_go(app, door, JOB)

    assert [(run.state.value, run.reason) for run in runs] == [made_up] * 3 + [live]
    assert [run.cause for run in runs] == [Cause.CATCH_UP] * 3 + [Cause.SCHEDULE]
    assert door.most == 1


@pytest.mark.parametrize("engine", ENGINES)
async def test_made_up_fires_go_one_by_one_even_where_overlap_is_allowed(
    engine: str, tmp_path: Path
) -> None:
    """run_all under allow: each waits for the one before it; a live fire runs beside them."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(
            app, door, engine=engine, missed_policy="run_all", overlap_policy="allow"
        )
    clock.shift(3 * MINUTE)
    async with a_house(tmp_path, clock=clock) as app:
        first = await door.visited(1)
        await ring(app, clock)
        live = await door.visited(2)
        came = [visit.run_id for visit in door.visits]
        live.let_go()
        first.let_go()
        runs = await letting_go(app, door, job_id)

    assert came == [runs[0].run_id, runs[3].run_id]
    assert told(runs) == [("succeeded", None, 1)] * 4


async def test_a_crash_while_missed_fires_are_made_up_for(tmp_path: Path) -> None:
    """The one that ran runs again, the others after it; none is lost and none comes twice."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path / "one", clock=clock) as app:
        await keep_at(app, door, missed_policy="run_all", target="attend_safely")
        await ring(app, clock, by=5 * MINUTE)
        (await door.visited(1)).let_go()
        await door.visited(2)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    async with a_house(left, clock=clock) as app:
        runs = await letting_go(app, door, JOB)

    assert told(runs) == [("succeeded", None, 1)] * 5
    assert [len(run.attempts) for run in runs] == [1, 2, 1, 1, 1]


async def test_a_pause_holds_what_is_made_up_for(tmp_path: Path) -> None:
    """The rest goes on when the job is resumed."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, missed_policy="run_all")
        await ring(app, clock, by=3 * MINUTE)
        first = await door.visited(1)
        await app.scheduler.pause_job(JOB)
        first.let_go()
        await eventually(lambda: _finished(app, 1), description="the first is over")
        came = len(door.visits)
        await app.scheduler.resume_job(JOB)
        runs = await letting_go(app, door, JOB)

    assert came == 1
    assert told(runs) == [("succeeded", None, 1)] * 3


async def test_cancelling_the_job_cancels_what_is_still_to_be_made_up_for(tmp_path: Path) -> None:
    """The run that goes on may end."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, missed_policy="run_all")
        await ring(app, clock, by=3 * MINUTE)
        await door.visited(1)
        await app.scheduler.cancel_job(JOB)
        runs = await letting_go(app, door, JOB)

    assert told(runs) == [("succeeded", None, 1)] + [("cancelled", "the job was cancelled", 1)] * 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_runs": 3}, [("missed", "policy", 2), ("succeeded", None, 1)]),
        ({"expires_at": at(4.5)}, [("missed", "policy", 3), ("succeeded", None, 1)]),
        ({"max_runs": 3, "missed_policy": "run_all"}, [("succeeded", None, 1)] * 3),
        ({"expires_at": at(4), "missed_policy": "run_all"}, [("succeeded", None, 1)] * 4),
        ({"max_runs": 3, "missed_policy": "skip"}, [("missed", "policy", 3)]),
    ],
)
async def test_a_job_that_ends_inside_the_gap(
    changes: dict[str, Any], expected: list[object], tmp_path: Path
) -> None:
    """Only the fires it still had are accounted for, and it is completed."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        await keep_at(app, door, **changes)
    clock.shift(HOUR)
    async with a_house(tmp_path, clock=clock) as app:
        await eventually(lambda: _count(app, JOB, 1), description="the gap is on record")
        runs = await letting_go(app, door, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert told(runs) == expected
    assert job.state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("missed_policy", "expected"),
    [
        ("run_once", ("succeeded", None, 1)),
        ("run_all", ("succeeded", None, 1)),
        ("skip", ("missed", "policy", 1)),
    ],
)
async def test_a_single_date_that_was_missed(
    missed_policy: str, expected: tuple[str, str | None, int], tmp_path: Path
) -> None:
    """The same rule as for every other fire."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=a_date(60), id="a", policies=policies(missed_policy=missed_policy)
        )
    clock.shift(HOUR)
    async with an_app(tmp_path, clock=clock) as app:
        runs = await settled(app, JOB)
        job = (await app.scheduler.get_job(JOB)).job

    assert told(runs) == [expected]
    assert job.state is JobState.COMPLETED


def _count(app: MahavishnuApp, job_id: str, least: int) -> Awaitable[bool]:
    async def look() -> bool:
        return len(await runs_of(app, job_id)) >= least

    return look()


def _finished(app: MahavishnuApp, least: int) -> Awaitable[bool]:
    async def look() -> bool:
        return sum(run.state.is_final for run in await runs_of(app, JOB)) >= least

    return look()
