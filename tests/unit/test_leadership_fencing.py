"""A leader's writes count in its own term only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.errors import InternalError
from mahavishnu_sched_mcp.leadership import DeposedError
from mahavishnu_sched_mcp.ledger import reports
from tests.factories import TWO_O_CLOCK
from tests.unit.leadership_stage import Candidate, Ticks, standing


@pytest.fixture
def ticks() -> Ticks:
    """Hand the test the clock of the leases."""
    return Ticks()


@pytest.fixture
async def pair(tmp_path: Path, ticks: Ticks) -> AsyncIterator[list[Candidate]]:
    """Let one lead while the other one waits."""
    async with standing(tmp_path, count=2, ticks=ticks) as candidates:
        assert await candidates[0].look()
        yield candidates


def remember(db: apsw.Connection) -> None:
    """Write something that can be found again."""
    reports.add_reminder(db, "run-1", "written", at=TWO_O_CLOCK)


def written(candidate: Candidate) -> int:
    """Count what was written."""
    return len(candidate._ledger.read(lambda db: reports.reminders(db, since=TWO_O_CLOCK, limit=9)))


async def test_the_leader_writes(pair: list[Candidate]) -> None:
    """In its term its changes are the ledger's."""
    await pair[0].write(remember)

    assert written(pair[1]) == 1


async def test_a_follower_writes_nothing_of_the_leaders(pair: list[Candidate]) -> None:
    """Not even by mistake."""
    with pytest.raises(DeposedError):
        await pair[1].write(remember)

    assert written(pair[0]) == 0


async def test_an_old_term_writes_nothing(pair: list[Candidate], ticks: Ticks) -> None:
    """A leader that was stopped, replaced and goes on is refused in the same transaction."""
    one, two = pair
    ticks.now += 9
    await two.look()

    with pytest.raises(DeposedError) as refused:
        await one.write(remember)

    assert "term 2" in str(refused.value)
    assert isinstance(refused.value, InternalError)
    assert written(two) == 0


async def test_what_began_in_an_old_term_is_refused_also_when_one_leads_again(
    pair: list[Candidate], ticks: Ticks
) -> None:
    """The work of term 1 is not the work of term 3, though the process is the same."""
    one, two = pair
    ticks.now += 9
    await two.look()
    await two.stop()
    one.term = 0
    assert await one.look()

    with pytest.raises(DeposedError):
        await one.write(remember, term=1)
    await one.write(lambda db: db.execute("select 1").fetchall(), term=3)

    assert (one.term, written(one)) == (3, 0)
    assert not one._deposed.is_set()


async def test_an_old_term_does_not_renew(pair: list[Candidate], ticks: Ticks) -> None:
    """Its lease is the new leader's by now."""
    one, two = pair
    ticks.now += 9
    await two.look()

    with pytest.raises(DeposedError):
        await one.renew()

    assert not one.is_trusted


async def test_a_leader_trusts_itself_until_the_margin(pair: list[Candidate], ticks: Ticks) -> None:
    """Before anyone else can lead it starts nothing any more."""
    one, two = pair
    trusted = [one.is_trusted]
    for seconds in (5.9, 0.2):
        ticks.now += seconds
        trusted.append(one.is_trusted)
    taken = await two.look()
    await one.renew()
    trusted.append(one.is_trusted)

    assert trusted == [True, True, False, True]
    assert not taken


async def test_a_follower_is_not_trusted(pair: list[Candidate]) -> None:
    """Only a leader may start what was claimed."""
    assert not pair[1].is_trusted
