"""The wall clock is set, forward and back, while a server runs; and a server is suspended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Server, leaving_nothing, serving, wait_until
from tests.faults.accounts import every_run, instant, settle
from tests.faults.clockshim import ClockedPlace, Wall
from tests.faults.tally import amount
from tests.properties.oracles.minute_scan import scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.faults.tally import Tally

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
START = datetime(2027, 6, 1, 12, 0, 30, tzinfo=UTC)
SIZES = [SECOND, 65 * SECOND, HOUR, 2 * DAY]
STEPS = [sign * size for size in SIZES for sign in (1, -1)]
TICK = "apscheduler:tick"
SOON = (START + 15 * SECOND).isoformat()
TRIGGERS: dict[str, dict[str, Any]] = {
    "tick": {"type": "interval", "seconds": 1, "start_at": SOON},
    "slow": {"type": "interval", "seconds": 90, "start_at": SOON},
    "minutely": {"type": "cron", "expression": "* * * * *"},
    "nightly": {"type": "cron", "expression": "30 2 * * *", "timezone": "Europe/Paris"},
    "once": {"type": "date", "run_at": (START + HOUR / 2).isoformat()},
    "far": {"type": "date", "run_at": (START + 365 * DAY).isoformat()},
}


async def schedule(server: Server, name: str, trigger: dict[str, Any], **more: Any) -> None:
    """Make a job that does next to nothing."""
    await server.call("schedule_internal_task", task="shout", trigger=trigger, id=name, **more)


async def nominals_of(server: Server, name: str, until: datetime) -> Sequence[datetime]:
    """Compute the times that a job's trigger names, without asking the product for them."""
    job = await server.call("get_job", job_id=f"apscheduler:{name}")
    trigger = job["trigger"]
    if trigger["type"] == "date":
        return [instant(trigger["run_at"])]
    if trigger["type"] == "cron":
        zone, window = trigger["timezone"], (START - 3 * DAY, until)
        after = instant(job["created_at"])
        return scan(trigger["expression"], zone, window=window, after=after, count=10**7)
    anchor, period = instant(trigger["start_at"]), timedelta(seconds=trigger["seconds"])
    return [anchor + number * period for number in range((until - anchor) // period)]


async def until_ticked(server: Server, at: datetime) -> None:
    """Wait until the job of every second has a record of this instant or a later one."""

    async def look() -> bool | None:
        newest = (await server.call("list_runs", job_id=TICK, limit=1))["runs"]
        last = newest and (newest[0]["last_scheduled_for"] or newest[0]["scheduled_for"])
        return True if last and instant(last) >= at else None

    await wait_until(look, f"a tick at {at}", seconds=20)


async def let_pass(seconds: float) -> None:
    """Give a server that should do nothing the time to do something."""
    await asyncio.sleep(seconds)


async def test_steps_of_the_wall_clock_lose_and_double_nothing(
    tmp_path: Path, tally: Tally
) -> None:
    """However the clock is set, each nominal time has one record.

    Set back, jobs wait until the clock has caught up with what they have done already.
    """
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path)
    steps = STEPS * 5 if amount(40) == 40 else STEPS
    furthest = START

    async with leaving_nothing(place), serving(place) as server:
        for name, trigger in TRIGGERS.items():
            await schedule(server, name, trigger)
        wall.show(START + 15 * SECOND)
        for step in steps:
            furthest = max(furthest, wall.now())
            wall.step(step)
            furthest = max(furthest, wall.now())
            if wall.now() < furthest:
                await let_pass(0.7)
            else:
                await until_ticked(server, wall.now() - SECOND)
        wall.show(furthest + HOUR)
        await until_ticked(server, wall.now())
        due_until = wall.now()
        for name in ("tick", "slow", "minutely", "nightly"):
            await server.call("pause_job", job_id=f"apscheduler:{name}")
        known_until = wall.now()
        accounts = {
            name: settle(
                await every_run(server, f"apscheduler:{name}"),
                await nominals_of(server, name, known_until + DAY),
                due_until=due_until,
                known_until=known_until,
            )
            for name in TRIGGERS
        }

    wrong = {name: account for name, account in accounts.items() if any(vars(account).values())}
    log = place.log.read_text()
    tally(
        steps=len(steps),
        doubles=sum(len(account.doubles) for account in accounts.values()),
        unaccounted=sum(len(account.missing) for account in accounts.values()),
    )
    assert wrong == {}
    assert log.count("clock_stepped") >= sum(abs(step) > SECOND for step in steps)


async def a_step_of(server: Server, wall: Wall, by: timedelta) -> list[dict[str, Any]]:
    """Set the clock, and give the records that this makes of the job `slow`."""
    before = {run["run_id"] for run in await every_run(server, "apscheduler:slow")}
    wall.step(by)

    async def look() -> list[dict[str, Any]] | None:
        found = await every_run(server, "apscheduler:slow")
        fresh = [run for run in found if run["run_id"] not in before]
        return fresh if any(run["state"] == "succeeded" for run in fresh) else None

    return await wait_until(look, f"the records of a step by {by}", seconds=20)


async def test_a_step_forward_is_lateness_up_to_the_grace_and_a_gap_beyond(tmp_path: Path) -> None:
    """Up to 60 s late the newest fire runs, and the others are skipped; later fires were missed."""
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path)
    first = (START + 60 * SECOND).isoformat()
    trigger = {"type": "interval", "seconds": 30, "start_at": first}

    async with leaving_nothing(place), serving(place) as server:
        await schedule(server, "slow", trigger)
        wall.show(START + 40 * SECOND)
        late = await a_step_of(server, wall, 58 * SECOND)
        missed = await a_step_of(server, wall, 2 * HOUR)

    assert [(run["state"], run["reason"], run["cause"]) for run in late] == [
        ("succeeded", None, "schedule"),
        ("skipped", "overlap", "schedule"),
    ]
    assert [(run["state"], run["reason"], run["cause"], run["fires"]) for run in missed] == [
        ("succeeded", None, "catch_up", 1),
        ("missed", "policy", "schedule", 239),
    ]


