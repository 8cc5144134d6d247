"""Faults that pass: a full disk, an engine's defect, a clock that is set back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.run import Outcome, RunState
from mahavishnu_sched_mcp.errors import LedgerCorruptError, StorageFullError
from mahavishnu_sched_mcp.ledger import Ledger
from tests.factories import (
    MINUTE,
    NO_CHORES,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    a_settings,
    an_app,
    an_interval,
    eventually,
    ledger_of,
    policies,
    ring,
    runner_of,
    runs_of,
    settled,
)

JOB = "apscheduler:a"
FULL = "The disk has no room for the ledger; nothing was changed."


class Failing:
    """Lets the next commits of a ledger fail."""

    def __init__(
        self, ledger: Ledger, *, count: int, error: Callable[[], Exception] | None = None
    ) -> None:
        """Fail so many times, as a full disk does where nothing else is said."""
        self.left = count
        self._write = ledger.write
        self._error = error or (lambda: StorageFullError(FULL))
        ledger.write = self.write  # type: ignore[method-assign]  # the fault under test

    async def write(self, change: Any, *, durable: bool = True, essential: bool = False) -> Any:
        """Fail, or commit."""
        if self.left > 0:
            self.left -= 1
            raise self._error()
        return await self._write(change, durable=durable, essential=essential)


async def test_a_fire_on_a_full_disk_is_taken_when_there_is_room(tmp_path: Path) -> None:
    """The claim is tried again; the fire has one run."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await eventually(lambda: _armed(app) == 1, description="the job is armed")
        failing = Failing(ledger_of(app), count=1)
        await ring(app, clock)
        (run,) = await settled(app, JOB)

    assert failing.left == 0
    assert run.state is RunState.SUCCEEDED


async def test_an_outcome_on_a_full_disk_is_recorded_when_there_is_room(tmp_path: Path) -> None:
    """What a run did is never forgotten."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(60), params={"gate": gate.name}, id="a"
        )
        await ring(app, clock)
        failing = Failing(ledger_of(app), count=2)
        gate.open()
        (run,) = await settled(app, JOB)

    assert failing.left == 0
    assert run.state is RunState.SUCCEEDED


async def test_a_call_on_a_full_disk_is_refused(tmp_path: Path) -> None:
    """storage_full; the same call is taken later."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await eventually(lambda: app.scheduler.is_leader, description="it leads")
        Failing(ledger_of(app), count=1)
        with pytest.raises(StorageFullError):
            await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")

    assert made.outcome == "created"


@pytest.mark.parametrize(
    "error", [lambda: StorageFullError(FULL), lambda: RuntimeError("a defect")]
)
async def test_the_leaders_errands_go_on_after_a_fault(
    error: Callable[[], Exception], tmp_path: Path
) -> None:
    """One round is lost, the next one starts what waits."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        write = app.scheduler._ledger.write

        async def write_and_break(
            change: Any, *, durable: bool = True, essential: bool = False
        ) -> Any:
            made = await write(change, durable=durable, essential=essential)
            app.scheduler._ledger.write = write  # type: ignore[method-assign]  # as it was
            Failing(ledger_of(app), count=1, error=error)
            return made

        app.scheduler._ledger.write = write_and_break  # type: ignore[method-assign]  # once
        asked = await app.scheduler.run_job_now(JOB)
        run = await app.scheduler.get_run(asked.run_id, wait_seconds=5)

    assert run.state is RunState.SUCCEEDED


async def test_a_defect_while_claiming_loses_no_fire(tmp_path: Path) -> None:
    """The next fire accounts for it, too."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await eventually(lambda: _armed(app) == 1, description="the job is armed")
        Failing(ledger_of(app), count=1, error=lambda: RuntimeError("a defect"))
        await ring(app, clock)
        await ring(app, clock)
        runs = await settled(app, JOB, count=2)

    assert sum(run.fires for run in runs) == 2
    assert runs[-1].state is RunState.SUCCEEDED


async def test_a_defect_of_the_executor_is_the_runs_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails without a word of the defect; the log has it."""

    async def break_down(*_: object, **__: object) -> None:
        message = "secret"
        raise RuntimeError(message)

    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        monkeypatch.setattr(runner_of(app)._executor, "execute", break_down)
        run = await app.scheduler.run_job_now(JOB, wait_seconds=5)

    assert run.state is RunState.FAILED
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("RuntimeError", "")
    assert "its log has more" in (run.reason or "")


async def test_a_clock_that_is_set_back_fires_nothing_twice(tmp_path: Path) -> None:
    """An instant that has its record keeps it, whatever the trigger says now."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        for _ in range(2):
            await ring(app, clock)
        before = await settled(app, JOB, count=2)
        clock.shift(-2 * MINUTE)
        await app.scheduler.update_job(JOB, trigger=an_interval(30))
        for _ in range(4):
            await ring(app, clock, by=MINUTE / 2)
        runs = await settled(app, JOB, count=4)

    assert [(run.scheduled_for - TWO_O_CLOCK) / MINUTE for run in runs] == [0.5, 1, 1.5, 2]
    assert [run for run in runs if run.run_id in {one.run_id for one in before}] == before


