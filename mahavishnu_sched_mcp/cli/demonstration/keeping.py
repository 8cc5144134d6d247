"""The second part: holding jobs, extra runs, a refusal, and Prefect's runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

from mahavishnu_sched_mcp.cli.demonstration.scene import (
    LATER,
    NIGHTLY,
    PULSE,
    WATCHED,
    MissError,
    expect,
)
from mahavishnu_sched_mcp.server.client import ToolRefusedError

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.cli.demonstration.scene import Scene
    from mahavishnu_sched_mcp.domain.value import JsonObject

_HELD_SECONDS = 2.5
_BAD_ENDS = {"failed", "timed_out", "dead", "cancelled"}


async def pause_and_resume(scene: Scene) -> str:
    """Hold the job that runs every second, and let it go on."""
    held = await scene.call("pause_job", job_id=PULSE, note="a short rest")
    expect(held["state"] == "paused", f"the job is paused: {held}")

    async def look_settled() -> int | None:
        runs = await scene.runs(job_id=PULSE)
        return None if any(run["finished_at"] is None for run in runs) else len(runs)

    before = await scene.until("its last run to end", look_settled, seconds=10)
    await scene.let_pass(_HELD_SECONDS, why="paused: two fires pass")
    after = len(await scene.runs(job_id=PULSE))
    expect(after == before, f"nothing fired while it was paused: {before}, then {after}")

    resumed = await scene.call("resume_job", job_id=PULSE)
    expect(resumed["state"] == "active", f"the job is active: {resumed}")
    newest = (await scene.runs(job_id=PULSE))[0]["scheduled_for"]

    async def look_running() -> bool | None:
        runs = await scene.runs(job_id=PULSE, state="succeeded")
        return True if runs and runs[0]["scheduled_for"] > newest else None

    await scene.until("it to fire again", look_running, seconds=10)
    skipped = await scene.runs(job_id=PULSE, state="skipped")
    fires = sum(run["fires"] for run in skipped)
    expect(fires, f"the fires of the pause are on record: {skipped}")
    return f"no run while paused; fires on record as skipped: {fires}"


async def run_one_now(scene: Scene) -> str:
    """Run the nightly job once, now, and wait for its end."""
    scene.audience.wait("waiting for the extra run")
    run = await scene.call("run_job_now", job_id=NIGHTLY, wait_seconds=30)
    expect(run["state"] == "succeeded", f"the extra run succeeded: {run}")
    expect(run["cause"] == "manual", f"its cause is manual: {run}")
    expect(scene.stage.archive("nightly").exists(), "the archive is there")
    return f"{NIGHTLY}: {run['state']} in {run['duration_ms']} ms; its schedule is as it was"


async def mend_refusal(scene: Scene) -> str:
    """Ask for something that does not exist, and do what the refusal says."""
    call: JsonObject = {
        "task": "remnid",
        "trigger": {"type": "date", "in_seconds": 600},
        "params": {"message": "Look at the backups"},
        "id": LATER.partition(":")[2],
    }
    try:
        answer = await scene.call("schedule_internal_task", **call)
    except ToolRefusedError as refusal:
        text = str(refusal)
    else:
        msg = f"not so: task 'remnid' is refused: {answer}"
        raise MissError(msg)
    scene.audience.say(text)
    expect(text.startswith("[unknown_task]"), f"the refusal has its code: {text}")
    advice = re.search(r"Did you mean '(\w+)'", text)
    expect(advice, f"the refusal has its mend: {text}")
    name = advice[1] if advice else ""
    expect(LATER not in await scene.jobs(), "nothing was half made")

    made = await scene.call("schedule_internal_task", **(call | {"task": name}))
    expect(made["outcome"] == "created", f"the mended call works: {made}")
    return f"mended with '{name}': {LATER} {made['job']['schedule_in_words']}"


async def cancel_one(scene: Scene) -> str:
    """Cancel a job for good."""
    cancelled = await scene.call("cancel_job", job_id=LATER)
    expect(cancelled["state"] == "cancelled", f"the job is cancelled: {cancelled}")
    expect(LATER not in await scene.jobs(), "it left the list")
    expect(LATER in await scene.jobs(state="cancelled"), "it can still be looked up")
    return f"{LATER}: cancelled, and still on record"


async def watch_prefect(scene: Scene) -> str:
    """Wait for Prefect's server, then for a run that its own worker completed."""

    async def look_ready() -> JsonObject | None:
        status = await scene.call("get_status")
        engine = status["engines"]["prefect"]
        scene.audience.wait(f"Prefect is {engine['state']}: {engine.get('detail', '')}")
        expect(engine["state"] != "unavailable", f"Prefect starts: {engine}")
        return engine if engine["state"] == "ready" else None

    engine = await scene.until("Prefect's server", look_ready, seconds=90)
    scene.audience.say(f"Prefect's UI: {engine['url']}")

    async def look_done() -> JsonObject | None:
        runs = await scene.runs(job_id=WATCHED)
        bad = [run for run in runs if run["state"] in _BAD_ENDS]
        expect(not bad, f"no run of {WATCHED} fails: {bad}")
        states = ", ".join(run["state"] for run in runs) or "none yet"
        scene.audience.wait(f"waiting for a run in Prefect; so far: {states}")
        return next((run for run in runs if run["state"] == "succeeded"), None)

    found = await scene.until(f"a run of {WATCHED}", look_done, seconds=60)
    run = await scene.call("get_run", run_id=found["run_id"])
    nodes = {node["node"]: node["state"] for node in run["nodes"]}
    expect(nodes == dict.fromkeys(("pack", "verify"), "succeeded"), f"both nodes ran: {nodes}")
    expect(scene.stage.archive("watched").exists(), "the archive is there")
    address = run["reference"]["url"]
    # Prefect answers a page to those who ask for one, as browsers do.
    async with httpx.AsyncClient(trust_env=False, headers={"Accept": "text/html"}) as browser:
        page = await browser.get(address)
    expect(page.status_code == httpx.codes.OK, f"{address} shows a page: {page.status_code}")
    scene.audience.say(f"{run['scheduled_for']} {run['state']} in {run['duration_ms']} ms")
    return f"a completed run: {address}"


async def list_all(scene: Scene) -> str:
    """See the jobs of all three engines in one list."""
    jobs = await scene.jobs()
    expect(set(jobs) == {PULSE, NIGHTLY, WATCHED}, f"three jobs in one list: {list(jobs)}")
    for job in jobs.values():
        scene.audience.say(f"{job['job_id']}: {job['state']}, {job['schedule_in_words']}")
    return ", ".join(sorted(jobs))


async def pause_deployment(scene: Scene) -> str:
    """Hold the deployment, which Prefect has to confirm."""
    held = await scene.call("pause_job", job_id=WATCHED, note="held before the crash")
    expect(held["state"] == "paused", f"the deployment is paused: {held}")
    return f"{WATCHED}: paused, with a note"
