"""Every refusal of the contract, through the tools, as an agent meets it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fastmcp import Client
from pydantic import BaseModel

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler
from mahavishnu_sched_mcp.server.factory import TOOL_ORDER, create_server, declarations
from mahavishnu_sched_mcp.settings import Settings
from tests.factories import (
    NO_CHORES,
    Gate,
    ManualClock,
    a_settings,
    an_app,
    an_interval,
    ring,
    rows_of,
    run_reached,
    settled,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTELY = {"type": "interval", "seconds": 60}
NIGHTLY = {"cron": "0 2 * * *"}


def a_task(**changes: Any) -> tuple[str, dict[str, Any]]:
    """Call for a job on a task."""
    return "schedule_internal_task", {"task": "greet", "trigger": MINUTELY} | changes


def a_cron_of(expression: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Call for a job with a cron trigger."""
    return a_task(trigger={"type": "cron", "expression": expression} | fields)


def a_date_at(run_at: str) -> tuple[str, dict[str, Any]]:
    """Call for a job at an instant."""
    return a_task(trigger={"type": "date", "run_at": run_at})


def a_workflow(**changes: Any) -> tuple[str, dict[str, Any]]:
    """Call for a workflow."""
    return "enqueue_workflow", {"workflow_key": "greeting"} | changes


def a_deployment(**changes: Any) -> tuple[str, dict[str, Any]]:
    """Call for a deployment."""
    return (
        "schedule_deployment",
        {"flow_name": "code_sweep", "schedule_config": NIGHTLY} | changes,
    )


def an_update(**changes: Any) -> tuple[str, dict[str, Any]]:
    """Call for a change of a job that goes on."""
    return "update_job", {"job_id": "apscheduler:fixed"} | changes


def a_nest(depth: int) -> dict[str, Any]:
    """Nest an object in an object in an object."""
    return {"name": a_nest(depth - 1)} if depth else {}


ARGUMENTS, TRIGGER = "invalid_arguments", "invalid_trigger"
UNSUPPORTED, STATE = "capability_unsupported", "invalid_state"

