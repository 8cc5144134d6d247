"""A fire is due while the job's run before is not over: the five policies, to the record."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.run import Cause, RunState
from mahavishnu_sched_mcp.runner.starting import OVERTAKEN
from tests.doors import ENGINES, Door, a_house, keep_at
from tests.factories import (
    ManualClock,
    an_interval,
    eventually,
    ring,
    rows_of,
    runs_of,
    settled,
    what_a_kill_leaves,
)

LIMITS = {"max_overlap": 2, "max_queued_per_job": 2}


async def history(app: MahavishnuApp, job_id: str) -> list[tuple[str, str | None]]:
    """Give state and reason of every run of a job, the oldest fire first."""
    return [(run.state.value, run.reason) for run in await runs_of(app, job_id)]


async def let_all_go(app: MahavishnuApp, door: Door, job_id: str) -> None:
    """Let whoever comes to the door go, until the job has no unfinished run."""

    async def is_quiet() -> bool:
        for visit in door.going:
            visit.let_go()
        return all(run.state.is_final for run in await runs_of(app, job_id))

    await eventually(is_quiet, description=f"{job_id} is quiet", within=20)


DONE = ("succeeded", None)
SKIPPED = ("skipped", "overlap")
DROPPED = ("missed", "queue_full")
OVERTOOK = ("cancelled", OVERTAKEN)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("policy", "expected", "most"),
    [
        ("skip", [DONE, SKIPPED, SKIPPED, SKIPPED, SKIPPED], 1),
        ("queue_one", [DONE, DONE, SKIPPED, SKIPPED, SKIPPED], 1),
        ("queue_all", [DONE, DONE, DONE, DROPPED, DROPPED], 1),
        ("cancel_previous", [OVERTOOK, OVERTOOK, OVERTOOK, OVERTOOK, DONE], 1),
        ("allow", [DONE, DONE, SKIPPED, SKIPPED, SKIPPED], 2),
    ],
)
async def test_five_fires_while_the_first_run_goes_on(
    policy: str, expected: list[tuple[str, str | None]], most: int, engine: str, tmp_path: Path
) -> None:
    """Each policy leaves just these records, and never more runs at once than it allows."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock, limits=LIMITS) as app:
        job_id = await keep_at(app, door, engine=engine, overlap_policy=policy)
        for number in range(1, 6):
            await ring(app, clock)
            if number == 1 or (policy == "allow" and number == 2):
                await door.visited(number)
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)
        job = (await app.scheduler.get_job(job_id)).job

    assert found == expected
    assert door.most == most
    counted = {name: number for name, number in job.counts.model_dump().items() if number}
    assert counted == Counter(state for state, _ in expected)
    assert job.fired == 5


@pytest.mark.parametrize("engine", ENGINES)
async def test_waiting_fires_run_in_their_order(engine: str, tmp_path: Path) -> None:
    """queue_all runs the oldest fire first; each says what it waits for."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, engine=engine, overlap_policy="queue_all")
        for _ in range(4):
            await ring(app, clock)
        await door.visited(1)
        waiting = [run for run in await runs_of(app, job_id) if run.state is RunState.PENDING]
        await let_all_go(app, door, job_id)
        runs = await runs_of(app, job_id)

    assert {run.reason for run in waiting} == {"waiting for the job's runs before it"}
    assert [visit.run_id for visit in door.visits] == [run.run_id for run in runs]


async def test_a_workflows_run_is_handed_over_when_its_place_is_free(tmp_path: Path) -> None:
    """Fires that wait are in the ledger alone, so a queue never decides about them."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, engine="oneiric", overlap_policy="queue_all")
        for _ in range(3):
            await ring(app, clock)
        await door.visited(1)
        handed_over = rows_of(app)["outbox"]
        await let_all_go(app, door, job_id)

    assert handed_over == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("skip", [DONE, SKIPPED, SKIPPED]),
        ("queue_one", [DONE, DONE, SKIPPED]),
        ("queue_all", [DONE, DONE, DONE]),
        ("cancel_previous", [OVERTOOK, OVERTOOK, DONE]),
        ("allow", [DONE, DONE, SKIPPED]),
    ],
)
async def test_a_crash_in_the_middle_changes_no_record(
    policy: str, expected: list[tuple[str, str | None]], engine: str, tmp_path: Path
) -> None:
    """What the dead server had let in runs again, in the same places and not one more."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path / "one", clock=clock, limits=LIMITS) as app:
        job_id = await keep_at(
            app, door, engine=engine, target="attend_safely", overlap_policy=policy
        )
        for number in range(1, 4):
            await ring(app, clock)
            if number == 1 or (policy == "allow" and number == 2):
                await door.visited(number)
        left = what_a_kill_leaves(app, at=tmp_path / "two")
    before, door.most = len(door.visits), 0
    async with a_house(left, clock=clock, limits=LIMITS) as app:
        await door.visited(before + 1)
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)

    assert found == expected
    assert door.most <= (2 if policy == "allow" else 1)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_run_asked_for_by_hand_waits_its_turn(engine: str, tmp_path: Path) -> None:
    """It is never skipped, and takes none of the places of waiting fires."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, engine=engine, overlap_policy="queue_one")
        await ring(app, clock)
        await door.visited(1)
        asked = await app.scheduler.run_job_now(job_id)
        await ring(app, clock)
        await ring(app, clock)
        await let_all_go(app, door, job_id)
        runs = await runs_of(app, job_id)

    states = Counter((run.cause, run.state) for run in runs)
    assert states == {
        (Cause.SCHEDULE, RunState.SUCCEEDED): 2,
        (Cause.MANUAL, RunState.SUCCEEDED): 1,
        (Cause.SCHEDULE, RunState.SKIPPED): 1,
    }
    assert door.visits[1].run_id == asked.run_id
    assert door.most == 1


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_paused_job_starts_nothing_but_what_is_asked_for_by_hand(
    engine: str, tmp_path: Path
) -> None:
    """Waiting fires are held by the pause; a run asked for goes on at once, and they after it."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, engine=engine, overlap_policy="queue_all")
        for _ in range(3):
            await ring(app, clock)
        first = await door.visited(1)
        await app.scheduler.pause_job(job_id)
        asked = await app.scheduler.run_job_now(job_id)
        first.let_go()
        second = await door.visited(2)
        states = [run.state for run in await runs_of(app, job_id) if run.cause is Cause.SCHEDULE]
        second.let_go()
        await eventually(lambda: _is_over(app, asked.run_id), description="the run by hand is over")
        came_in_the_pause = len(door.visits)
        await app.scheduler.resume_job(job_id)
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)

    assert second.run_id == asked.run_id
    assert states == [RunState.SUCCEEDED, RunState.PENDING, RunState.PENDING]
    assert came_in_the_pause == 2
    assert found == [DONE] * 4
    assert door.most == 1


async def test_a_workflow_handed_over_before_the_pause_gives_its_place_back(
    tmp_path: Path,
) -> None:
    """No message of a paused job starts it; after the pause it is handed over anew, once."""
    clock, door, other = ManualClock(), Door(), Door()
    async with a_house(tmp_path, clock=clock, queues={"sqlite": {"concurrency": 1}}) as app:
        job_id = await keep_at(app, door, engine="oneiric")
        await app.scheduler.enqueue_workflow("attend", context={"door": other.name})
        blocker = await other.visited(1)
        await ring(app, clock)  # its message lies behind the blocker's
        await eventually(lambda: rows_of(app)["outbox"] == 2, description="both are handed over")
        await app.scheduler.pause_job(job_id)
        blocker.let_go()
        await eventually(lambda: rows_of(app)["outbox"] == 0, description="the place is free")
        came_in_the_pause = len(door.visits)
        await app.scheduler.resume_job(job_id)
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)

    assert came_in_the_pause == 0
    assert found == [DONE]
    assert len(door.visits) == 1


async def test_a_changed_policy_is_for_the_fires_to_come(tmp_path: Path) -> None:
    """What waits already is run; the new policy decides about the next fire."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, overlap_policy="queue_all")
        for _ in range(3):
            await ring(app, clock)
        await app.scheduler.update_job(job_id, policies={"overlap_policy": "skip"})
        await ring(app, clock)
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)

    assert found == [DONE, DONE, DONE, SKIPPED]


