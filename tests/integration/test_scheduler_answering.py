"""Questions: lists in pages, previews, the catalog, how everything is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    ManualClock,
    a_cron,
    a_date,
    an_app,
    an_interval,
    ledger_of,
    policies,
    ring,
    run_reached,
    settled,
)

JOB = "apscheduler:a"


async def test_jobs_of_all_engines_are_in_one_list(tmp_path: Path) -> None:
    """Oldest first, filtered by engine, state and tag."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        scheduler = app.scheduler
        await scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a", tags=["x"])
        await scheduler.enqueue_workflow("greeting", trigger=a_cron(), id="b", tags=["x", "y"])
        await scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="c")
        await scheduler.pause_job("apscheduler:c")
        everything = await scheduler.list_jobs()
        found = {
            "oneiric": await scheduler.list_jobs(backend=Backend.ONEIRIC),
            "paused": await scheduler.list_jobs(state=JobState.PAUSED),
            "x": await scheduler.list_jobs(tag="x"),
            "none": await scheduler.list_jobs(tag="z"),
        }

    assert [job.job_id for job in everything.rows] == [JOB, "oneiric:b", "apscheduler:c"]
    assert {name: [job.job_id for job in page.rows] for name, page in found.items()} == {
        "oneiric": ["oneiric:b"],
        "paused": ["apscheduler:c"],
        "x": [JOB, "oneiric:b"],
        "none": [],
    }


async def test_a_list_of_jobs_is_stable_while_jobs_come_and_go(tmp_path: Path) -> None:
    """A page goes on after the last job of the one before, even where that is gone."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        create = app.scheduler.schedule_internal_task
        for name in "abcde":
            await create("greet", trigger=an_interval(60), id=name)
        first = await app.scheduler.list_jobs(limit=2)
        await app.scheduler.cancel_job("apscheduler:b")
        await create("greet", trigger=an_interval(60), id="f")
        second = await app.scheduler.list_jobs(limit=2, cursor=first.next_cursor)
        third = await app.scheduler.list_jobs(limit=2, cursor=second.next_cursor)

    names = [[job.name for job in page.rows] for page in (first, second, third)]
    assert names == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert (first.total, third.total, third.next_cursor) == (5, 5, None)


async def test_a_job_in_detail_has_its_next_fires_and_last_runs(tmp_path: Path) -> None:
    """Five of each; a paused job has no next fires."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="a", policies=policies(max_runs=9)
        )
        for _ in range(6):
            await ring(app, clock)
        await settled(app, JOB, count=6)
        found = await app.scheduler.get_job(JOB)
        await app.scheduler.pause_job(JOB)
        paused = await app.scheduler.get_job(JOB)

    assert found.next_fires == tuple(TWO_O_CLOCK + k * MINUTE for k in (7, 8, 9))
    assert [run.scheduled_for for run in found.runs] == [
        TWO_O_CLOCK + k * MINUTE for k in (6, 5, 4, 3, 2)
    ]
    assert paused.next_fires == ()


