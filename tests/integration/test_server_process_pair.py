"""Two editors, two server processes, one data dir."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Place, Server, leaving_nothing, seconds_of, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

EVERY_SECOND = {"type": "interval", "seconds": 1}
TICK = "apscheduler:tick"


@asynccontextmanager
async def a_pair(tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    """Start a leader, then a follower, on one data dir."""
    place = Place.of(tmp_path)
    async with leaving_nothing(place), serving(place) as leader, serving(place) as follower:
        yield leader, follower


async def test_only_the_leader_fires_and_both_answer(tmp_path: Path) -> None:
    """What a second editor schedules fires once, in the first one's server."""
    async with a_pair(tmp_path) as (leader, follower):
        made = await follower.call(
            "schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick"
        )
        runs = await follower.until_run(TICK, count=5)
        everything = await leader.runs(job_id=TICK)
        answers: dict[str, dict[str, Any]] = {
            "get_job": {"job_id": TICK},
            "list_catalog": {},
            "preview_schedule": {"trigger": EVERY_SECOND},
            "classify_task": {"task_name": "shout"},
            "get_run": {"run_id": runs[0]["run_id"]},
        }
        for tool, arguments in answers.items():
            for server in (leader, follower):
                assert await server.call(tool, **arguments)
        status = await follower.call("get_status")

        assert (leader.is_leader, follower.is_leader) == (True, False)
        assert (status["leader"]["pid"], status["leader"]["is_this_process"]) == (leader.pid, False)
        assert made["job"]["state"] == "active"
        assert {run["state"] for run in everything} <= {"succeeded", "running"}
        assert seconds_of(everything) == list(range(len(everything)))
        assert len({run["worker"] for run in everything}) == 1


async def test_what_the_follower_is_told_the_leader_does(tmp_path: Path) -> None:
    """Pausing, extra runs, stopping a run and cancelling work from the second editor too."""
    async with a_pair(tmp_path) as (leader, follower):
        await leader.call("schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick")
        await leader.until_run(TICK)

        paused = await follower.call("pause_job", job_id=TICK)
        extra = await follower.call("run_job_now", job_id=TICK, wait_seconds=10)
        resumed = await follower.call("resume_job", job_id=TICK)
        later = {"type": "date", "in_seconds": 600}
        await follower.call("schedule_internal_task", task="dawdle", trigger=later, id="slow")
        slow = await follower.call("run_job_now", job_id="apscheduler:slow")

        async def look() -> bool | None:
            run = await follower.call("get_run", run_id=slow["run_id"])
            return True if run["state"] == "running" else None

        await wait_until(look, "the slow run to start")
        await follower.call("cancel_run", run_id=slow["run_id"])
        stopped = await follower.call("get_run", run_id=slow["run_id"], wait_seconds=10)
        queued = await follower.call("enqueue_workflow", workflow_key="pair")
        through_queue = await follower.call("get_run", run_id=queued["run_id"], wait_seconds=20)
        cancelled = await follower.call("cancel_job", job_id=TICK)
        counts = (await leader.call("get_job", job_id=TICK))["counts"]
        seen = await leader.call("list_jobs", state="cancelled")
        unheard = await follower.refusal(
            "schedule_internal_task", task="shout", trigger=EVERY_SECOND, durable=False
        )

        assert (paused["state"], resumed["state"], cancelled["state"]) == (
            "paused",
            "active",
            "cancelled",
        )
        assert (extra["state"], extra["cause"]) == ("succeeded", "manual")
        assert stopped["state"] == "cancelled"
        assert through_queue["state"] == "succeeded"
        assert counts["succeeded"] >= 2
        assert [job["job_id"] for job in seen["jobs"]] == [TICK]
        assert unheard.startswith("[capability_unsupported]")


async def test_the_follower_takes_over_from_a_killed_leader(tmp_path: Path) -> None:
    """Kill -9 of the first editor's server: the second goes on, and no fire is lost or doubled."""
    async with a_pair(tmp_path) as (leader, follower):
        await leader.call("schedule_internal_task", task="shout", trigger=EVERY_SECOND, id="tick")
        before = await follower.until_run(TICK, count=2)
        os.kill(leader.pid, signal.SIGKILL)

        async def look() -> bool | None:
            return (await follower.call("get_status"))["leader"]["is_this_process"] or None

        await wait_until(look, "the follower to lead")
        await follower.until_run(TICK, count=len(before) + 3)
        await follower.call("pause_job", job_id=TICK)

        async def look_settled() -> list[dict[str, Any]] | None:
            found = await follower.runs(job_id=TICK)
            return found if all(run["finished_at"] for run in found) else None

        runs = await wait_until(look_settled, "every run to be over")

        assert {run["state"] for run in runs} <= {"succeeded", "skipped", "missed"}
        assert seconds_of(runs) == list(range(len(seconds_of(runs))))
        assert len({run["worker"] for run in runs if run["worker"]}) == 2
