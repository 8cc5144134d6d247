"""What a sharp newcomer once broke, and what holds since."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import IntervalTrigger, TriggerRequest
from mahavishnu_sched_mcp.errors import CapabilityError, InvalidArgumentsError
from mahavishnu_sched_mcp.ledger import jobs
from tests.factories import (
    Gate,
    ManualClock,
    an_app,
    an_interval,
    ledger_of,
    policies,
    ring,
    run_reached,
    settled,
)


async def test_a_job_whose_fires_cannot_be_computed_keeps_no_other_from_firing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes into quarantine, where get_status shows it; the others run on time."""
    clock = ManualClock()
    whole = IntervalTrigger.next_after

    def broken(trigger: IntervalTrigger, instant: object) -> object:
        if trigger.period == timedelta(seconds=30):
            raise OverflowError
        return whole(trigger, instant)  # type: ignore[arg-type]  # handed through as it came

    async with an_app(tmp_path, clock=clock) as app:
        for name, seconds in (("bad", 30), ("good", 60)):
            await app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(seconds), id=name
            )
        monkeypatch.setattr(IntervalTrigger, "next_after", broken)
        await ring(app, clock, by=timedelta(seconds=60))
        runs = await settled(app, "apscheduler:good")
        bad = (await app.scheduler.list_jobs(state=JobState.QUARANTINED)).rows
        attention = (await app.scheduler.status()).attention

    assert [run.state for run in runs] == [RunState.SUCCEEDED]
    assert [job.job_id for job in bad] == ["apscheduler:bad"]
    assert any("apscheduler:bad" in line and "OverflowError" in line for line in attention)


@pytest.mark.parametrize(
    "change", [{"concurrency_limit": 1}, {"retries": 1}, {"retry_delay_seconds": 5}]
)
async def test_a_policy_of_prefects_is_refused_for_other_engines(
    change: dict[str, int], tmp_path: Path
) -> None:
    """What would change nothing is refused, also in update_job."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(), id="a")

        with pytest.raises(CapabilityError, match=next(iter(change))):
            await app.scheduler.update_job("apscheduler:a", policies=change)

        kept = (await app.scheduler.get_job("apscheduler:a")).job
    assert kept.definition == made.job.definition


async def test_an_hour_and_3600_seconds_are_one_definition(tmp_path: Path) -> None:
    """The same schedule in other units answers `existed`."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        first = await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(3600), id="a"
        )
        again = await app.scheduler.schedule_internal_task(
            "greet", trigger=TriggerRequest(type="interval", hours=1), id="a"
        )

    assert (first.outcome, again.outcome) == ("created", "existed")


async def test_max_runs_below_what_has_fired_completes_the_job(tmp_path: Path) -> None:
    """No further fire happens after the limit was set."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        for _ in range(2):
            await ring(app, clock)
        await settled(app, "apscheduler:a", count=2)

        job = await app.scheduler.update_job("apscheduler:a", policies={"max_runs": 1})

    assert (job.state, job.next_run_at) == (JobState.COMPLETED, None)


async def test_a_manual_run_says_that_it_waits_for_the_one_in_progress(tmp_path: Path) -> None:
    """`reason` tells why a run is pending."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        gate = Gate()
        await app.scheduler.schedule_internal_task(
            "wait_at", trigger=an_interval(), params={"gate": gate.name}, id="a"
        )
        first = await app.scheduler.run_job_now("apscheduler:a")
        await run_reached(app, first.run_id, RunState.RUNNING)

        second = await app.scheduler.run_job_now("apscheduler:a")

        assert second.reason is not None
        assert "waits for the job's run in progress" in second.reason
        gate.open()


async def test_a_span_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    """`until` before `since` is a slip, not an empty list."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        with pytest.raises(InvalidArgumentsError, match="before since"):
            await app.scheduler.list_runs(
                since="2026-12-02T00:00:00+00:00", until="2026-12-01T00:00:00+00:00"
            )


def test_no_window_is_longer_than_a_year() -> None:
    """Arithmetic on instants stays inside the calendar."""
    with pytest.raises(ValueError, match="less than or equal"):
        policies(catchup_window_seconds=10**11)


async def test_a_job_in_quarantine_can_be_cancelled(tmp_path: Path) -> None:
    """The mend that the note names works."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=an_interval(), id="a")
        await ledger_of(app).write(
            lambda db: jobs.set_state(db, made.job.serial, JobState.QUARANTINED)
        )

        job = await app.scheduler.cancel_job("apscheduler:a")

    assert job.state is JobState.CANCELLED
