"""Tasks that stay until a test lets each of them go, well or badly."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.tasks.context import current_run
from mahavishnu_sched_mcp.tasks.mark import task
from tests.factories import an_app, an_interval, eventually, policies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mahavishnu_sched_mcp.app import MahavishnuApp
    from mahavishnu_sched_mcp.domain.clock import Clock

ENGINES = ("apscheduler", "oneiric")
"""The engines whose fires are this server's own."""

_numbers = itertools.count(1)
_doors: dict[str, Door] = {}


@dataclass
class Visit:
    """One execution that stands at a door.

    Attributes:
        run_id: Of which run.
        attempt: Which of its attempts.
    """

    run_id: str
    attempt: int
    _end: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def is_over(self) -> bool:
        """Whether it has gone."""
        return self._end.done()

    def let_go(self) -> None:
        """Let it end well."""
        if not self._end.done():
            self._end.set_result("passed")

    def fail(self, reason: str = "no") -> None:
        """Let it end badly."""
        if not self._end.done():
            self._end.set_exception(RuntimeError(reason))

    async def stay(self) -> str:
        """Stay until a word comes, or the execution is stopped."""
        try:
            return await self._end
        finally:
            self._end.cancel()


class Door:
    """Where executions stand, and are counted.

    Attributes:
        visits: All of them, in the order in which they came.
        most: How many have stood here at once.
    """

    def __init__(self) -> None:
        """Be nobody's yet, under a name of its own."""
        self.name = f"door-{next(_numbers)}"
        self.visits: list[Visit] = []
        self.most = 0
        self._stands_open = False
        _doors[self.name] = self

    @property
    def going(self) -> list[Visit]:
        """Those who stand here now."""
        return [visit for visit in self.visits if not visit.is_over]

    def open(self) -> None:
        """Let everyone go, also those who come later."""
        self._stands_open = True
        for visit in self.going:
            visit.let_go()

    async def attend(self) -> str:
        """Come, and stay."""
        run = current_run()
        visit = Visit(run.run_id, run.attempt)
        self.visits.append(visit)
        self.most = max(self.most, len(self.going))
        if self._stands_open:
            await asyncio.sleep(0)  # so that two at once would be seen
            visit.let_go()
        return await visit.stay()

    async def visited(self, number: int) -> Visit:
        """Wait until so many have come, and give the last of them."""
        await eventually(
            lambda: len(self.visits) >= number, description=f"visit {number}", within=15
        )
        return self.visits[number - 1]


@task
async def attend(door: str) -> str:
    """Stand at a door; twice would do harm."""
    return await _doors[door].attend()


@task(idempotent=True)
async def attend_safely(door: str) -> str:
    """Stand at a door; twice does no harm."""
    return await _doors[door].attend()


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Give a folder in memory where there is one: no test of it asks what a power loss leaves."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@asynccontextmanager
async def a_house(
    data_dir: Path, *, clock: Clock | None = None, **changes: Any
) -> AsyncIterator[MahavishnuApp]:
    """Start an app whose catalog has the tasks above, and a workflow of each."""
    shape: dict[str, Any] = {
        "tasks": {"modules": ["tests.factories", "tests.doors"]},
        "workflows": {
            name: {"nodes": [{"id": "stand", "task": name}]} for name in ("attend", "attend_safely")
        },
    }
    async with an_app(data_dir, clock=clock, **(shape | changes)) as app:
        yield app


async def keep_at(
    app: MahavishnuApp,
    door: Door,
    *,
    engine: str = "apscheduler",
    seconds: float = 60,
    target: str = "attend",
    **changes: Any,
) -> str:
    """Make a job that attends at a door every minute, and give its id when it is active."""
    shape: dict[str, Any] = {"trigger": an_interval(seconds), "id": "a"}
    shape |= {"policies": policies(**changes)}
    if engine == "oneiric":
        made = await app.scheduler.enqueue_workflow(target, context={"door": door.name}, **shape)
    else:
        made = await app.scheduler.schedule_internal_task(
            target, params={"door": door.name}, **shape
        )

    async def is_active() -> bool:
        return (await app.scheduler.get_job(made.job.job_id)).job.state is JobState.ACTIVE

    await eventually(is_active, description=f"{engine} has the job", within=15)
    return made.job.job_id
