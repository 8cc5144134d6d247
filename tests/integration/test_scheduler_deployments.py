"""Deployments, with an engine that does what the test says in the place of Prefect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.backends.protocol import Dispatch
from mahavishnu_sched_mcp.domain.engine import (
    Backend,
    Capabilities,
    EngineState,
    Health,
    Receipt,
)
from mahavishnu_sched_mcp.domain.job import Creation, Job, JobState
from mahavishnu_sched_mcp.domain.run import Outcome, Run, RunState
from mahavishnu_sched_mcp.errors import (
    BackendUnavailableError,
    CapabilityError,
    InvalidStateError,
    SchedulerError,
)
from mahavishnu_sched_mcp.ledger import jobs
from mahavishnu_sched_mcp.runner import outcomes
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    ManualClock,
    a_settings,
    eventually,
    ledger_of,
    rows_of,
    runs_of,
)

JOB = "prefect:code_sweep"
EACH_MINUTE = {"cron": "* * * * *", "timezone": "Europe/Paris"}


class RecordingBackend:
    """A `SchedulerBackend` that makes its own fires, keeps what it was told and may refuse."""

    name = Backend.PREFECT
    capabilities = Capabilities(makes_own_fires=True, survives_server=True)

    def __init__(self, *refusals: SchedulerError) -> None:
        """Refuse once with each of these, then be fine."""
        self.refusals = list(refusals)
        self.applied: list[tuple[str, int]] = []
        self.dispatched: list[Dispatch] = []
        self.cancelled: list[str] = []
        self.starts = 0
        self.is_slow = self.is_away = False

    def health(self) -> Health:
        """Be unavailable while it is away or does not answer."""
        if self.is_away or self.is_slow:
            return Health(state=EngineState.UNAVAILABLE, detail="it is away")
        return Health(state=EngineState.READY)

    async def ensure_started(self) -> None:
        """Count the starts."""
        self.starts += 1
        self._refuse()
        if self.is_slow:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        """Break, as an engine may."""
        message = "stopped badly"
        raise RuntimeError(message)

    async def apply(self, job: Job) -> Receipt:
        """Keep state and revision."""
        self._refuse()
        self.applied.append((job.state.value, job.revision))
        return Receipt(reference={"deployment_id": "d"}, at=TWO_O_CLOCK)

    async def dispatch(self, work: Dispatch) -> Receipt:
        """Keep the work."""
        self._refuse()
        self.dispatched.append(work)
        return Receipt(reference={"flow_run_id": "f"}, at=TWO_O_CLOCK)

    async def cancel(self, run: Run) -> None:
        """Keep the run's id."""
        self.cancelled.append(run.run_id)

    def _refuse(self) -> None:
        if self.is_away:
            message = "No answer."
            raise BackendUnavailableError(message)
        if self.refusals:
            raise self.refusals.pop(0)


@asynccontextmanager
async def a_house(
    tmp_path: Path, engine: RecordingBackend, *, clock: ManualClock | None = None, **schedulers: str
) -> AsyncIterator[MahavishnuApp]:
    """Start an app whose Prefect is this engine."""
    app = MahavishnuApp(a_settings(tmp_path, schedulers=schedulers), clock=clock or ManualClock())
    app.scheduler._parts.lead.engines[Backend.PREFECT] = engine  # type: ignore[index]  # the app's own dictionary
    await app.start_scheduler()
    try:
        yield app
    finally:
        await app.stop_scheduler(drain=0)


async def deploy(app: MahavishnuApp, **changes: object) -> Creation:
    """Schedule the flow each minute."""
    return await app.scheduler.schedule_deployment(
        "code_sweep",
        **{"schedule_config": EACH_MINUTE} | changes,  # type: ignore[arg-type]  # the call's own
    )


async def test_a_deployment_is_active_on_the_engines_receipt(tmp_path: Path) -> None:
    """Its id is the flow's name, its fires are told in its zone; a repeat finds it."""
    engine = RecordingBackend()
    async with a_house(tmp_path, engine) as app:
        made = await deploy(app, description="Sweeps")
        again = await deploy(app, description="Sweeps")
        found = await app.scheduler.get_job(JOB)

    assert (made.outcome, made.job.job_id, made.job.state) == ("created", JOB, JobState.ACTIVE)
    assert made.job.reference == {"deployment_id": "d"}
    assert made.next_fires[0].isoformat() == "2026-12-01T03:01:00+01:00"
    assert found.job.next_run_at == TWO_O_CLOCK + MINUTE
    assert again.outcome == "existed"
    assert engine.applied == [("pending", 1)]


async def test_a_deployment_can_be_made_paused(tmp_path: Path) -> None:
    """It promises no fires until it is resumed."""
    engine = RecordingBackend()
    async with a_house(tmp_path, engine) as app:
        made = await deploy(app, paused=True)
        resumed = await app.scheduler.resume_job(JOB)

    assert (made.job.state, made.next_fires) == (JobState.PAUSED, ())
    assert (resumed.state, resumed.next_run_at) == (JobState.ACTIVE, TWO_O_CLOCK + MINUTE)
    assert [state for state, _ in engine.applied] == ["paused", "active"]


async def test_every_change_reaches_the_engine(tmp_path: Path) -> None:
    """Update, pause, resume and cancel, each in its newest revision."""
    engine = RecordingBackend()
    async with a_house(tmp_path, engine) as app:
        await deploy(app)
        await app.scheduler.update_job(JOB, params={"depth": 2})
        await app.scheduler.pause_job(JOB)
        await app.scheduler.resume_job(JOB)
        cancelled = await app.scheduler.cancel_job(JOB)

    assert cancelled.state is JobState.CANCELLED
    assert cancelled.next_run_at is None
    assert cancelled.applied_revision == cancelled.revision
    assert [state for state, _ in engine.applied] == [
        "pending",
        "active",
        "paused",
        "active",
        "cancelled",
    ]


