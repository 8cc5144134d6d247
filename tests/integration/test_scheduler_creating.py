"""Making jobs: what a creating call answers, and what it finds when it is repeated."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.errors import (
    CapabilityError,
    IdConflictError,
    IdempotencyConflictError,
    LimitExceededError,
)
from tests.factories import (
    MINUTE,
    TWO_O_CLOCK,
    Gate,
    ManualClock,
    a_cron,
    a_date,
    an_app,
    an_interval,
    policies,
    ring,
    rows_of,
    runs_of,
    settled,
)


async def shout(name: str = "world") -> str:
    """Say it loud; a callable that is in no catalog."""
    return name.upper()


async def test_a_new_job_is_created_with_all_that_was_asked_for(tmp_path: Path) -> None:
    """The answer has the job, what was granted and the next three fires."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet",
            trigger=an_interval(60),
            params={"name": "Ada"},
            id="hello",
            name="Greets Ada",
            tags=["staging"],
            created_by="agent-7",
        )

    assert made.outcome == "created"
    assert made.job.job_id == "apscheduler:hello"
    assert made.job.state is JobState.ACTIVE
    assert (made.job.name, made.job.tags) == ("Greets Ada", ("staging",))
    assert made.job.created_by == "agent-7"
    assert made.job.definition.params == {"name": "Ada"}
    assert made.next_fires == tuple(TWO_O_CLOCK + k * MINUTE for k in (1, 2, 3))
    assert made.requested == made.granted == {"backend": "apscheduler", "durable": True}
    assert made.warnings == ()
    assert made.run_id is None


async def test_next_fires_stand_in_the_zone_of_the_job(tmp_path: Path) -> None:
    """A cron in Paris shows Paris times, the winter's offset in winter."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet", trigger=a_cron("30 9 * * *", "Europe/Paris")
        )

    assert made.next_fires[0].isoformat() == "2026-12-01T09:30:00+01:00"
    assert made.job.next_run_at == TWO_O_CLOCK + timedelta(hours=6, minutes=30)


async def test_a_cron_without_zone_is_read_in_the_zone_of_the_settings(tmp_path: Path) -> None:
    """`timezone` of the settings is the default."""
    async with an_app(tmp_path, clock=ManualClock(), timezone="Asia/Tokyo") as app:
        made = await app.scheduler.schedule_internal_task("greet", trigger=a_cron("0 12 * * *"))

    assert made.next_fires[0].isoformat() == "2026-12-01T12:00:00+09:00"


async def test_a_repeat_without_id_finds_the_job(tmp_path: Path) -> None:
    """The id is derived from target, trigger and params; another param is another job."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        create = app.scheduler.schedule_internal_task
        first = await create("greet", trigger=an_interval(60))
        before = rows_of(app)

        repeated = await create("greet", trigger=an_interval(60))
        after = rows_of(app)
        other = await create("greet", trigger=an_interval(60), params={"times": 2})

    assert first.job.job_id.startswith("apscheduler:greet-")
    assert repeated.outcome == "existed"
    assert repeated.job == first.job
    assert after == before
    assert other.outcome == "created"
    assert other.job.job_id != first.job.job_id


async def test_fifty_identical_calls_at_once_make_one_job(tmp_path: Path) -> None:
    """One says created, the others existed."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        made = await asyncio.gather(
            *(
                app.scheduler.schedule_internal_task("greet", trigger=an_interval(60))
                for _ in range(50)
            )
        )
        jobs = await app.scheduler.list_jobs()

    assert sorted(one.outcome for one in made) == ["created"] + ["existed"] * 49
    assert jobs.total == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trigger": an_interval(90)}, "trigger"),
        ({"params": {"times": 2}}, "params"),
        ({"policies": policies(max_runs=3)}, "policies"),
        ({"tags": ["x"]}, "name or tags"),
        ({"name": "Another"}, "name or tags"),
        ({"durable": False}, "durable"),
    ],
)
async def test_another_definition_under_the_same_id_is_refused(
    changes: dict[str, object], named: str, tmp_path: Path
) -> None:
    """The refusal names what differs; the job stays as it was."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        before = rows_of(app)

        with pytest.raises(IdConflictError) as refused:
            await app.scheduler.schedule_internal_task(
                "greet",
                **{"trigger": an_interval(60), "id": "a"} | changes,  # type: ignore[arg-type]  # the parameters above
            )
        after = rows_of(app)

    assert refused.value.message == f"Job 'apscheduler:a' exists and differs in: {named}."
    assert refused.value.details == {"job_id": "apscheduler:a"}
    assert after == before