REFUSED: list[tuple[str, dict[str, Any], str, str, str]] = [
    # the catalog
    (*a_task(task="gret"), "unknown_task", "'gret'", "Did you mean 'greet'?"),
    (*a_workflow(workflow_key="greting"), "unknown_workflow", "'greting'", "'greeting'?"),
    (*a_deployment(flow_name="code_swep"), "unknown_flow", "'code_swep'", "'code_sweep'?"),
    (*a_workflow(queue_provider="sqlit"), "unknown_provider", "'sqlit'", "'sqlite'?"),
    (*a_workflow(queue_provider="redis"), UNSUPPORTED, "'redis'", "queue_provider='sqlite'"),
    # what is given to them
    (*a_task(params={"nam": "Ada"}), ARGUMENTS, "'nam'", "Did you mean 'name'?"),
    (*a_task(params={"times": "two"}), ARGUMENTS, '"two"', "integer"),
    (*a_task(params={"name": "x" * 70_000}), "limit_exceeded", "70012", "reference"),
    (*a_workflow(metadata=a_nest(40)), ARGUMENTS, "metadata", "Flatten"),
    (*a_workflow(context={"nam": 1}), ARGUMENTS, "'nam'", "Did you mean 'name'?"),
    (*a_workflow(context={"name": 1}), ARGUMENTS, "Node 'greet'", "string"),
    (*a_workflow(workflow_key="gated"), ARGUMENTS, "'gate'", ""),
    (*a_workflow(metadata={"run_id": "mine"}), ARGUMENTS, "metadata.run_id", "Leave it out"),
    (*a_workflow(metadata={"schedule_time": 5}), ARGUMENTS, "schedule_time=5", "2026-12-01T"),
    (
        *a_workflow(trigger=MINUTELY, metadata={"schedule_time": "2026-12-02T00:00:00Z"}),
        ARGUMENTS,
        "metadata.schedule_time",
        "one of them",
    ),
    (*a_deployment(flow_name="greeting", parameters={"x": 1}), ARGUMENTS, "'x'", "name, times"),
    (*a_deployment(work_pool_name="mine"), UNSUPPORTED, "'mine'", "Leave it out"),
    # triggers
    (*a_cron_of("0 2 * *"), TRIGGER, "'0 2 * *'", "5 are needed"),
    (*a_cron_of("0 0 2 * * *"), TRIGGER, "'0 0 2 * * *'", "'interval'"),
    (*a_cron_of("61 2 * * *"), TRIGGER, "'61 2 * * *'", ""),
    (*a_cron_of("0 0 31 2 *"), TRIGGER, "'0 0 31 2 *'", "preview_schedule"),
    (*a_cron_of("0 0 L * *"), TRIGGER, "'0 0 L * *'", "name days by number"),
    (*a_cron_of("0 2 * * *", timezone="Europe/Pari"), TRIGGER, "'Europe/Pari'", "'Europe/Paris'"),
    (*a_cron_of("0 2 * * *", seconds=5), TRIGGER, "takes no seconds", "interval"),
    (*a_date_at("2026-12-02T09:00:00"), TRIGGER, "'2026-12-02T09:00:00'", "+01:00"),
    (*a_date_at("2026-11-30T09:00:00Z"), TRIGGER, "'2026-11-30T09:00:00Z'", "run_job_now"),
    (*a_date_at("tomorrow"), TRIGGER, "'tomorrow'", "2026-12-01T09:00:00+01:00"),
    (
        *a_task(trigger={"type": "interval", "seconds": 0.5}),
        TRIGGER,
        "0.5 seconds",
        "limits.min_interval_seconds",
    ),
    (*a_task(trigger={"type": "interval"}), TRIGGER, "needs a period", '"minutes": 5'),
    (*a_task(trigger={"type": "intervall"}), TRIGGER, "intervall", "'interval'"),
    (*a_deployment(schedule_config={"corn": "* * * * *"}), TRIGGER, "'corn'", "'cron'?"),
    (*a_deployment(schedule_config={}), TRIGGER, "exactly one of", "Europe/Paris"),
    (*a_deployment(schedule_config={"rrule": "FREQ=NEVER"}), TRIGGER, "FREQ=NEVER", ""),
    ("preview_schedule", {"trigger": {"type": "cron", "expression": "x"}}, TRIGGER, "'x'", ""),
    # the call itself
    (*a_task(zzz=1), ARGUMENTS, "'zzz'", "schedule_internal_task"),
    (*a_task(id="Not An Id"), ARGUMENTS, "Not An Id", ""),
    (*a_task(id="system.mine"), ARGUMENTS, "'system.'", "another id"),
    (*a_task(name="two\nlines"), ARGUMENTS, "name", "line breaks"),
    (*a_task(tags=["a", "a"]), ARGUMENTS, "tags", "repeated"),
    (*a_task(tags=["no tag"]), ARGUMENTS, "'no tag'", "staging"),
    (*a_task(expires_at="2026-11-30T00:00:00Z"), ARGUMENTS, "2026-11-30", "later"),
    (*a_task(expires_at="2026-12-01T02:00:30Z"), TRIGGER, "2026-12-01T02:01:00", "expires_at"),
    ("list_jobs", {"cursor": "???"}, ARGUMENTS, "'???'", "next_cursor"),
    ("list_runs", {"cursor": "WzFd"}, ARGUMENTS, "'WzFd'", "next_cursor"),
    ("list_runs", {"since": "yesterday"}, ARGUMENTS, "'yesterday'", "2026-12-01T"),
    ("list_runs", {"until": "2026-12-01T00:00:00"}, ARGUMENTS, "until=", "+00:00"),
    (*a_task(durable=False, max_attempts=2), ARGUMENTS, "max_attempts=2", "durable"),
    # policies that this version does not build
    (*a_deployment(missed_policy="skip"), UNSUPPORTED, "missed_policy=skip", "run_once"),
    (*a_deployment(retries=2), UNSUPPORTED, "retries=2", "0"),
    (*a_task(timeout_seconds=9999), "limit_exceeded", "9999", "limits.max_runtime_seconds"),
    # jobs and runs that are not there, or not so
    ("get_job", {"job_id": "apscheduler:fixd"}, "job_not_found", "fixd", "'apscheduler:fixed'?"),
    ("get_job", {"job_id": "fixed"}, "job_not_found", "'fixed'", "'apscheduler:fixed'?"),
    ("pause_job", {"job_id": "apscheduler:no"}, "job_not_found", "'apscheduler:no'", "list_jobs"),
    ("list_runs", {"job_id": "oneiric:no"}, "job_not_found", "'oneiric:no'", "list_jobs"),
    ("get_run", {"run_id": "run-0"}, "run_not_found", "'run-0'", "list_runs"),
    ("cancel_run", {"run_id": "run-0"}, "run_not_found", "'run-0'", "list_runs"),
    ("replay_run", {"run_id": "run-0"}, "run_not_found", "'run-0'", "list_runs"),
    ("pause_job", {"job_id": "apscheduler:over"}, STATE, "cancelled", "anew"),
    ("resume_job", {"job_id": "apscheduler:over"}, STATE, "cancelled", "anew"),
    ("run_job_now", {"job_id": "apscheduler:over"}, STATE, "cancelled", "anew"),
    ("update_job", {"job_id": "apscheduler:over", "name": "x"}, STATE, "cancelled", "anew"),
    ("update_job", {"job_id": "oneiric:once", "trigger": MINUTELY}, STATE, "oneiric:once", "enq"),
    (
        "pause_job",
        {"job_id": "apscheduler:fixed", "until": "2026-12-01T01:00:00Z"},
        ARGUMENTS,
        "2026-12-01T01:00:00Z",
        "later",
    ),
    (*an_update(params={"nam": 1}), ARGUMENTS, "'nam'", "'name'?"),
    (*an_update(expires_at="2026-11-30T00:00:00Z"), ARGUMENTS, "2026-11-30", "later"),
    (*an_update(tags=["no tag"]), ARGUMENTS, "'no tag'", "staging"),
    (
        "pause_job",
        {"job_id": "apscheduler:system.health-check"},
        "forbidden",
        "system.",
        "internal",
    ),
    ("cancel_job", {"job_id": "apscheduler:system.health-check"}, "forbidden", "system.", "inter"),
    (*a_task(id="fixed", params={"times": 9}), "id_conflict", "params", "update_job"),
    (*a_task(idempotency_key="used"), "idempotency_conflict", "'used'", "new key"),
]