async def test_an_end_is_not_recorded_twice(tmp_path: Path) -> None:
    """A run that is over stays as it is, whoever reports again."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        run = await app.scheduler.run_job_now(JOB, wait_seconds=5)
        again = await runner_of(app).finish(run.run_id, Outcome(state=RunState.FAILED))
        begun = await runner_of(app).begin(run.run_id, worker="w", term=1)
        job = (await app.scheduler.get_job(JOB)).job

    assert again is not None
    assert again.state is RunState.SUCCEEDED
    assert begun is None
    assert (job.counts.succeeded, job.counts.failed) == (1, 0)


async def test_a_stop_on_a_full_disk_still_ends(tmp_path: Path) -> None:
    """The next leader accounts for what was going."""
    clock, gate = ManualClock(), Gate()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.enqueue_workflow(
            "gated", context={"gate": gate.name}, id="a", policies=policies(on_interrupt="hold")
        )
        await eventually(lambda: gate.entries == 1, description="the node waits")
        books = runner_of(app).close_books

        async def fail() -> None:
            raise StorageFullError(FULL)

        runner_of(app).close_books = fail  # type: ignore[method-assign]  # the fault under test
        await app.stop_scheduler(drain=0)
        runner_of(app).close_books = books  # type: ignore[method-assign]  # as it was
    async with an_app(tmp_path, clock=clock) as app:
        (run,) = await settled(app, "oneiric:a")

    assert run.state is RunState.INTERRUPTED


async def test_a_chore_that_is_switched_off_leaves_nothing_waiting(tmp_path: Path) -> None:
    """Its waiting run goes with it."""
    clock = ManualClock()
    chores = NO_CHORES | {"health_check_seconds": 30}
    async with an_app(
        tmp_path, clock=clock, internal_tasks=chores, limits={"max_concurrent_runs": 1}
    ) as app:
        gate = Gate()
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(600), params={"gate": gate.name}, id="a"
        )
        await app.scheduler.run_job_now(JOB)
        await eventually(lambda: gate.entries == 1, description="the only slot is taken")
        await ring(app, clock, by=MINUTE / 2)
        waiting = await runs_of(app, "apscheduler:system.health-check")
    async with an_app(tmp_path, clock=clock) as app:
        (run,) = await settled(app, "apscheduler:system.health-check")

    assert [run.state for run in waiting] == [RunState.PENDING]
    assert run.state is RunState.CANCELLED


async def test_a_ledger_that_cannot_be_trusted_is_not_touched(tmp_path: Path) -> None:
    """Every call that needs it is refused, what needs none is answered, and nothing fires."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database at all" * 500)
    app = MahavishnuApp(a_settings(tmp_path))

    await app.start_scheduler()
    with pytest.raises(LedgerCorruptError, match="Nothing is written to it"):
        await app.scheduler.list_jobs()
    with pytest.raises(LedgerCorruptError):
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
    tasks = app.scheduler.list_catalog(kind="task").tasks
    is_leader = app.scheduler.is_leader
    await app.stop_scheduler()

    assert not is_leader
    assert "greet" in {task.name for task in tasks}
    assert path.read_bytes() == b"no database at all" * 500
    assert names_in(tmp_path) == {"ledger.db", "ledger.lock"}


async def test_an_app_starts_again_when_the_ledger_is_mended(tmp_path: Path) -> None:
    """A refusal is no end."""
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 500)
    app = MahavishnuApp(a_settings(tmp_path))
    await app.start_scheduler()
    await app.stop_scheduler()

    (tmp_path / "ledger.db").unlink()
    async with app.lifecycle():
        assert app.scheduler.is_leader
    async with app.scheduler.lifecycle():
        assert app.scheduler.is_leader
    assert not app.scheduler.is_leader


def names_in(folder: Path) -> set[str]:
    """Give the names of the files in a folder."""
    return {file.name for file in folder.iterdir()}


def _armed(app: MahavishnuApp) -> int:
    return int(app.scheduler._parts.lead._dispatcher._alarm.armed)  # type: ignore[attr-defined]  # the real one
