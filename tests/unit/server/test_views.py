"""Views show domain values exactly as the contract says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.run import NodeRun, Run, RunError, RunState
from mahavishnu_sched_mcp.server.views import (
    brief_run_view,
    catalog_view,
    classification_view,
    creation_view,
    instant_text,
    job_detail_view,
    job_view,
    run_view,
    schedule_in_words,
    status_view,
)
from tests.unit.server.recording import (
    NOON,
    PARIS_NIGHTS,
    a_catalog_page,
    a_classification,
    a_creation,
    a_job,
    a_run,
    default_answers,
)

JOB_FIELDS = {
    "job_id", "backend", "kind", "target", "name", "state", "trigger", "schedule_in_words",
    "timezone", "next_run_at", "created_at", "created_by", "origin", "durable", "policies",
    "counts", "last_run", "tags", "note",
}  # fmt: skip
RUN_FIELDS = {
    "run_id", "job_id", "scheduled_for", "cause", "state", "reason", "started_at", "finished_at",
    "lateness_ms", "duration_ms", "fires", "last_scheduled_for", "attempts", "worker", "output",
    "error", "replay_of",
}  # fmt: skip


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (NOON, "2026-12-01T12:00:00+00:00"),
        (NOON + timedelta(microseconds=120_900), "2026-12-01T12:00:00.120+00:00"),
    ],
)
def test_an_instant_is_rfc_3339_with_offset(instant: datetime, expected: str) -> None:
    """Whole seconds are short; parts of them show as milliseconds."""
    assert instant_text(instant) == expected


def test_a_job_has_the_contracts_fields_and_no_others() -> None:
    """A job that is not paused for a time shows nothing about it."""
    assert set(job_view(a_job())) == JOB_FIELDS


def test_the_next_fire_stands_in_the_jobs_zone() -> None:
    """Two in the morning in Paris reads as two in the morning."""
    view = job_view(a_job(request=PARIS_NIGHTS))

    assert view["next_run_at"] == "2026-12-02T02:00:00+01:00"
    assert view["timezone"] == "Europe/Paris"
    assert view["created_at"] == "2026-12-01T12:00:00+00:00"
    assert view["trigger"] == {
        "type": "cron",
        "expression": "0 2 * * *",
        "timezone": "Europe/Paris",
    }


def test_a_job_without_trigger_says_so() -> None:
    """An enqueue without trigger has no next fire."""
    job = a_job(request=None)

    assert schedule_in_words(job) == "once, when enqueued"
    assert job_view(job)["trigger"] is None
    assert job_view(job)["next_run_at"] is None
    assert job_view(job)["timezone"] == "UTC"


def test_a_paused_job_says_until_when() -> None:
    """The end of a pause stands beside the state."""
    job = a_job(state=JobState.PAUSED, paused_until=NOON, next_run_at=None, last_run=None)

    assert job_view(job)["paused_until"] == "2026-12-01T12:00:00+00:00"
    assert job_view(job)["last_run"] is None


@pytest.mark.parametrize(
    ("backend", "shown", "hidden"),
    [
        (Backend.PREFECT, "retries", "overlap_policy"),
        (Backend.APSCHEDULER, "overlap_policy", "retries"),
        (Backend.ONEIRIC, "max_attempts", "concurrency_limit"),
    ],
)
def test_only_policies_of_the_jobs_engine_are_shown(
    backend: Backend, shown: str, hidden: str
) -> None:
    """A policy that means nothing to an engine is not pretended."""
    policies = job_view(a_job(backend=backend))["policies"]

    assert shown in policies
    assert hidden not in policies
    assert policies["missed_policy"] == "run_once"


def test_an_expiry_is_an_instant_with_offset() -> None:
    """Instants inside policies look like all others."""
    view = job_view(a_job(policies=Policies(expires_at=NOON)))

    assert view["policies"]["expires_at"] == "2026-12-01T12:00:00+00:00"


def test_a_job_in_detail_adds_arguments_fires_and_runs() -> None:
    """get_job is the job itself and what is around it."""
    view = job_detail_view(default_answers()["get_job"])

    assert set(view) - JOB_FIELDS == {"params", "provider", "reference", "next_fires", "runs"}
    assert view["next_fires"] == ["2026-12-01T12:00:00+00:00"]
    assert view["runs"] == [brief_run_view(a_run())]


def test_fires_keep_the_zone_they_carry() -> None:
    """The scheduler chose the job's zone; nobody turns it back into UTC."""
    creation = a_creation(next_fires=(NOON.astimezone(ZoneInfo("Europe/Paris")),))

    assert creation_view(creation)["next_fires"] == ["2026-12-01T13:00:00+01:00"]