@asynccontextmanager
async def a_client(app: MahavishnuApp) -> AsyncIterator[Client[Any]]:
    """Open a client of the real server over a scheduler that runs."""

    @asynccontextmanager
    async def started() -> AsyncIterator[MahavishnuScheduler]:
        yield app.scheduler

    async with Client(create_server(started)) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[MahavishnuApp, Client[Any]]]:
    """Start one server with some jobs; no refusal may change them."""
    chores = NO_CHORES | {"health_check_seconds": 30}
    clock, gate = ManualClock(), Gate()
    async with AsyncExitStack() as stack:
        path = tmp_path_factory.mktemp("data")
        app = await stack.enter_async_context(an_app(path, clock=clock, internal_tasks=chores))
        create = app.scheduler.schedule_internal_task
        await create("greet", trigger=an_interval(60), id="fixed")
        await create("greet", trigger=an_interval(90), id="other", idempotency_key="used")
        await create("greet", trigger=an_interval(60), id="over")
        await app.scheduler.cancel_job("apscheduler:over")
        await app.scheduler.enqueue_workflow("gated", context={"gate": gate.name}, id="once")
        client = await stack.enter_async_context(a_client(app))
        (run,) = (await app.scheduler.list_runs(job_id="oneiric:once")).rows
        await run_reached(app, run.run_id, RunState.RUNNING)
        yield app, client
        gate.open()


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "holds", "mend"),
    [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(REFUSED)],
)
async def test_a_refusal_says_what_and_the_mend_and_leaves_nothing(
    tool: str,
    arguments: dict[str, Any],
    code: str,
    holds: str,
    mend: str,
    house: tuple[MahavishnuApp, Client[Any]],
) -> None:
    """One line with code, value and a mend that exists; the ledger is as it was."""
    app, client = house
    before = rows_of(app)

    text = await refusal_of(client, tool, arguments)

    assert text.startswith(f"[{code}] ")
    assert holds in text
    assert mend in text
    assert strange_names(text, given=arguments) == []
    assert "\n" not in text
    assert rows_of(app) == before