async def test_a_job_that_is_allowed_less_at_once_waits_for_its_places(tmp_path: Path) -> None:
    """From allow to queue_one: the runs that go on end first."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, overlap_policy="allow")
        await ring(app, clock)
        await ring(app, clock)
        await door.visited(2)
        await app.scheduler.update_job(job_id, policies={"overlap_policy": "queue_one"})
        await ring(app, clock)
        door.visits[0].let_go()
        await settled_but(app, job_id, left=2)
        came = len(door.visits)
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)

    assert came == 2
    assert found == [DONE] * 3


async def test_the_first_fire_in_line_waits_for_nobody(tmp_path: Path) -> None:
    """While no slot is free queue_one lets in the next fire and the one after it, no third."""
    clock, door, other = ManualClock(), Door(), Door()
    async with a_house(tmp_path, clock=clock, limits={"max_concurrent_runs": 1}) as app:
        blocking = await app.scheduler.schedule_internal_task(
            "attend", trigger=an_interval(86400), params={"door": other.name}, id="blocker"
        )
        await app.scheduler.run_job_now(blocking.job.job_id)
        await other.visited(1)
        job_id = await keep_at(app, door, overlap_policy="queue_one")
        for _ in range(3):
            await ring(app, clock)
        before = [run.state for run in await runs_of(app, job_id)]
        other.visits[0].let_go()
        await let_all_go(app, door, job_id)

    assert before == [RunState.PENDING, RunState.PENDING, RunState.SKIPPED]


async def test_what_a_fire_cancels_has_ended_before_the_next_begins(tmp_path: Path) -> None:
    """cancel_previous: the run that goes on is stopped and recorded, then the fire's own starts."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, overlap_policy="cancel_previous")
        await ring(app, clock)
        await door.visited(1)
        await ring(app, clock)
        await door.visited(2)
        first, second = await runs_of(app, job_id)
        door.visits[1].let_go()
        await settled(app, job_id, count=2)

    assert (first.state, first.reason) == (RunState.CANCELLED, OVERTAKEN)
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


async def test_late_fires_are_judged_one_by_one(tmp_path: Path) -> None:
    """Inside the grace they are due at one instant, in their order: queue_all keeps them all."""
    clock, door = ManualClock(), Door()
    async with a_house(tmp_path, clock=clock) as app:
        job_id = await keep_at(app, door, seconds=20, overlap_policy="queue_all")
        await ring(app, clock, by=timedelta(seconds=60))
        await let_all_go(app, door, job_id)
        found = await history(app, job_id)

    assert found == [DONE] * 3


async def settled_but(app: MahavishnuApp, job_id: str, *, left: int) -> None:
    """Wait until a job has just so many unfinished runs."""

    async def is_so() -> bool:
        found = await runs_of(app, job_id)
        return sum(not run.state.is_final for run in found) == left

    await eventually(is_so, description=f"{left} unfinished runs")


async def _is_over(app: MahavishnuApp, run_id: str) -> bool:
    return (await app.scheduler.get_run(run_id)).state.is_final