async def test_a_step_over_a_day_is_a_warning_in_the_log(tmp_path: Path) -> None:
    """The log names the steps of the clock, and warns of those that move it by days."""
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path)

    async with leaving_nothing(place), serving(place) as server:
        await schedule(server, "tick", TRIGGERS["tick"])
        wall.show(START + 15 * SECOND)
        await until_ticked(server, START + 15 * SECOND)
        for step in (HOUR, 2 * DAY):
            wall.step(step)
            await until_ticked(server, wall.now())
        lines = [line for line in place.log.read_text().splitlines() if "clock_stepped" in line]

    (large,) = [line for line in lines if "1728" in line]
    assert "warn" in large.lower()
    assert not any("warn" in line.lower() for line in lines if line != large)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_timeouts_and_waits_do_not_follow_the_wall_clock(
    tmp_path: Path, step: timedelta
) -> None:
    """A run of at most 2 s is ended after 2 s, and a wait of 1 s takes one, whatever the wall."""
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path)

    async with leaving_nothing(place), serving(place) as server:
        job = await server.call(
            "schedule_internal_task",
            task="dawdle",
            trigger=TRIGGERS["far"],
            id="long",
            timeout_seconds=2,
        )
        run = await server.call("run_job_now", job_id=job["job"]["job_id"])
        began = time.monotonic()
        wall.step(step)
        waiting = await server.call("get_run", run_id=run["run_id"], wait_seconds=1)
        waited = time.monotonic() - began
        ended = await server.call("get_run", run_id=run["run_id"], wait_seconds=20)
        took = time.monotonic() - began

    assert waiting["state"] == "running"
    assert 1 <= waited < 1.9
    assert ended["state"] == "timed_out"
    assert 1.9 <= took < 10


@pytest.mark.parametrize("asleep", [timedelta(0), 2 * HOUR], ids=["stopped", "asleep"])
async def test_a_suspended_server_accounts_for_the_time_it_slept(
    tmp_path: Path, tally: Tally, asleep: timedelta
) -> None:
    """A closed laptop owes no fire: each second it slept has its record when it wakes."""
    wall = Wall.of(tmp_path, at=START)
    place = ClockedPlace.at(wall, tmp_path)

    async with leaving_nothing(place), serving(place) as server:
        await schedule(server, "tick", TRIGGERS["tick"])
        wall.show(START + 15 * SECOND)
        await until_ticked(server, START + 16 * SECOND)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await let_pass(10 if amount(10) == 10 else 3)
            wall.step(asleep)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await until_ticked(server, wall.now())
        due_until = wall.now()
        await server.call("pause_job", job_id=TICK)
        account = settle(
            await every_run(server, TICK),
            await nominals_of(server, "tick", wall.now() + DAY),
            due_until=due_until,
            known_until=wall.now(),
        )

    tally(
        seconds_asleep=round(asleep.total_seconds()),
        doubles=len(account.doubles),
        unaccounted=len(account.missing),
    )
    assert not any(vars(account).values()), account
