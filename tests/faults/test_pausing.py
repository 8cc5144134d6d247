"""Pausing, resuming, changing and cancelling from several servers at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from tests.e2e.servers import wait_until
from tests.faults.linearity import Act, State, is_linearizable
from tests.faults.reference import SCHEDULED, UNFINISHED, Span, discrepancies
from tests.faults.stage import RefusedError, Stage, Wire, ending
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_JOBS = 6
_EVERY_SECOND = {"type": "interval", "seconds": 1}
_LENGTHS = (0, 300, 1500)
_ROUNDING = 0.002
"""The tools answer in milliseconds."""


class Pause(NamedTuple):
    """A stretch in which a job was paused for certain: from an answer to a resuming call."""

    job_id: str
    since: int
    since_wall: datetime
    until: int


@dataclass
class History:
    """What four callers asked and were told.

    Attributes:
        acts: Per job, what shows or changes it.
        pauses: Answered pauses: job, sent, answered, and the wall clock then.
        resumes: Calls to resume: job, sent, answered.
        started: Runs beside the schedule.
        stopped: Runs whose stop was acknowledged while they were not over.
        calls: How many operations there were.
        over: When the last one was answered.
    """

    acts: defaultdict[str, list[Act]] = field(default_factory=lambda: defaultdict(list))
    pauses: list[tuple[str, int, int, datetime]] = field(default_factory=list)
    resumes: list[tuple[str, int, int]] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    calls: int = 0
    over: int = 0

    def surely_paused(self) -> Iterator[Pause]:
        """Give the stretches in which no call to resume was sent, or could take effect late."""
        for job_id, begun, ended, wall in self.pauses:
            rival = [sent for job, sent, told in self.resumes if job == job_id and told > begun]
            until = min(rival, default=self.over)
            if until > ended:
                yield Pause(job_id, ended, wall, until)


@dataclass
class Caller:
    """One client that calls without a plan."""

    wire: Wire
    chance: random.Random
    history: History

    async def work(self, *, calls: int) -> None:
        """Make so many calls, one after the other."""
        acts = [self._pause, self._resume, self._update, self._look, self._run, self._stop]
        for _ in range(calls):
            job_id = f"apscheduler:held-{self.chance.randrange(_JOBS)}"
            with contextlib.suppress(RefusedError):  # changed by another call meanwhile: no effect
                await self.chance.choice(acts)(job_id)
            self.history.calls += 1

    async def _pause(self, job_id: str) -> None:
        begun, ended = await self._act("pause_job", job_id, {"state": "paused"})
        self.history.pauses.append((job_id, begun, ended, datetime.now(UTC)))

    async def _resume(self, job_id: str) -> None:
        begun = time.monotonic_ns()
        await self._act("resume_job", job_id, {"state": "active"})
        self.history.resumes.append((job_id, begun, time.monotonic_ns()))

    async def _update(self, job_id: str) -> None:
        changes = {word: self.chance.randbytes(4).hex() for word in ("note", "name")}
        params = {"milliseconds": self.chance.choice(_LENGTHS)}
        await self._act("update_job", job_id, changes, params=params, **changes)

    async def _look(self, job_id: str) -> None:
        await self._act("get_job", job_id, {})

    async def _act(
        self, tool: str, job_id: str, changes: dict[str, str], **arguments: Any
    ) -> tuple[int, int]:
        begun = time.monotonic_ns()
        job = await self.wire.call(tool, job_id=job_id, **arguments)
        ended = time.monotonic_ns()
        self.history.acts[job_id].append(Act(begun, ended, changes, state_of(job)))
        return begun, ended

    async def _run(self, job_id: str) -> None:
        self.history.started.append((await self.wire.call("run_job_now", job_id=job_id))["run_id"])

    async def _stop(self, job_id: str) -> None:
        if not self.history.started:
            return await self._run(job_id)
        run = await self.wire.call(
            "cancel_run", run_id=self.chance.choice(self.history.started[-4:])
        )
        if run["state"] in UNFINISHED | {"cancelled"}:
            self.history.stopped.add(run["run_id"])
        return None


def state_of(job: dict[str, Any]) -> State:
    """Take out of a job what the callers change."""
    return State(job["state"], job["note"] or "", job["name"])


def a_call(number: int) -> dict[str, Any]:
    """Describe a job; in every third one fires wait for the runs before them."""
    return {
        "task": "witness",
        "trigger": _EVERY_SECOND,
        "params": {"milliseconds": _LENGTHS[number % 3]},
        "id": f"held-{number}",
        "overlap_policy": "queue_all" if number % 3 == 2 else "skip",
    }


async def test_what_was_acknowledged_holds_for_all_servers(tmp_path: Path, tally: Tally) -> None:
    """Four callers, two on the leader and one on each of two followers, contradict nobody."""
    stage, seed = Stage.of(tmp_path), random.randrange(1 << 32)
    history, objections = History(), list[str]()
    runs: dict[str, dict[str, Any]] = {}

    async with ending(stage, kill_processes_of):
        leader = await Wire.start(stage.place)
        followers = await asyncio.gather(*(Wire.start(stage.place) for _ in range(2)))
        born, made = datetime.now(UTC), dict[str, State]()
        for number in range(_JOBS):
            job = (await leader.call("schedule_internal_task", **a_call(number)))["job"]
            made[job["job_id"]] = state_of(job)
        callers = [
            Caller(wire, random.Random(seed + number), history)
            for number, wire in enumerate((leader, leader, *followers))
        ]
        await asyncio.gather(*(one.work(calls=amount(2000) // len(callers)) for one in callers))
        history.over = time.monotonic_ns()
        before, after = await _end(leader, made)
        for job_id in made:
            job, found = (
                await leader.call("get_job", job_id=job_id),
                await leader.runs(job_id=job_id),
            )
            objections += discrepancies(job, found, [Span(job["trigger"], born, before, after)])
            runs |= {run["run_id"]: run for run in found}
        await asyncio.gather(*(wire.close() for wire in (leader, *followers)))
    broken = [
        job_id
        for job_id, initial in made.items()
        if not is_linearizable(history.acts[job_id], initial=initial)
    ]
    starts = list(starts_in_pauses(stage, history, runs))
    revived = [run_id for run_id in history.stopped if runs[run_id]["state"] != "cancelled"]
    tally(
        seed=seed,
        operations=history.calls,
        pauses=len(history.pauses),
        stopped_runs=len(history.stopped),
        starts_after_a_pause=len(starts),
        revived_runs=len(revived),
        jobs_with_a_contradiction=len(broken),
        missing_or_doubled=len(objections),
    )

    assert history.calls >= amount(2000)
    assert history.pauses
    assert history.stopped
    assert starts == []
    assert revived == []
    assert broken == []
    assert objections == []


def starts_in_pauses(
    stage: Stage, history: History, runs: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Give the scheduled runs that began when their job was paused.

    One whose attempt was begun before the answer to the pause may be on its way to its first
    instruction for a while.
    """
    pauses = list(history.surely_paused())
    for seen in stage.witness.sightings():
        run = runs[seen.run_id]
        if seen.word != "START" or run["cause"] not in SCHEDULED:
            continue
        begun = datetime.fromisoformat(run["attempts"][seen.attempt - 1]["started_at"])
        for pause in pauses:
            is_during = pause.job_id == run["job_id"] and pause.since < seen.at < pause.until
            if is_during and (begun - pause.since_wall).total_seconds() > _ROUNDING:
                yield f"{seen.run_id} began {begun}, {pause.job_id} paused {pause.since_wall}"


async def _end(wire: Wire, jobs: dict[str, State]) -> tuple[datetime, datetime]:
    """Resume and pause all jobs, so that every fire has its record, and wait for the rest."""
    for job_id in jobs:
        await wire.call("update_job", job_id=job_id, params={"milliseconds": 0})
        await wire.call("resume_job", job_id=job_id)
    before = datetime.now(UTC)
    await asyncio.gather(*(wire.call("pause_job", job_id=job_id) for job_id in jobs))
    after = datetime.now(UTC)

    async def look() -> bool | None:
        for run in [run for one in UNFINISHED for run in await wire.runs(state=one)]:
            await wire.call("cancel_run", run_id=run["run_id"])
        return None if any([await wire.runs(state=one) for one in UNFINISHED]) else True

    await wait_until(look, "every run to be over", seconds=60)
    return before, after
