"""Who leads: by the lease, on the monotonic clock, with the lock as a short cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.leadership import DeposedError
from mahavishnu_sched_mcp.ledger import lease
from tests.factories import eventually
from tests.unit.leadership_stage import Candidate, Ticks, standing


@dataclass
class Stage:
    """Three candidates on one data dir."""

    ticks: Ticks
    all: list[Candidate]

    def lease(self) -> lease.Lease:
        """Give the row."""
        return self.all[0]._ledger.read(lease.read)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Let three processes stand; none has looked yet."""
    ticks = Ticks()
    async with standing(tmp_path, count=3, ticks=ticks) as candidates:
        yield Stage(ticks, candidates)


async def test_the_first_one_leads(stage: Stage) -> None:
    """It has the lock and a lease, and who looks later finds the lead taken."""
    one, two, _ = stage.all

    found = [await one.look(), await two.look()]

    assert found == [True, False]
    assert (one.term, two.term) == (1, 0)
    assert stage.lease().expires_ms == int((stage.ticks.now + 8) * 1000)
    assert stage.lease().holds_lock


async def test_renewing_keeps_the_lead_for_ever(stage: Stage) -> None:
    """As long as it renews in time nobody else sees the lead free."""
    one, two, _ = stage.all
    await one.look()

    for _ in range(10):
        stage.ticks.now += 7
        await one.renew()
        assert not await two.look()

    assert (one.term, one.is_trusted) == (1, True)


async def test_a_dead_leader_is_replaced_at_once(stage: Stage) -> None:
    """Its lock is free: nobody waits for the lease of a dead process."""
    one, two, _ = stage.all
    await one.look()

    one.die()

    assert await two.look()
    assert two.term == 2


async def test_a_lease_that_names_a_living_process_does_not_help_a_dead_leader(
    stage: Stage,
) -> None:
    """Process numbers are used again: the lock tells of the death, not the number."""
    one, two, _ = stage.all
    one._holder = one._holder._replace(pid=os.getppid())
    await one.look()

    one.die()

    assert await two.look()


async def test_a_lock_file_that_was_left_over_is_no_hindrance(stage: Stage, tmp_path: Path) -> None:
    """The lock is the system's, the file only its place."""
    (tmp_path / "leader.lock").write_text("12345")

    assert await stage.all[0].look()


async def test_a_stopped_leader_is_replaced_when_its_lease_ends(stage: Stage) -> None:
    """Though it still has the lock in its hand."""
    one, two, _ = stage.all
    await one.look()

    stage.ticks.now += 7.9
    early = await two.look()
    stage.ticks.now += 0.2
    late = await two.look()

    assert (early, late) == (False, True)
    assert (two.term, two.has_lock, one.has_lock) == (2, False, True)
    assert not stage.lease().holds_lock


async def test_of_two_that_see_it_free_one_is_elected(stage: Stage) -> None:
    """However close they come, the ledger writes one name."""
    one, two, three = stage.all
    await one.look()
    stage.ticks.now += 9

    found = await asyncio.gather(two.look(), three.look())

    assert sorted(found) == [False, True]
    assert sorted((two.term, three.term)) == [0, 2]


async def test_a_leader_that_goes_on_just_before_it_is_replaced_stays(stage: Stage) -> None:
    """It renewed between another one's look and its grasp: the look is void."""
    one, two, _ = stage.all
    await one.look()
    stage.ticks.now += 9
    take = two._ledger.write

    async def take_late(change: Callable[..., bool], *, durable: bool = True) -> bool:
        await one.renew()
        return await take(change, durable=durable)

    two._ledger.write = take_late  # type: ignore[method-assign,assignment]  # another process is faster

    assert not await two.look()
    assert (one.term, stage.lease().term) == (1, 1)


async def test_a_leader_without_the_lock_gets_it_when_it_is_free(stage: Stage) -> None:
    """After the old leader's end the lock tells of the new one's death again."""
    one, two, three = stage.all
    await one.look()
    stage.ticks.now += 9
    await two.look()

    one.die()
    await two.renew()
    held = stage.lease().holds_lock
    two.die()

    assert held
    assert await three.look()
    assert three.term == 3


async def test_the_lock_of_a_dead_old_leader_is_no_title(stage: Stage) -> None:
    """A third process that gets it first finds a leader that lives without it."""
    one, two, three = stage.all
    await one.look()
    stage.ticks.now += 9
    await two.look()

    one.die()
    found = await three.look()
    await two.renew()

    assert not found
    assert not three.has_lock
    assert (two.term, two.has_lock) == (2, True)


async def test_a_leader_without_the_lock_that_dies_is_replaced_when_its_lease_ends(
    stage: Stage,
) -> None:
    """Nothing else tells of its death while the old one, stopped, has the lock."""
    one, two, three = stage.all
    await one.look()
    stage.ticks.now += 9
    await two.look()

    early = await three.look()
    stage.ticks.now += 9
    late = await three.look()

    assert (early, late) == (False, True)
    assert three.term == 3


async def test_an_orderly_end_frees_the_lead_at_once(stage: Stage) -> None:
    """The lease is given up with the lock."""
    one, two, _ = stage.all
    await one.look()

    await one.stop()

    assert stage.lease().expires_ms == 0
    assert not two.is_somebody_leading()
    assert await two.look()
    assert two.term == 2


