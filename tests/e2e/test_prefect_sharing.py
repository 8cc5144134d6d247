"""Prefect's runs as an agent sees them, from two editors on one data dir."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Place, leaving_nothing, serving, wait_until

if TYPE_CHECKING:
    from pathlib import Path

JOB = "prefect:greeting"
PERIOD = 5


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_scheduled_prefect_run_appears_and_completes(tmp_path: Path) -> None:
    """A follower deploys, the leader's one embedded Prefect server makes the run and completes it.

    The run is one that Prefect's own scheduler made: nobody asked for it, and it was due on the
    schedule's grid.
    """
    place = Place.of(tmp_path)

    async with leaving_nothing(place), serving(place) as leader, serving(place) as follower:
        made = await follower.call(
            "schedule_deployment",
            flow_name="pair",
            name="greeting",
            schedule_config={"interval_seconds": PERIOD},
        )
        (run, *_) = await follower.until_run(JOB, seconds=90)
        job = await follower.call("get_job", job_id=JOB)
        statuses = [await server.call("get_status") for server in (leader, follower)]
        children = [words for words in place.processes.values() if " _prefect-server" in words]

        async def look() -> dict[str, Any] | None:
            found = await leader.runs(job_id=JOB, state="succeeded")
            return found[0] if len(found) > 1 else None

        later = await wait_until(look, "a second run", seconds=30)
        cancelled = await follower.call("cancel_job", job_id=JOB)

    assert made["job"]["state"] in {"pending", "active"}
    assert job["state"] == "active"
    assert (run["cause"], run["state"], run["worker"]) == ("schedule", "succeeded", "prefect")
    assert {node["node"]: node["state"] for node in run["nodes"]} == {
        "first": "succeeded",
        "second": "succeeded",
    }
    assert {"flow_run_id", "url"} <= set(run["reference"])
    start = datetime.fromisoformat(job["trigger"]["start_at"])
    for seen in (run, later):
        since = (datetime.fromisoformat(seen["scheduled_for"]) - start).total_seconds()
        assert since % PERIOD == pytest.approx(0, abs=0.01) or since % PERIOD > PERIOD - 0.01
    assert later["reference"]["flow_run_id"] != run["reference"]["flow_run_id"]
    assert [status["engines"]["prefect"]["state"] for status in statuses] == ["ready", "ready"]
    assert len(children) == 1
    assert cancelled["state"] == "cancelled"