async def test_replace_puts_the_new_definition_in_place(tmp_path: Path) -> None:
    """The job keeps its id and generation and fires by the new trigger."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")

        changed = await create("greet", trigger=an_interval(90), id="a", replace=True)
        again = await create("greet", trigger=an_interval(90), id="a", replace=True)

    assert changed.outcome == "replaced"
    assert changed.job.generation == 1
    assert changed.next_fires[0] == TWO_O_CLOCK + timedelta(seconds=90)
    assert again.outcome == "existed"


async def test_a_job_updated_and_asked_for_as_it_is_now_exists(tmp_path: Path) -> None:
    """A name nobody gave does not make a difference after an update."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")
        await app.scheduler.update_job("apscheduler:a", params={"times": 3})

        same = await create("greet", trigger=an_interval(60), params={"times": 3}, id="a")

    assert same.outcome == "existed"


async def test_a_repeated_key_finds_what_the_first_call_made(tmp_path: Path) -> None:
    """Also in another process, and whatever the order of the params' keys."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        first = await app.scheduler.enqueue_workflow(
            "greeting", context={"name": "Ada", "times": 2}, idempotency_key="k1"
        )
    async with an_app(tmp_path, clock=clock) as app:
        again = await app.scheduler.enqueue_workflow(
            "greeting", context={"times": 2, "name": "Ada"}, idempotency_key="k1"
        )
        jobs = await app.scheduler.list_jobs(state=again.job.state)

    assert again.outcome == "existed"
    assert again.job.serial == first.job.serial
    assert again.run_id == first.run_id is not None
    assert jobs.total == 1


async def test_a_key_used_for_other_arguments_is_refused(tmp_path: Path) -> None:
    """Nothing is made; another tool may use the same key."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        create = app.scheduler.schedule_internal_task
        made = await create("greet", trigger=an_interval(60), idempotency_key="k1")
        before = rows_of(app)

        with pytest.raises(IdempotencyConflictError, match="'k1' was used") as refused:
            await create("greet", trigger=an_interval(61), idempotency_key="k1")
        after = rows_of(app)
        run = await app.scheduler.run_job_now(made.job.job_id, idempotency_key="k1")

    assert "new key" in refused.value.hint
    assert after == before
    assert run.job_id == made.job.job_id


async def test_an_enqueue_now_makes_a_new_job_each_time(tmp_path: Path) -> None:
    """Two calls are two jobs with a run each."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        one = await app.scheduler.enqueue_workflow("greeting")
        two = await app.scheduler.enqueue_workflow("greeting")

    assert (one.outcome, two.outcome) == ("created", "created")
    assert one.job.job_id != two.job.job_id
    assert one.run_id != two.run_id
    assert one.granted == {"backend": "oneiric", "durable": True, "queue_provider": "sqlite"}


async def test_an_enqueue_with_an_id_is_found_while_it_goes_on(tmp_path: Path) -> None:
    """The repeat names the same run; after its end the id is free again."""
    gate = Gate()
    ask = {"context": {"gate": gate.name}, "id": "now"}
    async with an_app(tmp_path, clock=ManualClock()) as app:
        one = await app.scheduler.enqueue_workflow("gated", **ask)  # type: ignore[arg-type]  # as above
        again = await app.scheduler.enqueue_workflow("gated", **ask)  # type: ignore[arg-type]  # as above
        gate.open()
        await settled(app, "oneiric:now")
        two = await app.scheduler.enqueue_workflow("gated", **ask)  # type: ignore[arg-type]  # as above

    assert one.run_id is not None
    assert (again.outcome, again.run_id) == ("existed", one.run_id)
    assert two.outcome == "created"
    assert two.job.generation == 2


async def test_the_id_of_a_job_that_is_over_is_free(tmp_path: Path) -> None:
    """A new generation counts from zero; the old runs are still listed."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        create = app.scheduler.schedule_internal_task
        first = await create("greet", trigger=a_date(60), id="once")
        await ring(app, clock)
        await settled(app, "apscheduler:once")
        completed = await app.scheduler.get_job("apscheduler:once")

        second = await create("greet", trigger=a_date(60), id="once")
        await app.scheduler.cancel_job("apscheduler:once")
        third = await create("greet", trigger=a_date(60), id="once")
        runs = await runs_of(app, "apscheduler:once")

    assert completed.job.state is JobState.COMPLETED
    assert completed.job.counts.succeeded == 1
    assert [one.outcome for one in (first, second, third)] == ["created"] * 3
    assert [one.job.generation for one in (first, second, third)] == [1, 2, 3]
    assert third.job.counts.succeeded == third.job.fired == 0
    assert [run.job_serial for run in runs] == [first.job.serial]


