"""The ledger's words and Prefect's: states, schedules, deployments, addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dateutil.rrule import rrulestr

from mahavishnu_sched_mcp.backends.prefect.plan import RETRIES_VARIABLE, Planner
from mahavishnu_sched_mcp.backends.prefect.records import (
    JOB_TAG,
    WORKFLOW_ENTRYPOINT,
    Addresses,
    FlowRunRecord,
    api_address,
    ui_address,
)
from mahavishnu_sched_mcp.backends.prefect.schedules import schedule_of
from mahavishnu_sched_mcp.backends.prefect.states import mirrored, state_of, vanished
from mahavishnu_sched_mcp.domain.catalog import FlowEntry
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import (
    CronTrigger,
    DateTrigger,
    IntervalTrigger,
    RecurrenceTrigger,
    Trigger,
)
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow
from mahavishnu_sched_mcp.errors import CapabilityError, UnknownFlowError

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UI = Addresses(ui="http://127.0.0.1:4200")
ETL = Workflow(name="etl", description="Move it", nodes=(Node(id="move", task="copy"),))
SWEEP = FlowEntry(name="sweep", entrypoint="house.flows.sweep", params_schema={"type": "object"})


def a_record(**changes: Any) -> FlowRunRecord:
    """Make a flow run that waits for noon."""
    values = {
        "id": "f1",
        "deployment_id": "d1",
        "state_type": "SCHEDULED",
        "state_name": "Scheduled",
        "expected_start": NOON,
    }
    return FlowRunRecord.model_validate(values | changes)


def a_job(target: str = "etl", *, trigger: Trigger | None = None, **changes: Any) -> Job:
    """Make an active deployment of a target."""
    parts = {key: changes.pop(key) for key in ("params", "policies", "options") if key in changes}
    definition = JobDefinition(
        backend=Backend.PREFECT,
        kind=JobKind.DEPLOYMENT,
        target=target,
        trigger_requested=None,
        **parts,
    )
    values: dict[str, Any] = {
        "serial": 1,
        "job_id": "prefect:nightly",
        "definition": definition,
        "name": "nightly",
        "state": JobState.ACTIVE,
        "trigger": trigger,
        "created_at": NOON,
        "created_by": "test",
    }
    return Job(**(values | changes))


def a_planner() -> Planner:
    """Make a planner that knows one workflow and one flow, as the catalog hands them over."""
    as_flow = FlowEntry(name="etl", entrypoint=WORKFLOW_ENTRYPOINT)
    return Planner(flows={"sweep": SWEEP, "etl": as_flow}, workflows={"etl": ETL})


@pytest.mark.parametrize(
    ("state_type", "state_name", "expected"),
    [
        ("SCHEDULED", "Late", RunState.PENDING),
        ("SCHEDULED", "AwaitingRetry", RunState.PENDING),
        ("PENDING", "Submitting", RunState.PENDING),
        ("RUNNING", "Running", RunState.RUNNING),
        ("CANCELLING", "Cancelling", RunState.RUNNING),
        ("PAUSED", "Paused", RunState.RUNNING),
        ("COMPLETED", "Completed", RunState.SUCCEEDED),
        ("FAILED", "Failed", RunState.FAILED),
        ("FAILED", "TimedOut", RunState.TIMED_OUT),
        ("CRASHED", "Crashed", RunState.INTERRUPTED),
        ("CANCELLED", "Cancelled", RunState.CANCELLED),
        ("CANCELLED", "Skipped", RunState.SKIPPED),
    ],
)
def test_each_state_of_prefect_has_one_in_the_ledger(
    state_type: str, state_name: str, expected: RunState
) -> None:
    """A flow run is told in the words of every other run."""
    assert state_of(state_type, state_name) is expected


def test_a_skipped_flow_run_has_no_outcome() -> None:
    """A fire that was swept never started: it is skipped, neither failed nor cancelled."""
    record = a_record(state_type="CANCELLED", state_name="Skipped", finished_at=NOON)

    run = mirrored(record, addresses=UI, cap=100)

    assert (run.is_skipped, run.outcome, run.scheduled_for) == (True, None, NOON)


@pytest.mark.parametrize("has_started", [False, True])
def test_a_deleted_flow_run_is_skipped_or_interrupted(*, has_started: bool) -> None:
    """A run deleted in the UI leaves no run in the ledger waiting for ever."""
    run = vanished(a_record(started_at=NOON if has_started else None), addresses=UI)

    assert run.is_skipped is not has_started
    assert (run.outcome is None) is not has_started


def test_an_interval_keeps_its_anchor() -> None:
    """Fire k is at anchor + k x period on the server too, whatever the clocks of a zone do."""
    trigger = IntervalTrigger(period=MINUTE * 90, anchor=NOON, timezone="Europe/Paris")

    schedule = schedule_of(trigger, now=NOON)

    assert schedule == {
        "interval": 5400.0,
        "anchor_date": "2026-11-20T12:00:00+00:00",
        "timezone": "UTC",
    }


@pytest.mark.parametrize(
    "period", [timedelta(days=2), timedelta(hours=3), MINUTE, timedelta(seconds=7)]
)
def test_an_interval_that_starts_later_does_not_fire_before(period: timedelta) -> None:
    """Prefect would count an anchored interval back from its start; a rule does not."""
    start = NOON + timedelta(days=30)

    schedule = schedule_of(IntervalTrigger(period=period, anchor=start), now=NOON)

    fires = rrulestr(schedule["rrule"])
    first = fires.after(NOON.replace(tzinfo=None), inc=True)
    assert first == start.replace(tzinfo=None)
    assert fires.after(first) == (start + period).replace(tzinfo=None)


def test_cron_and_recurrence_keep_their_zone() -> None:
    """Wall times are those of the job's zone; the day fields are OR-ed as Debian does."""
    cron = CronTrigger(expression="0 9 13 * 5", timezone="Europe/Paris")
    rule = RecurrenceTrigger(rule="FREQ=DAILY;BYHOUR=9", timezone="Europe/Paris", anchor=NOON)

    assert schedule_of(cron, now=NOON) == {
        "cron": "0 9 13 * 5",
        "timezone": "Europe/Paris",
        "day_or": True,
    }
    assert schedule_of(rule, now=NOON) == {
        "rrule": "DTSTART:20261120T130000\nRRULE:FREQ=DAILY;BYHOUR=9",
        "timezone": "Europe/Paris",
    }


