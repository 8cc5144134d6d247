"""The scheduler beside its model: one step of both at a time, then everything is compared."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.ledger import job_lists, run_lists, waiting
from mahavishnu_sched_mcp.ledger.database import query
from tests.doors import Door, a_house
from tests.factories import (
    TWO_O_CLOCK,
    ManualClock,
    an_interval,
    eventually,
    ledger_of,
    policies,
    rows_of,
    runner_of,
    what_a_kill_leaves,
)
from tests.faults.comparison import BACKOFF
from tests.faults.model import NEVER, QUEUED, TOGETHER, ModelJob

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    import apsw

    from mahavishnu_sched_mcp.app import MahavishnuApp
    from mahavishnu_sched_mcp.domain.job import Creation
    from mahavishnu_sched_mcp.domain.run import Run
    from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler

LIMITS = {"max_overlap": TOGETHER, "max_queued_per_job": QUEUED, "max_concurrent_runs": 10_000}
_EPOCH = int(TWO_O_CLOCK.timestamp())
_ROUNDS = 2000


class Life:
    """One data dir, the servers on it, and what the model says of its jobs.

    Attributes:
        jobs: Each generation of a job by its serial.
        names: The newest generation of each id.
        doors: Where the executions of each job stand.
        crowded: Who came to a door where no place was free.
        calls: How each job would be made as it is now.
        standby: The second server, where there is one.
    """

    def __init__(self, folder: Path) -> None:
        """Start the first server."""
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.folder = folder
        self.jobs: dict[int, ModelJob] = {}
        self.names: dict[str, int] = {}
        self.doors: dict[int, Door] = {}
        self.crowded: list[str] = []
        self.calls: dict[str, dict[str, Any]] = {}
        self.standby: MahavishnuApp | None = None
        self._number = 0
        self._place = folder / "0"
        self._servers: list[tuple[MahavishnuApp, AsyncExitStack]] = []
        self.app = self.do(self._serve())

    def do[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end in the servers' loop."""
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    @property
    def now(self) -> int:
        """The wall clock in whole seconds."""
        return round(self.clock.now().timestamp()) - _EPOCH

    def job(self, name: str) -> ModelJob:
        """Give the model of the newest generation."""
        return self.jobs[self.names[name]]

    def close(self) -> None:
        """End every server and forget the files."""
        while self._servers:
            self.do(self._servers.pop()[1].aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def crash(self, *, left: Path | None = None) -> None:
        """Kill the servers and start one on what they leave: just what is committed now."""
        self._number += 1
        place = self.folder / f"{self._number}"
        left = left or what_a_kill_leaves(self.app, at=place)
        self._hold_still()
        self._end_all()
        self._place = left
        self._come_back()

    def _hold_still(self) -> None:
        """Let the dead start nothing while they are put away, not even what they are claiming."""

        async def never(*_: object, **__: object) -> bool:
            raise asyncio.CancelledError

        for server, _ in self._servers:
            runner: Any = runner_of(server)
            runner._is_stopping, runner.may_start = True, never

    def restart(self) -> None:
        """Stop the servers in order and start one."""
        self._end_all()
        self._come_back()

    def hand_over(self) -> None:
        """Stop the leader in order; the one that stands by takes over."""
        standby = self.standby
        assert standby is not None
        (leader,) = [server for server in self._servers if server[0] is not standby]
        self._servers.remove(leader)
        self.do(leader[1].aclose())
        self._interrupt()
        dispatcher: Any = standby.scheduler._parts.lead._dispatcher

        async def elected() -> None:
            await eventually(
                lambda: dispatcher._loop is not None, description="the other one leads", within=30
            )

        self.do(elected())
        self.app, self.standby = standby, None

    def stand_by(self) -> None:
        """Start a second server, or end it."""
        if self.standby is None:
            self.standby = self.do(self._serve())
        else:
            (server,) = [one for one in self._servers if one[0] is self.standby]
            self._servers.remove(server)
            self.do(server[1].aclose())
            self.standby = None

    def left_at(self, part: str, act: Callable[[], object]) -> Path:
        """Copy the ledger where the leader comes to a point in its work, which it never leaves.

        Args:
            part: `claimed`: before what was claimed is started; `ended`: before an end is recorded.
            act: What brings the leader there.
        """
        self._number += 1
        app, place, reached = self.app, self.folder / f"{self._number}", asyncio.Event()

        async def stop_here(*_: object, **__: object) -> bool:
            if reached.is_set():  # of a server that is dead already
                raise asyncio.CancelledError
            what_a_kill_leaves(app, at=place)
            self._hold_still()
            reached.set()
            await asyncio.Event().wait()
            return False

        runner: Any = runner_of(app)
        if part == "claimed":
            runner.may_start = stop_here
        else:
            runner._recorder.finish = stop_here
        act()
        self.do(reached.wait())
        return place

    def add(self, name: str, model: ModelJob) -> None:
        """Make a job in both worlds."""
        door = self._guarded(Door())
        made = self.do(self.create(name, model, door))
        serial = made.job.serial
        model.due = model.following(self.now)
        self.jobs[serial], self.names[name], self.doors[serial] = model, serial, door

    async def create(self, name: str, model: ModelJob, door: Door) -> Creation:
        """Ask for a job that does what its model does."""
        ends = model.expires_at
        given: dict[str, Any] = {
            "overlap_policy": model.overlap,
            "missed_policy": model.missed,
            "catchup_window_seconds": model.window,
            "max_attempts": model.attempts,
            "retry_backoff_seconds": BACKOFF,
            "on_interrupt": "rerun" if model.reruns else "hold",
            "timeout_seconds": 0.02 if model.hangs else None,
            "max_runs": model.max_runs,
            "expires_at": None if ends == NEVER else TWO_O_CLOCK + timedelta(seconds=ends),
        }
        call: dict[str, Any] = {
            "trigger": an_interval(model.period),
            "params": {"door": door.name},
            "policies": policies(**given),
            "id": name,
        }
        made = await self._somebody.schedule_internal_task("attend", **call)
        self.calls[name] = call
        return made

    async def again(self, call: dict[str, Any], **changes: Any) -> Creation:
        """Repeat a call that made a job."""
        return await self._somebody.schedule_internal_task("attend", **call, **changes)

    def recall(
        self, name: str, *, change: dict[str, Any], trigger: TriggerRequest | None = None
    ) -> None:
        """Remember with which call the job as it is now would have been made."""
        call = self.calls[name]
        merged = policies(**(call["policies"].model_dump() | change))
        self.calls[name] = call | {"policies": merged, "trigger": trigger or call["trigger"]}

    def ask(self, tool: str, name: str, **arguments: Any) -> None:
        """Ask any of the servers to change a job."""
        self.do(getattr(self._somebody, tool)(f"apscheduler:{name}", **arguments))

    def left_after(self, tool: str, name: str) -> Path:
        """Change a job, and copy the ledger before anybody hears of the commit."""
        self._number += 1
        place = self.folder / f"{self._number}"

        async def change() -> Path:
            await getattr(self._somebody, tool)(f"apscheduler:{name}")
            left = what_a_kill_leaves(self.app, at=place)
            self._hold_still()
            return left

        return self.do(change())

    def replay(self, run_id: str, *, key: str) -> Run:
        """Ask for a run to be run again."""
        return self.do(self._somebody.replay_run(run_id, idempotency_key=key))

    def cancel_run(self, run_id: str) -> None:
        """Ask for a run's end."""
        self.do(self._somebody.cancel_run(run_id))

    def set_back(self, seconds: int) -> None:
        """Set the wall clock back, and let the leader see it."""
        self.do(self._quiet())
        self.clock._now -= timedelta(seconds=seconds)
        self.do(self._quiet())

    def snapshot(self) -> dict[str, int]:
        """Count what the ledger holds."""
        return rows_of(self.app)

    @property
    def _somebody(self) -> MahavishnuScheduler:
        """A server to ask: the one that stands by, where there is one."""
        return (self.standby or self.app).scheduler

    def _guarded(self, door: Door) -> Door:
        """Note whoever comes to a door at which nobody may come now."""
        whole = door.attend

        async def attend() -> str:
            (job,) = [self.jobs[serial] for serial, one in self.doors.items() if one is door]
            places = TOGETHER if job.overlap == "allow" else 1
            if len(door.going) >= places:
                self.crowded.append(f"{len(door.going) + 1} at once under {job.overlap}")
            return await whole()

        door.attend = attend  # type: ignore[method-assign]  # the same, and a look before
        return door

    def settle(self) -> None:
        """Let the leader do all there is to do, and the model as well."""
        for job in self.jobs.values():
            until = job.paused_until
            if job.state == "paused" and until is not None and until <= self.now:
                job.resume(until)
            job.take(self.now)
            job.start(self.now)
        self.do(self._quiet())

    async def _quiet(self) -> None:
        lead = self.app.scheduler._parts.lead
        dispatcher: Any = lead._dispatcher
        for _ in range(_ROUNDS):
            dispatcher._alarm._scheduler._run()
            await asyncio.sleep(0)
            while runner_of(self.app)._background:
                await asyncio.wait(set(runner_of(self.app)._background))
            await dispatcher._round()
            if ledger_of(self.app).read(self._is_quiet):
                return
            await asyncio.sleep(0.001)
        msg = "the scheduler never came to rest"
        raise AssertionError(msg)

    def _is_quiet(self, db: apsw.Connection) -> bool:
        now = self.clock.now()
        if run_lists.cancel_requested(db) or job_lists.pauses_over(db, now=now):
            return False
        if waiting.startable(db, now=now, has_slots=True, together=TOGETHER, limit=1):
            return False
        due = "select 1 from job where state = 'active' and next_run_at <= ?"
        if db.execute(due, (int(now.timestamp() * 1e6),)).fetchall():
            return False
        hanging = [door for serial, door in self.doors.items() if self.jobs[serial].hangs]
        if any(door.going for door in hanging):  # their timeout is about to end them
            return False
        running = {
            (row["run_id"], row["attempts"])
            for row in query(db, "select run_id, attempts from run where state = 'running'")
        }
        going = {(v.run_id, v.attempt) for door in self.doors.values() for v in door.going}
        return running == going

    async def _serve(self) -> MahavishnuApp:
        stack = AsyncExitStack()
        app = await stack.enter_async_context(a_house(self._place, clock=self.clock, limits=LIMITS))
        self._servers.append((app, stack))
        return app

    def _end_all(self) -> None:
        while self._servers:
            self.do(self._servers.pop()[1].aclose())
        self.standby = None

    def _come_back(self) -> None:
        self._interrupt()
        self.app = self.do(self._serve())

    def _interrupt(self) -> None:
        for job in self.jobs.values():
            job.interrupt()
