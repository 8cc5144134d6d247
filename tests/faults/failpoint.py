"""An engine that kills itself at one named moment: `python -m tests.faults.failpoint POINT FOLDER`.

The moments are those that no write of the ledger marks: between a commit and its answer, between
a claim and its command, between a command's end and its record.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.tasks.executor import TaskExecutor
from tests.factories import an_app, an_interval
from tests.faults.witness import Witness

_RUNS = 2


class Point(StrEnum):
    """When the engine dies."""

    AFTER_COMMIT_BEFORE_REPLY = "after_commit_before_reply"
    AFTER_CLAIM_BEFORE_SPAWN = "after_claim_before_spawn"
    AFTER_EXIT_BEFORE_RECORD = "after_exit_before_record"


def settings(witness: Witness) -> dict[str, Any]:
    """Give the settings of both lives: two witnesses, one of which must not run twice."""
    commands = {
        "witness": witness.command(idempotent=True),
        "delicate": witness.command(idempotent=False),
    }
    return {
        "tasks": {"commands": commands},
        "workflows": {},
        "flows": {},
        "schedulers": {"prefect_deployments_enabled": False},
    }


async def die_at(point: Point, folder: Path, *, witness: Witness) -> None:
    """Make both jobs, arm the failpoint, and walk into it."""
    async with an_app(folder / "data", **settings(witness)) as app:
        daily = an_interval(86_400)
        for name in ("witness", "delicate"):
            await app.scheduler.schedule_internal_task(name, trigger=daily, id=name)
        arm(point)
        if point is Point.AFTER_COMMIT_BEFORE_REPLY:
            await app.scheduler.pause_job("apscheduler:witness")
        for name in ("witness", "delicate"):
            await app.scheduler.run_job_now(f"apscheduler:{name}", idempotency_key=name)
        await asyncio.sleep(20)  # the end comes sooner, or the test says that it did not


def arm(point: Point) -> None:
    """Set the trap in this very process; the product is as it is up to there and beyond."""
    if point is Point.AFTER_COMMIT_BEFORE_REPLY:
        _die_after_own_write()
    else:
        _die_with_both_runs(at_entry=point is Point.AFTER_CLAIM_BEFORE_SPAWN)


def _die_after_own_write() -> None:
    """Die when a write is over that the arming task asked for, not the engine's own loops."""
    original, caller = Ledger.write, asyncio.current_task()

    async def trapped(ledger: Ledger, *arguments: Any, **named: Any) -> Any:
        answer = await original(ledger, *arguments, **named)
        if asyncio.current_task() is caller:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(Ledger, "write", trapped)  # noqa: B010 - mypy knows the method's type


def _die_with_both_runs(*, at_entry: bool) -> None:
    """Die when two runs are about to be executed, or when both executions are over."""
    original = TaskExecutor.execute
    arrived = 0

    async def wait_for_death() -> None:
        nonlocal arrived
        arrived += 1
        if arrived == _RUNS:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()

    async def trapped(executor: TaskExecutor, *arguments: Any, **named: Any) -> Any:
        if at_entry:
            await wait_for_death()
        await original(executor, *arguments, **named)
        await wait_for_death()

    setattr(TaskExecutor, "execute", trapped)  # noqa: B010 - the same


if __name__ == "__main__":
    place = Path(sys.argv[2])
    asyncio.run(die_at(Point(sys.argv[1]), place, witness=Witness.build(place)))
