"""Five jobs, each slower than its interval, under each of the overlap policies at once."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Place, RawServer, leaving_nothing, wait_until
from tests.factories import NO_CHORES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_SECONDS = 20
_TOGETHER, _QUEUED = 3, 2
_MOST = {"skip": 1, "queue_one": 1, "queue_all": 1, "cancel_previous": 1, "allow": _TOGETHER}


_WITNESS = """
import os, sys, time
def say(word):
    names = "MAHAVISHNU_JOB_ID", "MAHAVISHNU_RUN_ID", "MAHAVISHNU_ATTEMPT"
    words = [*(os.environ[name] for name in names), word, str(time.monotonic_ns())]
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(out, (" ".join(words) + "\\n").encode())
    os.close(out)
say("START")
end = time.monotonic() + 3.5
while time.monotonic() < end:
    time.sleep(0.1)
    say("GOING")
say("END")
"""
"""It says every tenth of a second that it goes on: one that was killed said nothing more."""


def a_place(folder: Path) -> Place:
    """Write settings with a witness that takes three and a half seconds."""
    program = folder / "witness.py"
    program.write_text(_WITNESS, encoding="utf-8")
    argv = [sys.executable, "-I", "-S", str(program), str(folder / "witness.log")]
    return Place.of(
        folder,
        schedulers={"prefect_deployments_enabled": False},
        internal_tasks=NO_CHORES,
        limits={"max_overlap": _TOGETHER, "max_queued_per_job": _QUEUED},
        tasks={"modules": [], "commands": {"witness": {"argv": argv, "idempotent": True}}},
        workflows={},
    )


def most_at_once(file: Path) -> Counter[str]:
    """Count how many executions of each job went on at once, by their own first and last word."""
    spans: dict[tuple[str, str, str], list[int]] = {}
    for line in file.read_text(encoding="ascii").splitlines():
        job, run, attempt, _, at = line.split()
        spans.setdefault((job, run, attempt), []).append(int(at))
    edges = [
        (at, change, job)
        for (job, *_), seen in spans.items()
        for at, change in ((min(seen), 1), (max(seen), -1))
    ]
    going: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for _, change, job in sorted(edges):
        going[job] += change
        most[job] = max(most[job], going[job])
    return most


async def all_runs(server: RawServer, job_id: str) -> list[dict[str, Any]]:
    """List the runs of a job."""
    found: list[dict[str, Any]] = (await server.call("list_runs", job_id=job_id, limit=200))["runs"]
    return found


async def start_jobs(server: RawServer) -> dict[str, str]:
    """Make a job under each policy, due every second; give their ids by policy."""
    ids = {}
    for policy in _MOST:
        made = await server.call(
            "schedule_internal_task",
            task="witness",
            trigger={"type": "interval", "seconds": 1},
            id=policy,
            overlap_policy=policy,
        )
        ids[policy] = made["job"]["job_id"]
    return ids


async def come_to_rest(server: RawServer, ids: dict[str, str]) -> None:
    """Pause every job and wait until nothing of it goes on."""

    async def look() -> bool | None:
        for state in ("running", "pending"):
            if (await server.call("list_runs", state=state))["runs"]:
                return None
        return True

    for job_id in ids.values():
        await server.call("update_job", job_id=job_id, max_runs=1)
    await wait_until(look, "every run to be over", seconds=60)


async def test_no_job_runs_more_at_once_than_its_policy_allows(
    tmp_path: Path, tally: Tally
) -> None:
    """Twenty seconds, with a kill in the middle: the witnesses never crowd, no fire is lost."""
    place = a_place(tmp_path)
    async with leaving_nothing(place):
        server = await RawServer.start(place)
        ids = await start_jobs(server)
        end = datetime.now(UTC) + timedelta(seconds=_SECONDS)
        await asyncio.sleep(_SECONDS / 2)  # the instant of the kill, not a wait for anything
        server.process.kill()
        await server.process.wait()
        server = await RawServer.start(place)
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds())  # the load itself
        await come_to_rest(server, ids)
        jobs = {policy: await server.call("get_job", job_id=one) for policy, one in ids.items()}
        runs = {policy: await all_runs(server, one) for policy, one in ids.items()}
        assert server.process.stdin is not None
        server.process.stdin.close()
        await server.end()

    most = most_at_once(tmp_path / "witness.log")
    fires = {policy: sum(run["fires"] for run in found) for policy, found in runs.items()}
    exact = {policy: _is_exact(jobs[policy], runs[policy]) for policy in _MOST}
    tally(policies=len(exact), fires=sum(fires.values()), inexact=list(exact.values()).count(False))
    crowded = {policy: most[one] for policy, one in ids.items() if most[one] > _MOST[policy]}
    assert crowded == {}
    assert all(exact.values()), exact
    assert all(count >= _SECONDS - 1 for count in fires.values()), fires
    reasons = {policy: {(run["state"], run["reason"]) for run in runs[policy]} for policy in _MOST}
    assert ("skipped", "overlap") in reasons["skip"] & reasons["queue_one"] & reasons["allow"]
    assert ("missed", "queue_full") in reasons["queue_all"]
    assert "cancelled" in {state for state, _ in reasons["cancel_previous"]}


def _is_exact(job: dict[str, Any], runs: list[dict[str, Any]]) -> bool:
    """Whether each second from first to last has one record, and the counts are their sums."""
    first = min(datetime.fromisoformat(run["scheduled_for"]) for run in runs)
    seconds = sorted(
        round((datetime.fromisoformat(run["scheduled_for"]) - first).total_seconds()) + number
        for run in runs
        for number in range(run["fires"])
    )
    sums: Counter[str] = Counter()
    for run in runs:
        sums[run["state"]] += run["fires"]
    counted = {state: count for state, count in job["counts"].items() if count}
    return seconds == list(range(len(seconds))) and counted == dict(sums)