async def test_a_callable_from_python_is_held_in_memory_only(tmp_path: Path) -> None:
    """Its job says that it is not durable, and runs."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.schedule_internal_task(
            shout, trigger_type="interval", seconds=30, id="loud", params={"name": "Ada"}
        )
        await ring(app, clock, by=timedelta(seconds=30))
        runs = await settled(app, "apscheduler:loud")

    assert made.job.definition.durable is False
    assert made.granted["durable"] is False
    assert "ends with this server" in made.warnings[0]
    assert [run.output.text for run in runs] == ["ADA"]


async def test_a_job_that_is_not_durable_is_gone_with_its_server(tmp_path: Path) -> None:
    """The next leader cancels it, says why, and starts none of its runs."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), id="brief", durable=False
        )
    clock.shift(5 * MINUTE)
    async with an_app(tmp_path, clock=clock) as app:
        found = await app.scheduler.get_job("apscheduler:brief")

    assert found.job.state is JobState.CANCELLED
    assert "durable=false" in found.job.note
    assert found.runs == ()


async def test_a_registered_function_makes_a_durable_job(tmp_path: Path) -> None:
    """A callable that the catalog has is known by its name after a restart."""
    async with an_app(tmp_path, clock=ManualClock()) as app:
        function = app.registry.get("greet").function
        assert function is not None
        made = await app.scheduler.schedule_internal_task(function, trigger=an_interval(60))

    assert made.job.definition.durable is True


async def test_a_server_that_does_not_lead_keeps_nothing_in_memory(tmp_path: Path) -> None:
    """durable=false is refused there, a durable job is taken."""
    async with (
        an_app(tmp_path, clock=ManualClock()),
        an_app(tmp_path, clock=ManualClock()) as follower,
    ):
        with pytest.raises(CapabilityError, match="does not lead"):
            await follower.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(60), durable=False
            )
        made = await follower.scheduler.schedule_internal_task("greet", trigger=an_interval(60))

    assert made.outcome == "created"


async def test_the_last_job_below_the_limit_is_made_and_the_next_is_not(tmp_path: Path) -> None:
    """`limits.max_jobs` counts unfinished jobs; a cancelled one makes room."""
    async with an_app(tmp_path, clock=ManualClock(), limits={"max_jobs": 2}) as app:
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="a")
        await create("greet", trigger=an_interval(60), id="b")
        before = rows_of(app)

        with pytest.raises(LimitExceededError, match="2 unfinished jobs exist, 2 are") as refused:
            await create("greet", trigger=an_interval(60), id="c")
        after = rows_of(app)
        existed = await create("greet", trigger=an_interval(60), id="b")
        await app.scheduler.cancel_job("apscheduler:a")
        made = await create("greet", trigger=an_interval(60), id="c")

    assert refused.value.details == {"limit": 2, "current": 2}
    assert after == before
    assert (existed.outcome, made.outcome) == ("existed", "created")


async def test_a_payload_may_be_as_large_as_its_limit(tmp_path: Path) -> None:
    """One byte more is refused."""
    params = {"name": "x" * 40}
    size = len('{"name": ""}') + 40
    async with an_app(tmp_path, limits={"max_payload_bytes": size}) as app:
        made = await app.scheduler.schedule_internal_task(
            "greet", trigger=an_interval(60), params=params
        )
        with pytest.raises(LimitExceededError, match=f"params is {size + 1} bytes") as refused:
            await app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(60), params={"name": "x" * 41}
            )

    assert made.outcome == "created"
    assert refused.value.details == {"limit": size, "current": size + 1}


async def test_a_workflow_can_be_delayed_by_its_metadata(tmp_path: Path) -> None:
    """`schedule_time` makes a one-shot; the rest of the metadata travels with it."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        made = await app.scheduler.enqueue_workflow(
            "greeting",
            id="later",
            metadata={"schedule_time": "2026-12-01T03:01:00+01:00", "ticket": "T1"},
        )
        await ring(app, clock)
        runs = await settled(app, "oneiric:later")
        job = (await app.scheduler.get_job("oneiric:later")).job

    assert made.next_fires == (TWO_O_CLOCK + MINUTE,)
    assert [run.state.value for run in runs] == ["succeeded"]
    assert job.state is JobState.COMPLETED
