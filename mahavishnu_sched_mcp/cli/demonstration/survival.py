"""The third part: the server is killed, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.cli.demonstration.scene import LATER, PULSE, WATCHED, expect

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.cli.demonstration.scene import Scene
    from mahavishnu_sched_mcp.domain.value import JsonObject

_DEAD_SECONDS = 2.5
_SECOND = timedelta(seconds=1)
_ACCOUNTED = {"succeeded", "skipped", "missed"}
_OPEN = {"pending", "running"}
_KEPT = ("target", "name", "trigger", "state", "note", "tags", "policies", "created_at")


async def kill_server(scene: Scene) -> str:
    """Write down all there is, then kill the server without any warning."""
    scene.jobs_before = await _all_jobs(scene)
    scene.runs_before = {run["run_id"]: run for run in await scene.runs()}
    leader = (await scene.call("get_status"))["leader"]
    expect(leader["is_this_process"], f"the server says which process it is: {leader}")
    os.kill(leader["pid"], signal.SIGKILL)
    await scene.client.close()
    await scene.until_gone(seconds=10)
    await scene.let_pass(_DEAD_SECONDS, why="nobody is there: fires come due")
    jobs, runs = len(scene.jobs_before), len(scene.runs_before)
    return f"SIGKILL to process {leader['pid']}; on record: {jobs} jobs, {runs} runs"


async def start_again(scene: Scene) -> str:
    """Start the server again and compare."""
    scene.audience.wait("starting the server again")
    await scene.client.connect()

    async def look() -> bool | None:
        return True if (await scene.call("get_status"))["leader"]["is_this_process"] else None

    await scene.until("the server to lead", look, seconds=10)
    jobs = await _all_jobs(scene)
    expect(set(jobs) == set(scene.jobs_before), f"the same jobs: {sorted(jobs)}")
    for job_id, before in scene.jobs_before.items():
        kept = {name: jobs[job_id][name] for name in _KEPT}
        expect(kept == {name: before[name] for name in _KEPT}, f"{job_id} is as it was: {kept}")
        counts = jobs[job_id]["counts"]
        lower = {name for name, count in before["counts"].items() if counts[name] < count}
        expect(not lower, f"no count of {job_id} fell: {lower}")
    expect(jobs[WATCHED]["state"] == "paused", "the pause outlived the crash")
    expect(jobs[LATER]["state"] == "cancelled", "what was cancelled stays so")

    runs = {run["run_id"]: run for run in await scene.runs()}
    lost = scene.runs_before.keys() - runs.keys()
    expect(not lost, f"no run is lost: {lost}")
    for run_id, run in scene.runs_before.items():
        if run["state"] not in _OPEN:
            expect(runs[run_id]["state"] == run["state"], f"{run_id} is still {run['state']}")
    return (
        f"{len(jobs)} jobs and all {len(scene.runs_before)} runs are there; still paused: {WATCHED}"
    )


async def account_for_fires(scene: Scene) -> str:
    """Find a record for every second of the job, the dead time included."""
    restarted = (await scene.call("get_status"))["leader"]["since"]

    async def look() -> list[JsonObject] | None:
        runs = await scene.runs(job_id=PULSE)
        fresh = [run for run in runs if run["state"] == "succeeded" and _due(run) > _at(restarted)]
        is_settled = all(run["state"] not in _OPEN for run in runs)
        return runs if len(fresh) > 1 and is_settled else None

    runs = await scene.until("two new runs", look, seconds=20)
    start = _at((await scene.call("get_job", job_id=PULSE))["trigger"]["start_at"])
    seen: Counter[int] = Counter()
    states: Counter[str] = Counter()
    for run in runs:
        # Rounded: a run's instant is shown in milliseconds, the trigger's start is exact.
        first = round((_due(run) - start) / _SECOND)
        seen.update(range(first, first + run["fires"]))
        states[run["state"]] += run["fires"]
    due = range(min(seen), max(seen) + 1)
    holes = [number for number in due if number not in seen]
    expect(not holes, f"no fire is without a record: {holes}")
    expect(min(seen) == 0, f"the records begin with the first fire: {min(seen)}")
    expect(max(seen.values()) == 1, f"no fire has two records: {seen.most_common(3)}")
    expect(set(states) <= _ACCOUNTED, f"each fire {sorted(_ACCOUNTED)}: {states}")
    words = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(due)} fires were due: {words}; none without a record, none twice"


async def leave(scene: Scene) -> str:
    """Close the server's input, as an editor does, and look for what is left."""
    began = scene.clock.monotonic()
    scene.audience.wait("closing")
    await scene.client.close()
    await scene.until_gone(seconds=10)
    return (
        f"the server ended {scene.clock.monotonic() - began:.1f} s after its input; no process left"
    )


async def _all_jobs(scene: Scene) -> dict[str, JsonObject]:
    found = await scene.jobs()
    for state in ("completed", "cancelled"):
        found |= await scene.jobs(state=state)
    return found


def _due(run: JsonObject) -> datetime:
    return _at(run["scheduled_for"])


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