@pytest.mark.parametrize(
    ("call", "setting"),
    [
        (a_task(), "schedulers.apscheduler_enabled"),
        (a_workflow(), "schedulers.oneiric_queue_enabled"),
        (a_deployment(), "schedulers.prefect_deployments_enabled"),
    ],
)
async def test_an_engine_that_is_switched_off_is_unavailable(
    call: tuple[str, dict[str, Any]], setting: str, tmp_path: Path
) -> None:
    """The mend names its switch."""
    switches = dict.fromkeys(
        ("apscheduler_enabled", "oneiric_queue_enabled", "prefect_deployments_enabled"), False
    )
    async with an_app(tmp_path, schedulers=switches) as app, a_client(app) as client:
        before = rows_of(app)
        text = await refusal_of(client, *call)
        after = rows_of(app)
        status = await app.scheduler.status()

    assert text.startswith("[backend_unavailable] Backend '")
    assert setting in text
    assert strange_names(text, given=call[1]) == []
    assert after == before
    assert {engine["state"] for engine in status.engines.values()} == {"disabled"}


@pytest.mark.parametrize(
    "call",
    [
        a_task(),
        a_workflow(),
        a_deployment(),
        an_update(name="x"),
        ("list_jobs", {}),
        ("get_status", {}),
        ("pause_job", {"tag": "x"}),
        *(
            (tool, {"job_id": "apscheduler:a"})
            for tool in ("get_job", "pause_job", "resume_job", "cancel_job", "run_job_now")
        ),
        ("list_runs", {}),
        *((tool, {"run_id": "run-1"}) for tool in ("get_run", "cancel_run", "replay_run")),
    ],
    ids=lambda call: str(call[0]),
)
async def test_a_server_that_stops_takes_no_calls(
    call: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    """shutting_down, for reads as for writes."""
    app = MahavishnuApp(a_settings(tmp_path))
    async with a_client(app) as client:
        text = await refusal_of(client, *call)

    assert text.startswith("[shutting_down] ")


@pytest.mark.parametrize("state", ["succeeded", "skipped"])
async def test_a_run_that_did_not_fail_cannot_be_replayed(state: str, tmp_path: Path) -> None:
    """The mend is an extra run of its job."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app, a_client(app) as client:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(30), id="a")
        await ring(app, clock)
        runs = await settled(app, "apscheduler:a", count=2)
        (run,) = (run for run in runs if run.state.value == state)
        before = rows_of(app)
        text = await refusal_of(client, "replay_run", {"run_id": run.run_id})
        after = rows_of(app)

    assert text.startswith(f"[invalid_state] Run '{run.run_id}' is {state}")
    assert "run_job_now" in text
    assert after == before


async def test_a_run_of_a_cancelled_job_cannot_be_replayed(tmp_path: Path) -> None:
    """The job has to be made anew."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app, a_client(app) as client:
        await app.scheduler.schedule_internal_task("fail", trigger=an_interval(60), id="a")
        await ring(app, clock)
        (run,) = await settled(app, "apscheduler:a")
        await app.scheduler.cancel_job("apscheduler:a")
        text = await refusal_of(client, "replay_run", {"run_id": run.run_id})

    assert text.startswith("[invalid_state] Job 'apscheduler:a' of run")
    assert "is cancelled" in text


async def refusal_of(client: Client[Any], tool: str, arguments: dict[str, Any]) -> str:
    """Call a tool and give the text of its refusal."""
    result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.is_error, result
    (block,) = result.content
    return str(getattr(block, "text", ""))


def strange_names(text: str, *, given: dict[str, Any]) -> list[str]:
    """Give what looks like a tool, an argument or a setting in a refusal and is none.

    Args:
        text: The refusal.
        given: The arguments of the call: their names and values may be repeated.
    """
    catalog = {"wait_at", "code_sweep", "schedule_time"}
    known = {*TOOL_ORDER, *_arguments(), *_settings(Settings), *_FIELDS, *catalog}
    said = re.sub(r"[a-z]+:[a-z]+|\[[a-z_]+\]", "", text)
    called = re.findall(r"([a-z_]+)\(", said)
    dotted = re.findall(r"\b[a-z_]+\.[a-z_]+\b", said)
    snakes = re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", said)
    return [
        name for name in (*called, *dotted, *snakes) if name not in known and name not in str(given)
    ]


_FIELDS = {
    "metadata.schedule_time",
    "metadata.run_id",
    "next_cursor",
    "run_at",
    "in_seconds",
    "start_at",
    "end_at",
    "interval_seconds",
    "system.health",
    "run_once",
    "trigger.type",
}
"""Fields of triggers, metadata and answers that a mend may name."""


def _arguments() -> set[str]:
    return {
        name
        for declaration in declarations()
        for name in declaration.build().parameters.get("properties", {})
    }


def _settings(model: type[BaseModel], *, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, prefix=f"{prefix}{name}.")
