"""One record that cannot be read: it is named, takes nothing with it, and can be taken away."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import InvalidStateError, LedgerCorruptError
from mahavishnu_sched_mcp.ledger.database import scalar
from tests.factories import ManualClock, an_app, an_interval, ledger_of, ring, runs_of, settled

JOB, OTHER = "apscheduler:a", "apscheduler:b"


async def a_damaged_job(path: Path, clock: ManualClock, *, definition: str = "'{'") -> None:
    """Make two jobs, stop, and spoil the definition of the first."""
    async with an_app(path, clock=clock) as app:
        for name in "ab":
            await app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(60), id=name, tags=["x"]
            )
    with apsw.Connection(str(path / "ledger.db")) as connection:
        connection.execute(f"update job set definition = {definition} where job_id = '{JOB}'")  # noqa: S608 - ours
    connection.close()
    (
        path / "ledger.mark"
    ).unlink()  # or the whole file would be refused: it is not as it was closed


@pytest.mark.parametrize("definition", ["'{'", "'null'", "x'00ff'", "cast(x'7bff7d' as text)"])
async def test_a_damaged_job_hides_and_stops_no_other(definition: str, tmp_path: Path) -> None:
    """It is listed with its id, in quarantine, with a note; the other one fires."""
    clock = ManualClock()
    await a_damaged_job(tmp_path, clock, definition=definition)

    async with an_app(tmp_path, clock=clock) as app:
        await ring(app, clock)
        (run,) = await settled(app, OTHER)
        damaged, other = (await app.scheduler.list_jobs(tag="x")).rows
        status = await app.scheduler.status()
        fired = await runs_of(app, JOB)

    assert (damaged.job_id, damaged.state) == (JOB, JobState.QUARANTINED)
    assert "cancel_job" in damaged.note
    assert (other.job_id, other.state) == (OTHER, JobState.ACTIVE)
    assert run.state is RunState.SUCCEEDED
    assert fired == []
    assert status.counts["jobs"]


async def test_a_damaged_job_is_cancelled_and_its_record_kept(tmp_path: Path) -> None:
    """It cannot be changed or run; taking it away leaves what its record holds."""
    clock = ManualClock()
    await a_damaged_job(tmp_path, clock)

    async with an_app(tmp_path, clock=clock) as app:
        with pytest.raises(InvalidStateError, match="is damaged"):
            await app.scheduler.update_job(JOB, name="new")
        for change in (
            app.scheduler.pause_job,
            app.scheduler.resume_job,
            app.scheduler.run_job_now,
        ):
            with pytest.raises(InvalidStateError, match="is quarantined"):
                await change(JOB)
        await app.scheduler.cancel_job(JOB)
        left = (await app.scheduler.list_jobs()).rows
        kept = ledger_of(app).read(
            lambda db: scalar(db, f"select definition from job where job_id = '{JOB}'")  # noqa: S608 - ours
        )
        again = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")

    assert [job.job_id for job in left] == [OTHER]
    assert kept == "{"
    assert (again.outcome, again.job.state, again.job.generation) == (
        "created",
        JobState.ACTIVE,
        2,
    )


async def test_a_damaged_job_is_replaced_by_a_sound_one(tmp_path: Path) -> None:
    """replace=true gives it a new definition, and it fires again."""
    clock = ManualClock()
    await a_damaged_job(tmp_path, clock)

    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(30), id="a", replace=True
        )
        await ring(app, clock)
        runs = await settled(app, JOB)

    assert (made.outcome, made.job.state) == ("replaced", JobState.ACTIVE)
    assert RunState.SUCCEEDED in {run.state for run in runs}


async def test_damage_found_while_running_stops_all_writing(tmp_path: Path) -> None:
    """Calls that write are refused from then on, and get_status says so."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")

        def stumble(_: apsw.Connection) -> None:
            raise apsw.CorruptError

        with pytest.raises(LedgerCorruptError):
            await ledger_of(app).write(stumble)
        with pytest.raises(LedgerCorruptError, match="damaged"):
            await app.scheduler.cancel_job(JOB)
        attention = (await app.scheduler.status()).attention
        job = (await app.scheduler.get_job(JOB)).job

    assert "damaged" in attention[0]
    assert "mahavishnu-sched-mcp restore" in attention[0]
    assert job.state is JobState.ACTIVE
