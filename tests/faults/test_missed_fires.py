"""A server is stopped, time goes on, and it is started again: what was missed is on record."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.servers import Server, leaving_nothing, serving, wait_until
from tests.faults.accounts import every_run, instant
from tests.faults.clockshim import ClockedPlace, Wall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GRACE = 60
WINDOW = 86400
MOST_RUNS = 100
MOST_CPU_SECONDS = 3.0
MOST_GROWTH_MIB = 8.0
NEW_YORK = ZoneInfo("America/New_York")
STOP = datetime(2027, 3, 13, 6, 59, 35, tzinfo=UTC)
"""The day before the clocks of New York jump from 2:00 to 3:00."""
GAPS = {
    "90 s": timedelta(seconds=90),
    "2 h": timedelta(hours=2),
    "2 d": timedelta(days=2),
    "10 y": timedelta(days=3652),
}
POLICIES = ["skip", "run_once", "run_all"]
FIRST = {"interval": STOP + timedelta(seconds=60), "date": STOP + timedelta(seconds=55)}
TRIGGERS: dict[str, dict[str, Any]] = {
    "minutely": {"type": "cron", "expression": "* * * * *"},
    "daily": {"type": "cron", "expression": "30 2 * * *", "timezone": "America/New_York"},
    "interval": {"type": "interval", "seconds": 300, "start_at": FIRST["interval"].isoformat()},
    "date": {"type": "date", "run_at": FIRST["date"].isoformat()},
}


def nominals_of(schedule: str, until: datetime) -> Sequence[int]:
    """Give the seconds of 1970 that a schedule names after the stop, by arithmetic alone."""
    end = int(until.timestamp())
    if schedule == "date":
        return [int(FIRST["date"].timestamp())]
    if schedule == "interval":
        return range(int(FIRST["interval"].timestamp()), end + 1, 300)
    if schedule == "minutely":
        return range(int(STOP.timestamp()) + 25, end + 1, 60)
    days = (STOP.date() + timedelta(days=number) for number in range((until - STOP).days + 2))
    return [at for at in map(half_past_two, days) if at <= end]


def half_past_two(day: date) -> int:
    """Give when it is 2:30 in New York, or 3:00 where the clocks leave 2:30 out."""
    wall = datetime(day.year, day.month, day.day, 2, 30, tzinfo=NEW_YORK)
    if wall.astimezone(UTC).astimezone(NEW_YORK).hour == wall.hour:
        return int(wall.timestamp())
    return int(wall.replace(hour=3, minute=0).timestamp())


def expected(nominals: Sequence[int], now: int, policy: str) -> tuple[Counter[str], list[int]]:
    """Say what becomes of the due fires, and which of them run."""
    due = nominals[: bisect_right(nominals, now)]
    if not due:
        return Counter(), []
    if now - due[0] <= GRACE:
        return Counter({"succeeded": 1}) + Counter({"skipped overlap": len(due) - 1}), [due[-1]]
    old = bisect_right(due, now - WINDOW)
    inside = due[old:]
    most = {"skip": 0, "run_once": 1, "run_all": MOST_RUNS}[policy]
    ran = list(inside[max(0, len(inside) - most) :])
    rest = "missed catchup_limit" if policy == "run_all" else "missed policy"
    counts = {
        "missed catchup_window": old,
        rest: len(inside) - len(ran),
        "succeeded": len(ran),
    }
    return +Counter(counts), ran


def found_in(runs: list[dict[str, Any]]) -> tuple[Counter[str], list[int]]:
    """Say the same of a job's records."""
    counts: Counter[str] = Counter()
    for run in runs:
        counts[" ".join(filter(None, (run["state"], run["reason"])))] += run["fires"]
    ran = [run for run in runs if run["state"] == "succeeded"]
    return counts, sorted(int(instant(run["scheduled_for"]).timestamp()) for run in ran)


async def until_settled(server: Server, wall: Wall) -> None:
    """Wait until no job has a fire that is due, and no run waits or goes on."""

    async def look() -> bool | None:
        page = await server.call("list_jobs", limit=200, detail="full")
        now = wall.now()
        if any(job["next_run_at"] and instant(job["next_run_at"]) <= now for job in page["jobs"]):
            return None
        open_runs = [await server.runs(state=state) for state in ("pending", "running")]
        return None if any(open_runs) else True

    await wait_until(look, "every missed fire to be settled", seconds=40)


def memory_of(pid: int) -> float:
    """Give the MiB that a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def processor_time_of(pid: int) -> float:
    """Give the seconds that a process has computed; other work on the machine does not count."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("gap", GAPS)
async def test_missed_fires_follow_the_policy_exactly(
    tmp_path: Path, tally: Tally, gap: str
) -> None:
    """Three policies, four schedules: each nominal time of a gap is run or missed, and counted.

    What is older than the catch-up window is missed under each policy. A gap of ten years is
    settled as fast as one of minutes, in a few records.
    """
    wall = Wall.of(tmp_path, at=STOP - timedelta(seconds=33))
    place = ClockedPlace.at(wall, tmp_path)
    jobs = {f"{name}-{policy}": (name, policy) for name in TRIGGERS for policy in POLICIES}

    async with leaving_nothing(place):
        async with serving(place) as server:
            for job, (name, policy) in jobs.items():
                await server.call(
                    "schedule_internal_task",
                    task="shout",
                    trigger=TRIGGERS[name],
                    id=job,
                    missed_policy=policy,
                )
            memory = memory_of(server.pid)
        wall.show(STOP + GAPS[gap])
        began = time.monotonic()
        async with serving(place) as server:
            ready, computed = time.monotonic() - began, processor_time_of(server.pid)
            await until_settled(server, wall)
            growth = memory_of(server.pid) - memory
            records = {job: await every_run(server, f"apscheduler:{job}") for job in jobs}
            settled_at = wall.now()

    now = int((STOP + GAPS[gap]).timestamp())
    wanted = {
        job: expected(nominals_of(name, settled_at), now, policy)
        for job, (name, policy) in jobs.items()
    }
    found = {job: found_in(runs) for job, runs in records.items()}
    tally(
        fires=sum(counts.total() for counts, _ in wanted.values()),
        records=sum(map(len, records.values())),
        wrong=sum(found[job] != wanted[job] for job in jobs),
        ready_seconds=round(ready, 2),
        processor_seconds=round(computed, 2),
        growth_mib=round(growth, 1),
    )
    assert found == wanted
    assert max(len(runs) for job, runs in records.items() if not job.endswith("run_all")) <= 3
    assert computed <= MOST_CPU_SECONDS
    assert growth <= MOST_GROWTH_MIB


def test_the_reference_counts_a_minutely_job_as_the_manual_does() -> None:
    """Two hours of a minutely job: 120 missed, 1 run and 119 missed, or 100 runs and 20 missed."""
    now = int((STOP + GAPS["2 h"]).timestamp())
    minutes = nominals_of("minutely", STOP + GAPS["2 h"])

    counts = {policy: expected(minutes, now, policy)[0] for policy in POLICIES}

    assert counts == {
        "skip": {"missed policy": 120},
        "run_once": {"succeeded": 1, "missed policy": 119},
        "run_all": {"succeeded": 100, "missed catchup_limit": 20},
    }
