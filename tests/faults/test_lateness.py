"""Many jobs due in the same second, and a server that stands still for a while."""

from __future__ import annotations

import os
import signal
from asyncio import sleep
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import leaving_nothing, serving, wait_until
from tests.faults.accounts import every_run, instant, settle
from tests.faults.clockshim import ClockedPlace, Wall
from tests.faults.tally import amount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECOND = timedelta(seconds=1)
START = datetime(2027, 6, 1, 12, tzinfo=UTC)
DUE = START + timedelta(hours=1)
NOTING = '''
import time

from mahavishnu_sched_mcp.tasks.mark import task


@task(idempotent=True)
async def note() -> str:
    """Write down when the first line ran."""
    return str(time.time())
'''


def percentiles(values: list[float]) -> str:
    """Write the median, the ninth tenth and the last hundredth."""
    ranked = sorted(values)
    shown = [ranked[min(len(ranked) - 1, len(ranked) * rank // 100)] for rank in (50, 90, 99)]
    return "/".join(f"{value:.0f}" for value in shown)


async def test_a_crowd_of_jobs_due_in_one_second_all_start(tmp_path: Path, tally: Tally) -> None:
    """However many jobs are due at once, each starts once, and its lateness is on record."""
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path, tasks={"modules": ["noting"]}, workflows={})
    (tmp_path / "noting.py").write_text(NOTING, encoding="utf-8")
    jobs = amount(500)

    async with leaving_nothing(place), serving(place) as server:
        for number in range(jobs):
            trigger = {"type": "date", "run_at": DUE.isoformat()}
            await server.call(
                "schedule_internal_task", task="note", trigger=trigger, id=f"{number}"
            )
        wall.show(DUE - SECOND)

        async def look() -> bool | None:
            page = await server.call("list_runs", state="succeeded", limit=1)
            return True if page["total"] >= jobs else None

        await wait_until(look, f"{jobs} runs", seconds=60)
        records: list[dict[str, Any]] = []
        for number in range(jobs):
            records += await every_run(server, f"apscheduler:{number}")
        begun = [
            float((await server.call("get_run", run_id=run["run_id"]))["output"]["text"])
            for run in records
        ]

    claimed = [run["lateness_ms"] for run in records]
    first_line = [(at - DUE.timestamp()) * 1000 for at in begun]
    tally(
        jobs=jobs,
        records=len(records),
        **{"ms_late_p50/p90/p99_claimed": percentiles(claimed)},
        **{"ms_late_p50/p90/p99_first_line": percentiles(first_line)},
    )
    assert len({run["job_id"] for run in records}) == len(records) == jobs
    assert {run["cause"] for run in records} == {"schedule"}
    assert min(claimed) >= 0


async def test_a_server_that_stands_still_accounts_for_every_second(
    tmp_path: Path, tally: Tally
) -> None:
    """Stopped for seconds again and again, it is late, and every nominal time has its record."""
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path)
    random, jobs = Random(5), [f"tick-{number}" for number in range(5)]
    first = START + 30 * SECOND
    trigger = {"type": "interval", "seconds": 1, "start_at": first.isoformat()}
    stalls = [random.uniform(0.5, 5) for _ in range(amount(20))]

    async with leaving_nothing(place), serving(place) as server:
        for job in jobs:
            await server.call("schedule_internal_task", task="shout", trigger=trigger, id=job)
        wall.show(first)
        for stall in stalls:
            os.kill(server.pid, signal.SIGSTOP)
            await sleep(stall)
            os.kill(server.pid, signal.SIGCONT)
            woken = wall.now()

            async def look(at: datetime = woken) -> bool | None:
                newest = (await server.runs(job_id=f"apscheduler:{jobs[-1]}"))[:1]
                is_awake = newest and instant(newest[0]["scheduled_for"]) > at
                return True if is_awake else None

            await wait_until(look, "a fire after the stall", seconds=20)
        due_until = wall.now() - SECOND
        for job in jobs:
            await server.call("pause_job", job_id=f"apscheduler:{job}")
        seconds = [first + number * SECOND for number in range(3600)]
        accounts = [
            settle(
                await every_run(server, f"apscheduler:{job}"),
                seconds,
                due_until=due_until,
                known_until=wall.now(),
            )
            for job in jobs
        ]

    tally(
        stalls=len(stalls),
        unaccounted=sum(len(account.missing) for account in accounts),
        doubles=sum(len(account.doubles) for account in accounts),
    )
    assert [account for account in accounts if any(vars(account).values())] == []