async def test_a_preview_says_what_a_trigger_would_do(tmp_path: Path) -> None:
    """In words and times; nothing is made, and the server need not run."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        cron = app.scheduler.preview(a_cron("0 9 * * 1-5"), count=2, timezone="Europe/Paris")
        later = app.scheduler.preview(an_interval(3600), count=1, start="2027-01-01T00:00:00+00:00")
        once = app.scheduler.preview(a_date(60), count=5)
        jobs = await app.scheduler.list_jobs()

    assert [fire.isoformat() for fire in cron.fires] == [
        "2026-12-01T09:00:00+01:00",
        "2026-12-02T09:00:00+01:00",
    ]
    assert "Europe/Paris" in cron.in_words
    assert cron.warnings == ()
    assert later.fires[0].isoformat() == "2027-01-01T01:00:00+00:00"
    assert once.fires == (TWO_O_CLOCK + MINUTE,)
    assert once.warnings == ("It fires once only.",)
    assert jobs.total == 0


async def test_the_catalog_is_filtered_and_paged(tmp_path: Path) -> None:
    """By kind and words; the pages are in a fixed order."""
    async with an_app(tmp_path) as app:
        everything = app.scheduler.list_catalog(limit=200)
        flows = app.scheduler.list_catalog(kind="flow")
        words = app.scheduler.list_catalog(query="HELLO say")
        cursor, names = None, list[str]()
        while True:
            page = app.scheduler.list_catalog(limit=5, cursor=cursor)
            for family in (page.tasks, page.workflows, page.flows, page.providers):
                names += [entry.name for entry in family]
            cursor = page.next_cursor
            if cursor is None:
                break
        with pytest.raises(InvalidArgumentsError):
            app.scheduler.list_catalog(cursor="x")

    assert [entry.name for entry in flows.flows] == ["code_sweep", "gated", "greeting"]
    assert {entry.name for entry in words.tasks} == {"greet"}
    assert {entry.name for entry in words.workflows} == {"greeting"}
    assert len(names) == everything.total
    default = [entry.name for entry in everything.providers if entry.is_default]
    assert default == ["sqlite"]


async def test_the_classifier_knows_what_is_switched_on(tmp_path: Path) -> None:
    """Its next call is one that this server takes."""
    async with an_app(tmp_path, schedulers={"prefect_deployments_enabled": False}) as app:
        answer = app.scheduler.classify("greet", interval_seconds=30)

    assert answer.backend == "apscheduler"
    assert answer.next_call.tool == "schedule_internal_task"


async def test_the_status_counts_and_names_what_needs_attention(tmp_path: Path) -> None:
    """Failed and missed jobs, reminders, idle settings; all well means no line."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        well = await app.scheduler.status()
        create = app.scheduler.schedule_internal_task
        await create("fail", trigger=an_interval(60), id="bad")
        await create("greet", trigger=an_interval(60), id="good")
        await create("remind", trigger=a_date(60), params={"message": "look"}, id="later")
        await ring(app, clock)
        (failed,) = await settled(app, "apscheduler:bad")
        (reminder,) = await settled(app, "apscheduler:later")
        await settled(app, "apscheduler:good")
        status = await app.scheduler.status()
        clock.shift(timedelta(days=2))
        await app.scheduler.cancel_job("apscheduler:bad")
        old = await app.scheduler.status()

    assert well.attention == ()
    assert well.engines["oneiric"]["state"] == "idle"
    assert status.counts["jobs"] == {"active": 2, "completed": 1}
    assert status.counts["runs_last_24h"] == {"failed": 1, "succeeded": 2}
    assert status.attention == (
        f"Job apscheduler:bad: last run failed; see get_run('{failed.run_id}').",
        f"Reminder from {reminder.run_id}: look",
    )
    assert not any("look" in line for line in old.attention)


async def test_the_status_names_missed_jobs_and_shows_twenty_lines(tmp_path: Path) -> None:
    """More than twenty are counted."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        for number in range(22):
            await app.scheduler.schedule_internal_task(
                "greet",
                trigger=an_interval(60),
                id=f"job-{number}",
                policies=policies(missed_policy="skip"),
            )
        await ring(app, clock, by=10 * MINUTE)
        status = await app.scheduler.status()

    assert len(status.attention) == 21
    assert "missed fires; see list_runs(job_id='apscheduler:job-21')" in status.attention[0]
    assert status.attention[-1].endswith("more.")


async def test_a_setting_without_effect_is_named(tmp_path: Path) -> None:
    """Nothing is ignored silently."""
    async with an_app(tmp_path, dead_letters={"keep_days": 3}) as app:
        status = await app.scheduler.status()

    assert any(line.startswith("dead_letters.keep_days has no effect") for line in status.attention)


async def test_a_reminder_and_a_sample_are_kept_by_the_chores(tmp_path: Path) -> None:
    """metrics_collection measures the real ledger."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task(
            "metrics_collection", trigger=an_interval(60), id="m"
        )
        run = await app.scheduler.run_job_now("apscheduler:m", wait_seconds=5)
        check = await app.scheduler.schedule_internal_task(
            "health_check", trigger=an_interval(60), id="h"
        )
        for _ in range(2):
            looked = await app.scheduler.run_job_now(check.job.job_id, wait_seconds=5)
        samples = ledger_of(app).read(
            lambda db: db.execute("select count(*) from metric_sample").get
        )

    assert run.state is looked.state is RunState.SUCCEEDED
    assert '"ledger_bytes"' in run.output.text
    assert '"disk"' in looked.output.text
    assert samples == 1


async def test_a_pending_job_says_what_it_waits_for(tmp_path: Path) -> None:
    """Its engine's last word stands in its note and in the status."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.enqueue_workflow("greeting", id="a")
        assert made.run_id is not None
        await run_reached(app, made.run_id, RunState.SUCCEEDED)
        await ledger_of(app).write(
            lambda db: db.execute(
                "update job set state = 'pending', note = 'Waiting for oneiric: away'"
            ).fetchall()
        )
        status = await app.scheduler.status()
        await ledger_of(app).write(
            lambda db: db.execute("update job set state = 'quarantined'").fetchall()
        )
        quarantined = await app.scheduler.status()

    assert status.attention == ("Job oneiric:a is pending: Waiting for oneiric: away",)
    assert quarantined.attention == ("Job oneiric:a is quarantined: Waiting for oneiric: away",)
