"""Every due fire has one record, and everything that ran is on record, whoever is killed."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from tests.e2e.servers import wait_until
from tests.faults.reference import UNFINISHED, Span, discrepancies, due_count
from tests.faults.stage import LostError, Stage, Wire, ending
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_PERIODS = [1] * 16 + [2] * 2 + [3] * 2
_RATE = sum(1 / period for period in _PERIODS)
_TOGGLED, _RETIMED = 3, 7
"""The job that is paused and resumed, and the one whose trigger is changed, life after life."""


def a_call(number: int) -> dict[str, Any]:
    """Describe the job of a number: all ways to run and to be interrupted, some of them slow."""
    is_cron = number >= len(_PERIODS)
    trigger = (
        {"type": "cron", "expression": "* * * * *", "timezone": "Europe/Paris"}
        if is_cron
        else {"type": "interval", "seconds": _PERIODS[number]}
    )
    return {
        "task": ("witness", "delicate")[number % 2],
        "trigger": trigger,
        "params": {"milliseconds": (0, 150, 400)[number % 3]},
        "id": f"beat-{number}",
        "on_interrupt": (None, None, "hold", "rerun")[number % 4],
    }


@dataclass
class Life:
    """The jobs from their making to their end, as their client sees it.

    Attributes:
        spans: Per job which trigger was in force when; the newest has no end yet.
        kills: How many servers were killed.
        pairs: How many of them while another one stood by.
    """

    stage: Stage
    chance: random.Random
    wires: list[Wire] = field(default_factory=list)
    spans: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    kills: int = 0
    pairs: int = 0

    async def begin(self) -> None:
        """Make all jobs."""
        self.wires.append(await Wire.start(self.stage.place))
        for number in range(len(_PERIODS) + 2):
            made = await self.wires[0].call("schedule_internal_task", **a_call(number))
            self.spans[made["job"]["job_id"]] = [made["job"]["trigger"]]

    async def go_on(self) -> None:
        """Let the servers work for a while, change two jobs, and kill one of the servers."""
        while len(self.wires) < self.chance.choice([1, 2]):
            self.wires.append(await Wire.start(self.stage.place))
        victim = self.chance.choice(self.wires)
        end = self.chance.uniform(0.4, 3.0)
        changing = asyncio.create_task(self._change(self.chance.choice(self.wires)))
        await asyncio.sleep(end)  # the instant of the kill, not a wait for anything
        self.pairs += len(self.wires) - 1
        self.kills += 1
        self.wires.remove(victim)
        await victim.kill()
        await changing

    async def end(self) -> tuple[datetime, datetime]:
        """Pause everything and wait until nothing goes on; say between which instants it was."""
        if not self.wires:
            self.wires.append(await Wire.start(self.stage.place))
        wire = self.wires[0]
        retimed = f"apscheduler:beat-{_RETIMED}"
        self._observe(retimed, await wire.call("get_job", job_id=retimed))
        await wire.call("resume_job", job_id=f"apscheduler:beat-{_TOGGLED}")

        async def look_again() -> bool | None:
            return None if await wire.runs(state="pending") else True

        # A pause holds what was interrupted and waits to run again.
        await wait_until(look_again, "what was interrupted to run again", seconds=60)
        before = datetime.now(UTC)
        await asyncio.gather(*(wire.call("pause_job", job_id=one) for one in self.spans))
        after = datetime.now(UTC)

        async def look() -> bool | None:
            states = [await wire.runs(state=state) for state in sorted(UNFINISHED)]
            return None if any(states) else True

        await wait_until(look, "every run to be over", seconds=60)
        return before, after

    async def _change(self, wire: Wire) -> None:
        toggled, retimed = (f"apscheduler:beat-{number}" for number in (_TOGGLED, _RETIMED))
        trigger = {"type": "interval", "seconds": self.chance.choice([1, 2, 1.5])}
        try:
            self._observe(retimed, await wire.call("get_job", job_id=retimed))
            await wire.call("update_job", job_id=retimed, trigger=trigger)
            tool = self.chance.choice(["pause_job", "resume_job"])
            await wire.call(tool, job_id=toggled)
        except LostError:
            return

    def _observe(self, job_id: str, job: dict[str, Any]) -> None:
        if job["trigger"] != self.spans[job_id][-1]:
            self.spans[job_id].append(job["trigger"])

    def spans_of(self, job_id: str, *, before: datetime, after: datetime) -> list[Span]:
        """Say which trigger of a job was in force when."""
        triggers = self.spans[job_id]
        starts = [begun(trigger) for trigger in triggers]
        ends = [(start, start) for start in starts[1:]] + [(before, after)]
        return [
            Span(trigger, after=start, surely_until=surely, maybe_until=maybe)
            for trigger, start, (surely, maybe) in zip(triggers, starts, ends, strict=True)
        ]


def begun(trigger: dict[str, Any]) -> datetime:
    """Give the instant at which an interval was asked for: its first fire is a period later."""
    if trigger["type"] == "cron":
        return datetime.min.replace(tzinfo=UTC)
    start = datetime.fromisoformat(trigger["start_at"]).astimezone(UTC)
    return start - timedelta(seconds=trigger["seconds"])


def misjudged(job: dict[str, Any], runs: list[dict[str, Any]]) -> list[str]:
    """Say which interrupted runs were run again against the job's policy, or were not."""
    choice = job["policies"]["on_interrupt"]
    reruns = choice == "rerun" or (choice is None and job["target"] == "witness")
    repeated = [run for run in runs if len(run["attempts"]) > 1 and not reruns]
    given_up = [run for run in runs if run["state"] == "interrupted" and reruns]
    return [f"{run['run_id']} ran again, and should have been held" for run in repeated] + [
        f"{run['run_id']} was held, and should have run again" for run in given_up
    ]


async def test_every_fire_has_one_record_and_every_execution_is_on_record(
    tmp_path: Path, tally: Tally
) -> None:
    """Kills of leaders and of followers lose no fire, double none, and hide no execution."""
    stage, seed = Stage.of(tmp_path), random.randrange(1 << 32)
    life = Life(stage, random.Random(seed))
    objections: list[str] = []
    runs: dict[str, dict[str, Any]] = {}

    async with ending(stage, kill_processes_of):
        await life.begin()
        born = datetime.now(UTC)
        enough = time.monotonic() + amount(3000) / _RATE
        while time.monotonic() < enough:
            await life.go_on()
        before, after = await life.end()
        wire = life.wires[0]
        for job_id in life.spans:
            job, found = await wire.call("get_job", job_id=job_id), await wire.runs(job_id=job_id)
            spans = life.spans_of(job_id, before=before, after=after)
            if job["trigger"]["type"] == "cron":
                made = datetime.fromisoformat(job["created_at"])
                assert abs(made - born) < timedelta(seconds=60)
                spans = [Span(job["trigger"], made, before, after)]
            objections += discrepancies(job, found, spans) + misjudged(job, found)
            runs |= {run["run_id"]: run for run in found}
        for one in life.wires:
            await one.close()
    unexplained = stage.witness.objections(runs)
    fires = due_count(list(runs.values()))
    executed = sum(sighting.word == "START" for sighting in stage.witness.sightings())
    interrupted = sum(
        attempt["outcome"] == "interrupted" for run in runs.values() for attempt in run["attempts"]
    )
    tally(
        seed=seed,
        fires=fires,
        executions=executed,
        kills=life.kills,
        beside_another_server=life.pairs,
        interrupted=interrupted,
        missing_or_doubled=len(objections),
        unexplained=len(unexplained),
    )

    assert fires >= amount(3000)
    assert objections == []
    assert unexplained == []