async def test_a_job_waits_for_an_engine_that_is_away(tmp_path: Path) -> None:
    """It is kept as pending with a warning, and becomes active by itself."""
    engine = RecordingBackend()
    engine.is_away = True
    async with a_house(tmp_path, engine) as app:
        made = await deploy(app)
        with pytest.raises(InvalidStateError, match="has not confirmed it"):
            await app.scheduler.run_job_now(JOB)
        waiting = await app.scheduler.status()
        engine.is_away = False

        async def is_active() -> bool:
            return (await app.scheduler.get_job(JOB)).job.state is JobState.ACTIVE

        await eventually(is_active, description="the engine has it", within=8)
        job = (await app.scheduler.get_job(JOB)).job

    assert made.job.state is JobState.PENDING
    (warning,) = made.warnings
    assert warning.startswith("The job is pending: Waiting for prefect: No answer.")
    assert "get_job" in warning
    assert f"Job {JOB} is pending: Waiting for prefect: No answer." in waiting.attention
    assert any(line.startswith("Engine prefect is unavailable") for line in waiting.attention)
    assert job.note == ""


async def test_what_the_engine_refuses_stays_visible(tmp_path: Path) -> None:
    """The note says why; an update brings it to the engine again."""
    engine = RecordingBackend(CapabilityError("No such thing.", hint="Leave it out."))
    async with a_house(tmp_path, engine) as app:
        made = await deploy(app)
        changed = await app.scheduler.update_job(JOB, params={"depth": 1})

    assert made.job.state is JobState.PENDING
    assert made.job.note == "prefect refused it: No such thing. Leave it out."
    assert changed.state is JobState.ACTIVE


async def test_a_run_is_handed_over_with_the_engines_own_id(tmp_path: Path) -> None:
    """A hand-over that fails is tried again with the same run."""
    engine, clock = RecordingBackend(), ManualClock()
    async with a_house(tmp_path, engine, clock=clock) as app:
        await deploy(app, parameters={"depth": 1})
        engine.refusals = [BackendUnavailableError("No answer.")]
        run = await app.scheduler.run_job_now(JOB)
        await eventually(lambda: not engine.refusals, description="it was refused once")
        clock.shift(MINUTE)
        await eventually(lambda: bool(engine.dispatched), description="it was handed over")
        cancelled = await app.scheduler.cancel_run(run.run_id)

    assert [work.run_id for work in engine.dispatched] == [run.run_id]
    assert engine.dispatched[0].reference == {"deployment_id": "d"}
    assert engine.dispatched[0].params == {"depth": 1}
    assert cancelled.state is RunState.PENDING  # the engine will say that it ended
    assert set(engine.cancelled) == {run.run_id}


async def test_a_failed_run_of_a_deployment_is_replayed_by_its_engine(tmp_path: Path) -> None:
    """Not once the deployment is over."""
    engine = RecordingBackend()
    async with a_house(tmp_path, engine) as app:
        made = await deploy(app)
        run = await app.scheduler.run_job_now(JOB)
        await ledger_of(app).write(
            lambda db: outcomes.close(
                db, made.job, run.run_id, Outcome(state=RunState.FAILED), at=TWO_O_CLOCK
            )
        )
        replayed = await app.scheduler.replay_run(run.run_id)
        await eventually(
            lambda: replayed.run_id in {work.run_id for work in engine.dispatched},
            description="the replay was handed over",
        )
        await ledger_of(app).write(
            lambda db: jobs.set_state(db, made.job.serial, JobState.COMPLETED)
        )
        before = rows_of(app)
        with pytest.raises(InvalidStateError, match="is completed"):
            await app.scheduler.replay_run(run.run_id)
        after = rows_of(app)

    assert after == before


async def test_a_server_of_the_users_own_that_is_away_refuses(tmp_path: Path) -> None:
    """The call is refused within its two seconds, and nothing is kept."""
    engine = RecordingBackend()
    url = "http://127.0.0.1:1/api"
    async with a_house(tmp_path, engine, prefect_server_url=url) as app:
        engine.refusals = [BackendUnavailableError("No answer.", hint="Start it.")]
        with pytest.raises(BackendUnavailableError, match="No answer"):
            await deploy(app)
        engine.is_slow = True
        with pytest.raises(BackendUnavailableError, match="it is away"):
            await deploy(app)
        found = await app.scheduler.list_jobs()
        engine.is_slow = False
        made = await deploy(app)

    assert found.total == 0
    assert made.outcome == "created"


async def test_an_engine_with_unfinished_jobs_is_started_with_the_leader(tmp_path: Path) -> None:
    """Until it is up; what it never heard of is brought to it."""
    async with a_house(tmp_path, RecordingBackend()) as app:
        await deploy(app)
        runs = await runs_of(app, JOB)
    engine = RecordingBackend(BackendUnavailableError("No answer."))
    async with a_house(tmp_path, engine) as app:
        await eventually(lambda: engine.starts == 2, description="it was started again")
        await app.scheduler.cancel_job(JOB)
        await ledger_of(app).write(
            lambda db: db.execute("update job set applied_revision = 0").fetchall()
        )
    late = RecordingBackend()
    async with a_house(tmp_path, late) as app:
        await eventually(lambda: bool(late.applied), description="it heard of the end")

    assert runs == []
    assert [state for state, _ in late.applied] == ["cancelled"]