@pytest.mark.parametrize(("run_id", "is_shown"), [("run-1", True), (None, False)])
def test_only_an_enqueue_now_has_a_run_id(run_id: str | None, *, is_shown: bool) -> None:
    """A field that never applies is not there."""
    assert ("run_id" in creation_view(a_creation(run_id=run_id))) is is_shown


def test_a_run_has_the_contracts_fields_with_times_in_milliseconds() -> None:
    """120 ms late, two seconds long, no extras."""
    view = run_view(a_run())

    assert set(view) == RUN_FIELDS
    assert (view["lateness_ms"], view["duration_ms"]) == (120, 2000)
    assert view["last_scheduled_for"] == view["scheduled_for"] == "2026-12-01T12:00:00+00:00"
    assert view["attempts"] == [
        {
            "number": 1,
            "started_at": "2026-12-01T12:00:00.120+00:00",
            "finished_at": "2026-12-01T12:00:02.120+00:00",
            "outcome": "succeeded",
        }
    ]


def test_output_is_marked_untrusted_and_cut_to_what_was_asked_for() -> None:
    """The true size stays, whatever is shown."""
    run = a_run(output=Output.of("x" * 5000, cap=10_000))

    output = run_view(run, output_bytes=100)["output"]

    assert output["trust"] == "untrusted"
    assert output["bytes"] == 5000
    assert output["truncated"] is True
    assert len(output["text"]) < 200


def test_a_run_that_never_started_has_no_times() -> None:
    """None is not zero."""
    run = a_run(
        state=RunState.MISSED, started_at=None, finished_at=None, attempts=(), reason="gap", fires=7
    )
    view = run_view(run)

    assert view["lateness_ms"] is None
    assert view["duration_ms"] is None
    assert view["fires"] == 7


def test_a_run_shows_nodes_references_and_a_wish_to_stop_where_there_are_any() -> None:
    """What only some runs have does not burden the others."""
    run: Run = a_run(
        nodes=(NodeRun(node="backup", state=RunState.SUCCEEDED, started_at=NOON),),
        reference={"url": "http://127.0.0.1:4200/runs/1"},
        cancel_requested=True,
        error=RunError(type="ValueError", message="bad"),
    )
    view = run_view(run)

    assert view["nodes"][0]["node"] == "backup"
    assert view["nodes"][0]["finished_at"] is None
    assert view["reference"] == {"url": "http://127.0.0.1:4200/runs/1"}
    assert view["cancel_requested"] is True
    assert view["error"] == {"type": "ValueError", "message": "bad"}


def test_the_catalog_hides_what_is_the_operators() -> None:
    """No payloads of workflows, no entrypoints of flows."""
    view = catalog_view(a_catalog_page())

    assert view["workflows"][0]["nodes"] == [
        {"id": "backup", "task": "backup_repo", "depends_on": []}
    ]
    assert set(view["flows"][0]) == {"name", "description", "params_schema"}
    assert view["total"] == 4


def test_a_classification_shows_the_characteristics_that_are_known() -> None:
    """What nobody said and nobody inferred is not shown as null."""
    view = classification_view(a_classification())

    assert view["characteristics"] == {"frequency": "high"}
    assert view["next_call"]["tool"] == "schedule_internal_task"


def test_a_status_says_when_it_was_true() -> None:
    """Timestamps come from the server."""
    view = status_view(default_answers()["status"])

    assert view["now"] == datetime(2026, 12, 1, 12, tzinfo=UTC).isoformat()
    assert view["attention"] == ["1 run is dead: see list_runs(state=dead)"]


def test_a_job_that_completed_keeps_its_last_words() -> None:
    """A brief or full view never fails on a finished job."""
    job: Job = a_job(state=JobState.COMPLETED, next_run_at=None)

    assert job_view(job)["state"] == "completed"
