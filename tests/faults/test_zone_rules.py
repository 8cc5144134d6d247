"""The rules of a time zone change between two starts of a server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.domain.trigger import CronTrigger
from tests.e2e.servers import leaving_nothing, serving
from tests.faults.accounts import every_run, instant
from tests.faults.clockshim import ClockedPlace, Wall

if TYPE_CHECKING:
    from pathlib import Path

NOON = "apscheduler:noon"
TUESDAY = datetime(2027, 6, 1, 10, 0, tzinfo=UTC)
"""Noon in Paris, by the rules of today."""
WEDNESDAY = datetime(2027, 6, 2, 3, 0, tzinfo=UTC)
"""Noon in Paris, should it take the clocks of Tokyo."""
HOUR = timedelta(hours=1)


def paris_moves_to(zone: str, folder: Path) -> Path:
    """Make a folder of rules in which Paris has those of another zone."""
    target = folder / "zones" / "Europe" / "Paris"
    target.parent.mkdir(parents=True)
    with resources.as_file(resources.files("tzdata.zoneinfo").joinpath(*zone.split("/"))) as rules:
        shutil.copy(rules, target)
    return folder / "zones"


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_new_rules_move_the_fires_to_come_and_keep_the_recorded_ones(tmp_path: Path) -> None:
    """After an update of the time zones a job fires by the new rules; history stays as it was."""
    wall = Wall.of(tmp_path, at=TUESDAY - timedelta(seconds=30))
    place = ClockedPlace.at(wall, tmp_path)
    trigger = {"type": "cron", "expression": "0 12 * * *", "timezone": "Europe/Paris"}

    async with leaving_nothing(place):
        async with serving(place) as server:
            await server.call("schedule_internal_task", task="shout", trigger=trigger, id="noon")
            wall.show(TUESDAY)
            before = await server.until_run(NOON)
        place = replace(place, zones=paris_moves_to("Asia/Tokyo", tmp_path))
        async with serving(place) as server:
            upcoming = instant((await server.call("get_job", job_id=NOON))["next_run_at"])
            assert upcoming == WEDNESDAY
            wall.show(WEDNESDAY)
            await server.until_run(NOON, count=2)
            after = await every_run(server, NOON)

    assert [instant(run["scheduled_for"]) for run in after] == [WEDNESDAY, TUESDAY]
    assert after[1:] == before


@pytest.mark.parametrize(
    ("armed", "after", "next_fire"),
    [
        (TUESDAY, TUESDAY - HOUR, TUESDAY),
        (TUESDAY + HOUR, TUESDAY - HOUR, TUESDAY),
        (TUESDAY - HOUR, TUESDAY - 2 * HOUR, TUESDAY),
        (TUESDAY + 25 * HOUR, TUESDAY, TUESDAY + 24 * HOUR),
        (TUESDAY - HOUR, TUESDAY - HOUR, TUESDAY - HOUR),
        (TUESDAY - HOUR, TUESDAY, TUESDAY - HOUR),
    ],
    ids=["unchanged", "was later", "was earlier", "after a record", "due now", "overdue"],
)
def test_only_a_fire_to_come_is_computed_anew(
    armed: datetime, after: datetime, next_fire: datetime
) -> None:
    """A fire that is due was right when it was computed; a later one follows the rules of today."""
    noon = CronTrigger(expression="0 12 * * *", timezone="Europe/Paris")

    assert noon.revised(armed, after=after) == next_fire
