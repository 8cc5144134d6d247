"""Lives the scenario once for every operation on the ledger, each time with a fault just there.

A program of its own, without threads, because every life is a fork of it:
`python -m tests.faults.sweep FOLDER FAULT STRIDE OFFSET` writes one line of JSON per point.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import traceback
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from mahavishnu_sched_mcp.server.views import job_view, run_view
from tests.factories import ManualClock, an_app, eventually, ring, runs_of
from tests.faults.autopsy import damage
from tests.faults.faulty_disk import Fault, FaultyDisk
from tests.faults.reference import Span, discrepancies
from tests.faults.scenario import ONLY, SCHEDULED, Facts, Journal, all_over, facts_of, perform

if TYPE_CHECKING:
    from collections.abc import Callable

    from mahavishnu_sched_mcp.app import MahavishnuApp

_MOST_MINUTES = 5


def sweep(folder: Path, fault: Fault, *, stride: int, offset: int) -> None:
    """Strike at every stride-th operation, until a life ends without a strike."""
    model = Journal(folder / "model.journal")
    total = _count(folder / "model", model)
    _say({"operations": total})
    point = 1 + offset
    while True:
        data_dir, journal = folder / f"data-{point}", Journal(folder / f"{point}.journal")
        life = _live(data_dir, journal, fault, at=point)
        if point > total and not life["has_struck"]:
            return
        objections = _judge(data_dir, journal, model.read()) if life["has_struck"] else []
        _say({"point": point, **life, "objections": objections})
        shutil.rmtree(data_dir)
        point += stride


async def objections_to(data_dir: Path, journal: Journal, model: list[Facts]) -> list[str]:
    """Start again after a fault, and compare what is there with what was acknowledged."""
    told = journal.read()
    clock = ManualClock(datetime.fromisoformat([line["at"] for line in told if "at" in line][-1]))
    async with an_app(data_dir, clock=clock, schedulers=ONLY) as app:
        found = _unfaithful(await facts_of(app), told, model)
        found += await _lost_runs(app, told)
        for name, job in (await facts_of(app)).items():
            if job["state"] == "paused":
                await app.scheduler.resume_job(name)
        await _caught_up(app, clock)
        found += await _unaccounted(app, clock, told)
    return found


def _unfaithful(facts: Facts, told: list[Facts], model: list[Facts]) -> list[str]:
    """Compare with the model: all that was acknowledged, and at most the step under way."""
    done = [line["done"] for line in told if "done" in line]
    snapshots: list[Facts] = [{}, *(line["facts"] for line in model if "done" in line)]
    allowed = snapshots[len(done) : len(done) + 2]
    if told[-1].get("over"):
        allowed = allowed[:1]
    if facts in allowed:
        return []
    names = {name for one in allowed for name in facts.keys() | one.keys()}
    wrong = {
        name: (facts.get(name), [one.get(name) for one in allowed])
        for name in names
        if facts.get(name) not in [one.get(name) for one in allowed]
    }
    return [f"after {done[-1:]}: {wrong or 'one step applied in part'}"]


async def _lost_runs(app: MahavishnuApp, told: list[Facts]) -> list[str]:
    runs = {run.run_id for run in (await app.scheduler.list_runs(limit=200)).rows}
    promised = {line["run_id"] for line in told if line.get("run_id")}
    return [f"lost run {run_id}" for run_id in promised - runs]


async def _caught_up(app: MahavishnuApp, clock: ManualClock) -> None:
    """Wait until nothing is due any more and nothing goes on.

    The queue's lease on a message that a dead worker held passes with the clock only.
    """

    async def is_ahead() -> bool:
        page = await app.scheduler.list_jobs(limit=200)
        return all(job.next_run_at is None or job.next_run_at > clock.now() for job in page.rows)

    for _ in range(_MOST_MINUTES):
        await eventually(is_ahead, description="nothing is due any more", within=15)
        with contextlib.suppress(AssertionError):
            await all_over(app, within=1)
            return
        await ring(app, clock)
    await all_over(app)


async def _unaccounted(app: MahavishnuApp, clock: ManualClock, told: list[Facts]) -> list[str]:
    """Hold the history against the reference, for every job that has fires."""
    facts, found = await facts_of(app), []
    for name in (f"apscheduler:{one}" for one in SCHEDULED):
        if name not in facts:
            continue
        shown = job_view((await app.scheduler.get_job(name)).job)
        runs = [run_view(run) for run in await runs_of(app, name)]
        found += discrepancies(shown, runs, _spans(shown, told, until=clock.now()))
    return found


def _spans(job: Facts, told: list[Facts], *, until: datetime) -> list[Span]:
    """Say which triggers the job had: its first one, and another where it was changed."""
    made = datetime.fromisoformat(job["created_at"])
    end = _cancelled_at(told, job) if job["state"] == "cancelled" else until
    trigger = job["trigger"]
    if trigger["type"] != "interval":
        return [Span(trigger, made, end, end)]
    period = timedelta(seconds=trigger["seconds"])
    changed = datetime.fromisoformat(trigger["start_at"]) - period
    spans = [Span(trigger, changed, end, end)]
    if changed > made:
        first = {"type": "interval", "seconds": 60}
        start = {"start_at": (made + timedelta(seconds=60)).isoformat()}
        spans.insert(0, Span(first | start, made, changed, changed))
    return spans


def _cancelled_at(told: list[Facts], job: Facts) -> datetime:
    """Find at which instant of the day the job was cancelled."""
    at = ""
    for line in told:
        at = line.get("at", at)
        if line.get("begun") == f"cancel {job['job_id'].partition(':')[2]}":
            break
    return datetime.fromisoformat(at)


def _count(data_dir: Path, model: Journal) -> int:
    """Live the scenario once without a fault, and check that this finds nothing.

    It is lived in this very process, so that the forks need not load what it loads.
    """
    disk = FaultyDisk(Fault.NONE, at=0)
    asyncio.run(perform(data_dir, model))
    disk.unregister()
    objections = asyncio.run(objections_to(data_dir, model, model.read()))
    if objections:
        msg = f"without any fault: {objections}"
        raise RuntimeError(msg)
    return disk.operations


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _live(data_dir: Path, journal: Journal, fault: Fault, *, at: int) -> dict[str, Any]:
    """Live the scenario in a child; a killed one tells nothing, and so it was struck."""

    def life() -> dict[str, Any]:
        disk = FaultyDisk(fault, at=at)
        try:
            asyncio.run(perform(data_dir, journal))
        except Exception as error:
            if not disk.has_struck:
                raise
            return {"has_struck": True, "ended_by": type(error).__name__}
        return {"has_struck": disk.has_struck, "operations": disk.operations}

    return _in_child(data_dir.with_suffix(".said"), life) or {"has_struck": True}


def _judge(data_dir: Path, journal: Journal, model: list[Facts]) -> list[str]:
    found = damage(data_dir / "ledger.db")

    def judgement() -> dict[str, Any]:
        try:
            return {"found": asyncio.run(objections_to(data_dir, journal, model))}
        except Exception as error:  # noqa: BLE001 - whatever the second life meets is the finding
            return {"found": [f"the next start met {type(error).__name__}: {error}"]}

    said = _in_child(data_dir.with_suffix(".judged"), judgement)
    return found + (["the next start died"] if said is None else said["found"])


def _in_child(answer: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Do something in a fork; None where it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            answer.write_text(json.dumps(work()), encoding="utf-8")
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return None
    if os.waitstatus_to_exitcode(status) != 0:
        msg = f"the child of {answer.name} broke"
        raise RuntimeError(msg)
    said: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return said


if __name__ == "__main__":
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sweep(Path(sys.argv[1]), Fault(sys.argv[2]), stride=int(sys.argv[3]), offset=int(sys.argv[4]))
