"""The leader of several servers is killed or stopped: another one goes on, and only one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from tests.e2e.servers import wait_until
from tests.faults.failover import JOBS, SLOW, Troupe, is_alive, percentiles
from tests.faults.stage import Wire, ending
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_TAKE_OVER_SECONDS = 15
_BELIEF_SECONDS = 1.0
_LEASE_SECONDS = 8.0
_TOGETHER = 5
"""So many data dirs at once: a stop is mostly waiting."""


@pytest.mark.parametrize("servers", [2, 4])
async def test_a_killed_leader_is_replaced_and_no_fire_is_lost_or_doubled(
    servers: int, tmp_path: Path, tally: Tally
) -> None:
    """Kill -9 of the leader, again and again, while a new server joins for each."""
    troupe, chance = Troupe.of(tmp_path), random.Random(servers)

    async with ending(troupe.stage, kill_processes_of):
        await troupe.begin(servers=servers)
        for _ in range(-(-amount(50) // 2)):
            await asyncio.sleep(chance.random())  # the instant of the kill, not a wait
            await troupe.kill_leader()
            await troupe.join(servers)
        await troupe.leader()
        objections, runs = await troupe.end()
        await troupe.close()
    unexplained = troupe.stage.witness.objections(runs)
    fires = troupe.first_fires()
    to_fire = [fires[one.term] - one.struck for one in troupe.take_overs]
    to_tell = [one.told - one.struck for one in troupe.take_overs]
    believed = max(one.believed - one.struck for one in troupe.take_overs) / 1e9
    tally(
        kills=len(troupe.take_overs),
        servers=servers,
        fires=sum(run["fires"] for run in runs.values()),
        missing_or_doubled=len(objections),
        double_executions=len(unexplained),
        to_the_first_fire=percentiles(to_fire),
        to_get_status=percentiles(to_tell),
    )

    assert objections == []
    assert unexplained == []
    assert max(to_fire) < _TAKE_OVER_SECONDS * 1e9
    assert believed < _BELIEF_SECONDS


@dataclass
class Stop:
    """What one leader did that was stopped, replaced, and let go on.

    Attributes:
        writes: Attempts of its term that are not as they were when it went on.
        late: Attempts of its term that began after the take-over.
        survivors: Commands of its that lived while the run was run again.
        refires: Jobs that fired when it led again.
    """

    troupe: Troupe
    writes: int = -1
    late: int = -1
    survivors: int = -1
    refires: int = -1

    async def go_through(self) -> None:
        """Stop the leader beyond its lease, let it go on, and let it lead again."""
        await self.troupe.begin(servers=2)
        pid = await self._start_slow()
        zombie, struck = await self.troupe.stop_leader()
        term = self.troupe.term()
        try:
            await self.troupe.watch(zombie.process.pid, struck=struck, seconds=30)
            await self._look_for_survivor(pid)
            known = self.troupe.attempts(term=term)
            self.late = sum(
                began > self.troupe.term_began() for began in self.troupe.begun(term=term)
            )
        finally:
            os.kill(zombie.process.pid, signal.SIGCONT)
        await self._expect_follower(zombie)
        self.writes = sum(one not in known for one in self.troupe.attempts(term=term))
        await self._lead_again(zombie)

    async def _start_slow(self) -> int:
        """Start a command that goes on through the stop, and give its process."""
        wire = self.troupe.wires[0]
        far, params = {"type": "date", "in_seconds": 3600}, {"milliseconds": 25_000}
        arguments = {"task": "witness", "trigger": far, "params": params}
        await wire.call("schedule_internal_task", id=SLOW.partition(":")[2], **arguments)
        self._slow = (await wire.call("run_job_now", job_id=SLOW))["run_id"]
        return await self._slow_process(attempt=1)

    async def _slow_process(self, *, attempt: int) -> int:
        async def look() -> int | None:
            for one in self.troupe.stage.witness.sightings():
                if (one.run_id, one.attempt, one.word) == (self._slow, attempt, "START"):
                    return one.pid
            return None

        return await wait_until(look, f"attempt {attempt} of the slow command", seconds=30)

    async def _look_for_survivor(self, pid: int) -> None:
        await self._slow_process(attempt=2)
        self.survivors = int(is_alive(pid))

    async def _expect_follower(self, zombie: Wire) -> None:
        async def look() -> bool | None:
            said = (await zombie.call("get_status"))["leader"]
            return (said["is_running"] and not said["is_this_process"]) or None

        await wait_until(look, "the continued server to follow", seconds=20)
        assert (await zombie.call("get_job", job_id=SLOW))["job_id"] == SLOW
        await zombie.call("cancel_run", run_id=self._slow)

    async def _lead_again(self, zombie: Wire) -> None:
        """End the new leader in its turn: the old one takes over with all its engines."""
        other = next(wire for wire in self.troupe.wires if wire is not zombie)
        self.troupe.wires.remove(other)
        struck = time.monotonic_ns()
        await other.kill()
        await self.troupe.watch(other.process.pid, struck=struck, seconds=30)
        term = self.troupe.term()

        async def look() -> int | None:
            begun = {run_id for run_id, *_ in self.troupe.attempts(term=term)}
            fired = {
                run["job_id"]
                for run in await zombie.runs(state="succeeded")
                if run["run_id"] in begun
            }
            return len(fired) if fired >= JOBS.keys() else None

        self.refires = await wait_until(look, "every job to fire again", seconds=40)


async def test_a_stopped_leader_that_goes_on_changes_nothing(tmp_path: Path, tally: Tally) -> None:
    """SIGSTOP beyond the lease, then SIGCONT: it writes nothing, follows, and can lead again."""
    stops: list[Stop] = []
    objections, unexplained = list[str](), list[str]()

    async def go_through(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        stop = Stop(Troupe.of(folder))
        async with ending(stop.troupe.stage, kill_processes_of):
            await stop.go_through()
            found, runs = await stop.troupe.end()
            runs |= {run["run_id"]: run for run in await stop.troupe.wires[0].runs(job_id=SLOW)}
            await stop.troupe.close()
        stops.append(stop)
        objections.extend(found)
        unexplained.extend(stop.troupe.stage.witness.objections(runs))

    for first in range(0, amount(10), _TOGETHER):
        async with asyncio.TaskGroup() as group:
            for number in range(first, min(first + _TOGETHER, amount(10))):
                group.create_task(go_through(number))
    overs = [stop.troupe.take_overs[0] for stop in stops]
    to_fire = [
        stop.troupe.first_fires()[over.term] - over.struck
        for stop, over in zip(stops, overs, strict=True)
    ]
    logs = [stop.troupe.stage.place.log.read_text().count("lead_lost") for stop in stops]
    tally(
        stops=len(stops),
        missing_or_doubled=len(objections),
        double_executions=len(unexplained),
        writes_of_the_old_term=sum(stop.writes + stop.late for stop in stops),
        commands_that_outlived_the_take_over=sum(stop.survivors for stop in stops),
        to_the_first_fire=percentiles(to_fire),
        to_get_status=percentiles([over.told - over.struck for over in overs]),
    )

    assert [(stop.writes, stop.late) for stop in stops] == [(0, 0)] * len(stops)
    assert [stop.refires for stop in stops] == [len(JOBS)] * len(stops)
    assert logs == [1] * len(stops)
    assert max(to_fire) < _TAKE_OVER_SECONDS * 1e9
    assert max(over.believed - over.struck for over in overs) < (_LEASE_SECONDS + 1) * 1e9
    assert objections == []
    assert (sum(stop.survivors for stop in stops), unexplained) == (0, [])
