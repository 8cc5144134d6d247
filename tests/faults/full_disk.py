"""A program that fills its own disk under a running scheduler, and says what became of it.

Run by `test_disk_full.py` inside a mount namespace of its own, as no user has to be root there:
`unshare -rm python -m tests.faults.full_disk FOLDER COUNT`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import StorageFullError
from tests.factories import (
    MINUTE,
    Gate,
    ManualClock,
    a_settings,
    an_app,
    an_interval,
    eventually,
    ring,
    runs_of,
)

DISK = "8m"
STEP_BYTES = 16_384
MOST_CALLS = 150
SECONDS = 20.0
DUE = 2


@dataclass
class Point:
    """One disk filled to one point.

    Attributes:
        expected: What was acknowledged: the state each job must have for ever after.
        strange: Answers that are neither success nor storage_full, and what is not as it should.
    """

    free_bytes: int
    expected: dict[str, str] = field(default_factory=dict)
    acknowledged: int = 0
    refused: int = 0
    lost: int = 0
    fires: int = 0
    strange: list[str] = field(default_factory=list)

    async def call(self, what: str, call: Callable[[], Awaitable[object]]) -> bool:
        """Make a call that either does it or refuses for want of room."""
        try:
            await call()
        except StorageFullError:
            self.refused += 1
            return False
        except Exception as error:  # noqa: BLE001 - whatever else it is, the test shall hear of it
            self.strange.append(f"{what}: {type(error).__name__}: {error}")
            return False
        self.acknowledged += 1
        return True

    async def create(self, app: MahavishnuApp, name: str) -> bool:
        """Create a job with some params, so that it needs room."""
        is_made = await self.call(
            "create",
            lambda: app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(60), params={"name": "x" * 2000}, id=name
            ),
        )
        if is_made:
            self.expected[f"apscheduler:{name}"] = "active"
        return is_made

    async def change(self, app: MahavishnuApp, name: str, state: str) -> bool:
        """Pause or cancel a job."""
        call = app.scheduler.cancel_job if state == "cancelled" else app.scheduler.pause_job
        is_done = await self.call(f"to {state}", lambda: call(name))
        if is_done:
            self.expected[name] = state
        return is_done


class Ballast:
    """A file that takes the room."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ballast"

    def leave(self, free_bytes: int) -> None:
        """Take all room but so much."""
        disk = os.statvfs(self._file.parent)
        taken = max(0, disk.f_bavail * disk.f_frsize - free_bytes)
        with self._file.open("wb") as file:
            file.write(bytes(taken))

    def go(self) -> None:
        """Give it all back."""
        self._file.unlink()


async def fill(data: Path, ballast: Ballast, point: Point) -> None:
    """Work before, on and after a full disk, and compare with what was acknowledged."""
    clock, gate = ManualClock(), Gate()
    async with an_app(data, clock=clock) as app:
        for number in range(8):
            await point.create(app, f"before-{number}")
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(3600), params={"gate": gate.name}, id="long"
        )
        running = await app.scheduler.run_job_now("apscheduler:long")
        await eventually(lambda: gate.entries == 1, description="a run goes on", within=SECONDS)

        ballast.leave(point.free_bytes)
        await on_full_disk(app, point)
        await point.call("cancel_run", lambda: app.scheduler.cancel_run(running.run_id))
        clock.shift(MINUTE)  # fires come due that cannot be recorded now
        ballast.go()

        await recovered(app, point)
        await ring(app, clock)
        await accounted(app, point)
        run = await app.scheduler.get_run(running.run_id, wait_seconds=SECONDS)
        if run.state is not RunState.CANCELLED:
            point.strange.append(f"the cancelled run is {run.state}")
        await compare(app, point)
    await started_on_full_disk(data, ballast, point)
    async with an_app(data, clock=clock) as app:
        await compare(app, point)
    with apsw.Connection(str(data / "ledger.db")) as connection:
        report = connection.execute("pragma integrity_check").get
    if report != "ok":
        point.strange.append(f"corrupt: {report}")


async def on_full_disk(app: MahavishnuApp, point: Point) -> None:
    """Create until there is no room; then take work away, which must go on."""
    for number in range(MOST_CALLS):
        if not await point.create(app, f"full-{number}"):
            break
    else:
        point.strange.append("the disk was never full")
    for number, state in enumerate(("cancelled", "paused") * 3):
        if not await point.change(app, f"apscheduler:before-{number}", state):
            point.strange.append(f"no {state} on a full disk")
    if not (await app.scheduler.list_jobs(limit=200)).rows:
        point.strange.append("an empty list on a full disk")
    if not any("disk" in line for line in (await app.scheduler.status()).attention):
        point.strange.append("get_status does not name the full disk")


async def recovered(app: MahavishnuApp, point: Point) -> None:
    """Wait until changes are taken again, in the same process."""
    number = 0

    async def takes_changes() -> bool:
        nonlocal number
        number += 1
        return await point.create(app, f"after-{number}")

    await eventually(takes_changes, description="changes are taken again", within=SECONDS)


async def accounted(app: MahavishnuApp, point: Point) -> None:
    """Count the fires of jobs that nothing was done to: two minutes, two fires."""
    for name in ("apscheduler:before-6", "apscheduler:before-7"):

        async def is_whole(name: str = name) -> bool:
            runs = await runs_of(app, name)
            return sum(run.fires for run in runs) == DUE

        await eventually(is_whole, description=f"{DUE} fires of {name}", within=SECONDS)
    point.fires += 2 * DUE


async def started_on_full_disk(data: Path, ballast: Ballast, point: Point) -> None:
    """Open the ledger where there is no room at all: it is read, and work is taken away."""
    ballast.leave(0)
    app = MahavishnuApp(a_settings(data), clock=ManualClock())
    await app.scheduler.start(lead=False)
    try:
        await compare(app, point)
        if await point.create(app, "no-room"):
            point.strange.append("created on a full disk")
        if not await point.change(app, "apscheduler:before-7", "cancelled"):
            point.strange.append("no cancelled after a start on a full disk")
    finally:
        await app.stop_scheduler()
        ballast.go()


async def compare(app: MahavishnuApp, point: Point) -> None:
    """Count what was acknowledged and is not there, or is otherwise."""
    states = (None, JobState.CANCELLED)
    found = {
        job.job_id: job.state.value
        for state in states
        for job in (await app.scheduler.list_jobs(limit=200, state=state)).rows
    }
    wrong = {
        name: (state, found.get(name))
        for name, state in point.expected.items()
        if found.get(name) != state
    }
    point.lost += len(wrong)
    if wrong:
        point.strange.append(f"lost: {wrong}")


def main(folder: Path, count: int) -> None:
    """Fill a disk of our own so often, to another point each time; one JSON line per point."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], check=True)
    ballast = Ballast(folder)
    for number in range(count):
        point = Point(free_bytes=number * STEP_BYTES * 60 // count)
        data = folder / "data"
        try:
            asyncio.run(fill(data, ballast, point))
        except Exception as error:  # noqa: BLE001 - the test shall hear of it
            point.strange.append(f"{type(error).__name__}: {error}")
        shutil.rmtree(data, ignore_errors=True)
        (folder / "ballast").unlink(missing_ok=True)
        said = vars(point) | {"expected": len(point.expected)}
        sys.stdout.write(f"{json.dumps(said)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