@pytest.mark.parametrize("expression", ["0 9 */2 * 5", "0 9 13 * *", "0 9 * * 5", "0 9 13 * */2"])
def test_a_star_in_one_day_field_leaves_the_choice_to_the_other(expression: str) -> None:
    """Debian's cron asks for both days where either field begins with a star."""
    cron = CronTrigger(expression=expression, timezone="UTC")

    assert schedule_of(cron, now=NOON)["day_or"] is False


@pytest.mark.parametrize(
    "trigger",
    [
        DateTrigger(run_at=NOON),
        IntervalTrigger(period=MINUTE, anchor=NOON, end_at=NOON + MINUTE),
        IntervalTrigger(period=MINUTE, anchor=NOON, jitter=timedelta(seconds=5)),
        IntervalTrigger(period=timedelta(seconds=1.5), anchor=NOON + MINUTE),
    ],
)
def test_what_prefect_cannot_fire_is_refused(trigger: Trigger) -> None:
    """Nothing is weakened silently: a schedule Prefect lacks is an error."""
    with pytest.raises(CapabilityError):
        schedule_of(trigger, now=NOON)


def test_a_workflow_is_deployed_on_the_generic_flow() -> None:
    """An agent deploys by name and never ships code; the parameters are closed."""
    job = a_job(params={"day": "monday"}, policies=Policies(retries=2, concurrency_limit=1))

    plan = a_planner().plan(job, work_pool="ours", now=NOON)

    assert (plan.flow_name, plan.name, plan.entrypoint) == ("etl", "nightly", WORKFLOW_ENTRYPOINT)
    assert plan.parameters == {"workflow": "etl", "context": {"day": "monday"}}
    assert plan.parameter_schema["properties"]["workflow"]["enum"] == ["etl"]
    assert plan.parameter_schema["additionalProperties"] is False
    assert (plan.is_paused, plan.concurrency_limit, plan.work_pool) == (False, 1, "ours")
    assert plan.environment[RETRIES_VARIABLE] == "2"
    assert f"{JOB_TAG}prefect:nightly" in plan.tags


def test_an_operators_flow_keeps_its_own_parameters() -> None:
    """A flow is deployed under its dotted path, in the pool the job asks for."""
    job = a_job("sweep", params={"deep": True}, options={"work_pool_name": "big"})

    plan = a_planner().plan(job, work_pool="ours", now=NOON)

    assert (plan.entrypoint, plan.work_pool) == ("house.flows.sweep", "big")
    assert plan.parameters == {"deep": True}
    assert plan.parameter_schema == {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    ("state", "is_paused"),
    [
        (JobState.ACTIVE, False),
        (JobState.PENDING, False),
        (JobState.PAUSED, True),
        (JobState.QUARANTINED, True),
        (JobState.PENDING_APPROVAL, True),
    ],
)
def test_only_jobs_that_may_fire_are_deployed_unpaused(state: JobState, *, is_paused: bool) -> None:
    """The deployment is paused exactly while the job does not fire."""
    plan = a_planner().plan(a_job(state=state), work_pool="ours", now=NOON)

    assert plan.is_paused is is_paused


def test_an_unknown_target_is_refused_with_the_nearest_name() -> None:
    """A near miss is suggested."""
    with pytest.raises(UnknownFlowError, match="Did you mean 'sweep'"):
        a_planner().plan(a_job("sweeep"), work_pool="ours", now=NOON)


@pytest.mark.parametrize(
    ("server_url", "api", "ui"),
    [
        ("http://127.0.0.1:4200", "http://127.0.0.1:4200/api", "http://127.0.0.1:4200"),
        ("http://house:4200/api/", "http://house:4200/api", "http://house:4200"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://app.prefect.cloud/account/a/workspace/w",
        ),
    ],
)
def test_addresses_are_found_with_and_without_api(server_url: str, api: str, ui: str) -> None:
    """The operator may write the server's address either way; the UI's follows from it."""
    assert (api_address(server_url), ui_address(api)) == (api, ui)
