"""What tests of the whole scheduler share: settings, apps, a clock to move, tasks to run."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.clock import Clock
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import Run, RunState
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.ledger.database import connect, scalar
from mahavishnu_sched_mcp.runner import Runner
from mahavishnu_sched_mcp.settings import Settings, prepare_data_dir
from mahavishnu_sched_mcp.tasks.mark import task

TWO_O_CLOCK = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NO_CHORES = {
    "health_check_seconds": None,
    "metrics_collection_seconds": None,
    "cache_cleanup_seconds": None,
}
"""Settings under which the server has no jobs of its own."""

_numbers = itertools.count(1)


class ManualClock:
    """A wall clock that stands until a test moves it.

    The monotonic one goes on by itself, as deadlines of real waits hang on it, and is moved
    with the wall.
    """

    def __init__(self, now: datetime = TWO_O_CLOCK) -> None:
        """Stand at an instant."""
        self._now = now
        self._shifted = 0.0

    def now(self) -> datetime:
        """Give the instant at which it stands."""
        return self._now

    def monotonic(self) -> float:
        """Give real seconds plus what the clock was moved by."""
        return time.monotonic() + self._shifted

    def shift(self, by: timedelta) -> None:
        """Move both clocks ahead."""
        self._now += by
        self._shifted += by.total_seconds()


class Gate:
    """Where a task waits until the test lets it go on."""

    def __init__(self) -> None:
        """Be closed, under a name of its own."""
        self.name = f"gate-{next(_numbers)}"
        self.entries = 0
        self._open = asyncio.Event()
        _gates[self.name] = self

    async def wait(self) -> None:
        """Enter, and wait for the way out."""
        self.entries += 1
        await self._open.wait()

    def open(self) -> None:
        """Let everyone through."""
        self._open.set()


_gates: dict[str, Gate] = {}


@task(idempotent=True)
async def greet(name: str = "world", times: int = 1) -> str:
    """Say hello."""
    return f"hello {name}" * times


@task
async def wait_at(gate: str) -> str:
    """Wait at a gate; twice would do harm."""
    await _gates[gate].wait()
    return "passed"


@task(idempotent=True)
async def wait_safely_at(gate: str) -> str:
    """Wait at a gate; twice does no harm."""
    await _gates[gate].wait()
    return "passed"


@task
async def fail(reason: str = "no reason") -> None:
    """Fail with a reason."""
    raise RuntimeError(reason)


def a_settings(data_dir: Path, **changes: Any) -> Settings:
    """Make settings with the tasks above, two workflows, a flow and no chores.

    Args:
        data_dir: Where the ledger is.
        changes: Sections of the settings to replace.
    """
    greeting = {"id": "greet", "task": "greet"}
    shape: JsonObject = {
        "data_dir": data_dir,
        "internal_tasks": NO_CHORES,
        "tasks": {"modules": ["tests.factories"]},
        "workflows": {
            "greeting": {"description": "Say hello twice", "nodes": [greeting, _AFTER]},
            "gated": {"nodes": [{"id": "wait", "task": "wait_at"}]},
        },
        "flows": {"code_sweep": "tests.factories.code_sweep"},
    }
    return Settings.model_validate(shape | changes)


_AFTER = {"id": "again", "task": "greet", "depends_on": ["greet"], "payload": {"times": 2}}


def an_interval(seconds: float = 60, **fields: Any) -> TriggerRequest:
    """Ask for a fire every so often."""
    return TriggerRequest(type="interval", seconds=seconds, **fields)


def a_cron(expression: str = "0 2 * * *", timezone: str | None = None) -> TriggerRequest:
    """Ask for fires at wall times."""
    return TriggerRequest(type="cron", expression=expression, timezone=timezone)


def a_date(in_seconds: float = 60) -> TriggerRequest:
    """Ask for one fire."""
    return TriggerRequest(type="date", in_seconds=in_seconds)


def policies(**changes: Any) -> Policies:
    """Make policies that differ from the defaults in these."""
    return Policies.model_validate(changes)


@asynccontextmanager
async def an_app(
    data_dir: Path, *, clock: Clock | None = None, drain: float = 0, **changes: Any
) -> AsyncIterator[MahavishnuApp]:
    """Start an app over a data dir, and stop it after.

    Args:
        data_dir: Shared by apps that shall know the same jobs.
        clock: The machine's where it is None.
        drain: Seconds that runs may go on when it stops.
        changes: Sections of the settings to replace.
    """
    app = MahavishnuApp(a_settings(prepare_data_dir(data_dir), **changes), clock=clock)
    await app.start_scheduler()
    try:
        yield app
    finally:
        await app.stop_scheduler(drain=drain)


def ledger_of(app: MahavishnuApp) -> Ledger:
    """Reach the ledger of an app."""
    return app.scheduler._ledger


def runner_of(app: MahavishnuApp) -> Runner:
    """Reach the runner of an app."""
    return app.scheduler._parts.lead._runner


def rows_of(app: MahavishnuApp) -> dict[str, int]:
    """Count what the ledger holds, so that a refused call can be shown to have left nothing."""
    tables = ("job", "run", "attempt", "outbox", "idempotency_key", "reminder")

    def counted(db: apsw.Connection) -> dict[str, int]:
        sizes = {name: int(scalar(db, f"select count(*) from {name}")) for name in tables}  # noqa: S608 - named above
        return sizes | {"change": int(scalar(db, "select coalesce(max(change), 0) from job"))}

    return ledger_of(app).read(counted)


def what_a_kill_leaves(app: MahavishnuApp, *, at: Path) -> Path:
    """Copy the ledger as it is now into another data dir: a kill would leave just this.

    Args:
        at: The new data dir.
    """
    at.mkdir(mode=0o700)
    source = connect(app.settings.data_path / "ledger.db", read_only=True)
    target = connect(at / "ledger.db")
    with target.backup("main", source, "main") as backup:
        backup.step()
    source.close()
    target.close()
    return at


async def ring(app: MahavishnuApp, clock: ManualClock, *, by: timedelta = MINUTE) -> None:
    """Move the clock, let the alarm clock look at it, and wait until all it found is claimed."""
    clock.shift(by)
    app.scheduler._parts.lead._dispatcher._alarm._scheduler.wakeup()  # type: ignore[attr-defined]  # the real one
    await asyncio.sleep(0)
    while runner_of(app)._background:
        await asyncio.wait(set(runner_of(app)._background))


async def runs_of(app: MahavishnuApp, job_id: str) -> list[Run]:
    """Give the runs of a job, the oldest first."""
    page = await app.scheduler.list_runs(job_id=job_id, limit=200)
    return sorted(page.rows, key=lambda run: (run.scheduled_for, run.run_id))


async def settled(app: MahavishnuApp, job_id: str, *, count: int = 1) -> list[Run]:
    """Wait until a job has so many runs and none unfinished; give them, the oldest first."""

    async def is_quiet() -> bool:
        found = await runs_of(app, job_id)
        return len(found) >= count and all(run.state.is_final for run in found)

    await eventually(is_quiet, description=f"{count} runs of {job_id} are over")
    return await runs_of(app, job_id)


async def run_reached(app: MahavishnuApp, run_id: str, state: RunState) -> Run:
    """Wait until a run is in a state, and give it."""

    async def is_there() -> bool:
        return (await app.scheduler.get_run(run_id)).state is state

    await eventually(is_there, description=f"{run_id} is {state}")
    return await app.scheduler.get_run(run_id)


async def eventually(
    condition: Callable[[], Awaitable[bool] | bool], *, description: str, within: float = 5
) -> None:
    """Look at a condition again and again, and say what never became true."""
    end = time.monotonic() + within
    while True:
        found = condition()
        if (found if isinstance(found, bool) else await found) is True:
            return
        if time.monotonic() > end:
            msg = f"not within {within} s: {description}"
            raise AssertionError(msg)
        await asyncio.sleep(0.01)