async def test_a_lease_of_another_boot_is_over(stage: Stage) -> None:
    """After a restart of the machine its end means nothing, however far ahead it lies."""
    one, two, _ = stage.all
    one._holder = one._holder._replace(boot="before")
    await one.look()

    one.die()

    assert await two.look()


async def test_a_lock_held_by_nobody_who_leads_does_not_block_for_ever(stage: Stage) -> None:
    """One that was stopped between the lock and its name is waited for as long as a lease lasts."""
    one, two, _ = stage.all
    one._lock.take()

    early = await two.look()
    stage.ticks.now += 8.1
    late = await two.look()

    assert (early, late) == (False, True)


async def test_a_removed_lock_file_is_taken_anew(stage: Stage, tmp_path: Path) -> None:
    """Who clears away `leader.lock` does not make a second leader at the next look."""
    one, two, _ = stage.all
    await one.look()
    (tmp_path / "leader.lock").unlink()

    await one.renew()

    assert not await two.look()
    assert one.term == 1


async def test_the_wall_clock_has_no_say(stage: Stage) -> None:
    """Setting it prolongs and shortens no lease."""
    one, two, _ = stage.all
    await one.look()

    for candidate in stage.all:
        candidate._clock._now = candidate._clock.now().replace(year=2036)  # type: ignore[attr-defined]  # a manual clock

    assert not await two.look()
    assert one.is_trusted


async def test_who_leads_is_known_to_all(stage: Stage) -> None:
    """A stopped leader counts until its lease ends, a dead one no longer."""
    one, two, three = stage.all
    seen = [two.is_somebody_leading()]
    await one.look()
    seen.append(two.is_somebody_leading())
    stage.ticks.now += 9
    seen.append(two.is_somebody_leading())
    await two.look()
    seen.append(three.is_somebody_leading())
    two.die()
    one.die()
    stage.ticks.now += 9
    seen.append(three.is_somebody_leading())

    assert seen == [False, True, False, True, False]


async def test_a_process_that_cannot_begin_leaves_the_lead_to_another(stage: Stage) -> None:
    """What it had begun is ended before, and nobody has to wait for its lease."""
    one, two, _ = stage.all
    ended: list[int] = []

    async def begin(_: int) -> None:
        msg = "a defect of this process"
        raise RuntimeError(msg)

    async def step_down() -> None:
        ended.append(one.term)

    with pytest.raises(RuntimeError):
        await one.start(begin, step_down)

    assert ended == [1]
    assert (one.term, one.has_lock) == (0, False)
    assert await two.look()


async def test_a_process_that_ends_begins_nothing_any_more(stage: Stage) -> None:
    """An election under way is broken off, and what it began is ended."""
    one, two, _ = stage.all
    begun, ended = asyncio.Event(), asyncio.Event()

    async def begin(_: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def step_down() -> None:
        ended.set()

    await two.look()
    await one.start(_do_nothing, step_down)
    one._task.cancel()  # type: ignore[union-attr]  # it waits for the lead
    one._task = asyncio.create_task(one._live(begin))
    await two.stop()
    await asyncio.wait_for(begun.wait(), 5)

    await one.retire()

    assert ended.is_set()
    assert (one.term, stage.lease().expires_ms) == (0, 0)


async def test_a_retired_leader_keeps_its_lead_until_it_stops(stage: Stage) -> None:
    """What it still runs is recorded as the leader's, and nobody else begins meanwhile."""
    one, two, _ = stage.all
    await one.start(_do_nothing, _nothing)

    await one.retire()
    meanwhile = await two.look()
    await one.write(lambda db: db.execute("select 1").fetchall())
    await one.stop()

    assert not meanwhile
    assert await two.look()


async def test_a_deposed_leader_steps_down_and_leads_again(tmp_path: Path) -> None:
    """It hears of it at its next renewal, ends what it does, and stands again."""
    ticks, elected = Ticks(), list[int]()
    ended = asyncio.Event()

    async def begin(term: int) -> None:
        elected.append(term)

    async def step_down() -> None:
        ended.set()

    async with standing(tmp_path, count=2, ticks=ticks) as (one, two):
        one._terms = one._terms._replace(renew_every=0.05)
        await one.start(begin, step_down)
        renew = one.renew

        async def stay_stopped() -> None:
            if two.term == 0:
                return
            await renew()

        one.renew = stay_stopped  # type: ignore[method-assign]  # a process that is stopped renews nothing
        ticks.now += 9
        assert await two.look()
        await asyncio.wait_for(ended.wait(), 5)
        as_follower = (one.is_leader, one.has_lock)
        await two.stop()
        await eventually(lambda: len(elected) == 2, description="it leads again")

    assert as_follower == (False, False)
    assert elected == [1, 3]


async def test_a_deposed_leader_that_is_refused_a_write_knows_at_once(stage: Stage) -> None:
    """It need not wait for its next renewal."""
    one, two, _ = stage.all
    await one.look()
    stage.ticks.now += 9
    await two.look()

    with pytest.raises(DeposedError):
        await one.write(lambda db: db.execute("select 1").fetchall())

    assert one._deposed.is_set()


async def _do_nothing(_: int) -> None:
    return


async def _nothing() -> None:
    return
