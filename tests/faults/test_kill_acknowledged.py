"""What a server said is done is done, whenever it is killed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from tests.faults.autopsy import damage
from tests.faults.promises import Clerk, broken, lasting
from tests.faults.stage import Stage, Wire, ending
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

_CLERKS = 8
_MOST_CYCLES_PER_HUNDRED_CHANGES = 40
"""A server that answers next to nothing before it is killed would prove nothing for ever."""


async def a_short_life(wire: Wire, clerks: list[Clerk], *, seconds: float) -> None:
    """Let all clerks work at once, and kill the server in the midst of it."""
    at_work = [asyncio.create_task(clerk.work(wire)) for clerk in clerks]
    await asyncio.sleep(seconds)  # the instant of the kill, not a wait for anything
    await wire.kill()
    await asyncio.gather(*at_work)


async def broken_promises(wire: Wire, clerks: list[Clerk]) -> list[str]:
    """Look at every job that was touched before the kill."""
    touched = [one for clerk in clerks for one in clerk.promises if one.job_id in clerk.touched]
    found = await asyncio.gather(*(broken(wire, one) for one in touched))
    return [objection for objections in found for objection in objections]


async def resurrected(wire: Wire, clerks: list[Clerk]) -> list[str]:
    """Compare the whole list with all that was ever promised, in both directions."""
    listed = {name: lasting(job) for name, job in (await wire.jobs()).items()}
    promised = {
        one.job_id: {name: fact for name, fact in one.kept.items() if name != "text"}
        for clerk in clerks
        for one in clerk.promises
        if one.kept is not None
    }
    return [
        f"{name} is {listed.get(name)}, {promised.get(name)} was acknowledged"
        for name in listed.keys() | promised.keys()
        if listed.get(name) != promised.get(name)
    ]


async def test_an_acknowledged_change_survives_a_kill_at_any_instant(
    tmp_path: Path, tally: Tally
) -> None:
    """A change that was answered is there after kill -9; one that was not is whole or absent."""
    stage, seed = Stage.of(tmp_path), random.randrange(1 << 32)
    chance = random.Random(seed)
    clerks = [Clerk(f"clerk{number}", random.Random(seed + number)) for number in range(_CLERKS)]
    cycles = acknowledged = 0
    lost: list[str] = []
    corrupt: list[str] = []

    async with ending(stage, kill_processes_of):
        while cycles < amount(100) or acknowledged < amount(5000):
            wire = await Wire.start(stage.place)
            lost += await broken_promises(wire, clerks)
            await a_short_life(wire, clerks, seconds=chance.uniform(0.020, 0.350))
            cycles += 1
            acknowledged = sum(clerk.acknowledged for clerk in clerks)
            corrupt += damage(stage.ledger)
            assert cycles <= _MOST_CYCLES_PER_HUNDRED_CHANGES * amount(5000) / 100
        wire = await Wire.start(stage.place)
        lost += await broken_promises(wire, clerks)
        wrong = await resurrected(wire, clerks)
        await wire.close()
    tally(
        seed=seed,
        cycles=cycles,
        acknowledged=acknowledged,
        lost=len(lost),
        resurrected=len(wrong),
        corrupt=len(corrupt),
    )

    assert lost == []
    assert wrong == []
    assert corrupt == []
