"""Lists as text: a line per row, then where to go on."""

from __future__ import annotations

from typing import Any

from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.server.rows import ROW_LENGTH, catalog_rows, job_rows, run_rows
from mahavishnu_sched_mcp.server.views import brief_job_view, catalog_view, run_view
from tests.unit.server.recording import PARIS_NIGHTS, a_catalog_page, a_job, a_run


def a_job_page(**changes: Any) -> dict[str, Any]:
    """Make a page with one job."""
    view = brief_job_view(a_job(**changes))
    return {"jobs": [view], "total": 1, "next_cursor": None, "engines": {}}


def test_a_job_is_one_line_with_what_matters() -> None:
    """Id, state, schedule, next fire, last outcome, and the target where the id hides it."""
    page = a_job_page(job_id="apscheduler:often")

    assert job_rows(page).splitlines() == [
        (
            "apscheduler:often | active | every 30 seconds | next 2026-12-01T12:00:30+00:00 "
            "| last succeeded | health_check"
        ),
        "total 1 jobs",
    ]


def test_a_target_that_the_id_tells_is_not_repeated() -> None:
    """Nothing is said twice."""
    (row, _) = job_rows(a_job_page(job_id="apscheduler:health_check-1")).splitlines()

    assert not row.endswith("| health_check")


def test_the_longest_job_fits_its_line_and_keeps_its_id() -> None:
    """Words and target give way, the id never does."""
    job_id = f"apscheduler:{'x' * 64}"
    (row, _) = job_rows(a_job_page(job_id=job_id, request=PARIS_NIGHTS)).splitlines()

    assert len(row) <= ROW_LENGTH
    assert row.startswith(f"{job_id} | active")
    assert "next 2026-12-02T02:00:00+01:00 | last succeeded" in row


def test_a_job_that_never_ran_and_will_not_fire_shows_dashes() -> None:
    """A hole in a line would look like a mistake."""
    page = a_job_page(request=None, last_run=None)

    assert "next - | last -" in job_rows(page)


def test_engines_and_the_next_page_close_the_list() -> None:
    """The last line says how many there are and how to go on."""
    page = a_job_page() | {
        "total": 80,
        "next_cursor": "abc",
        "engines": {"apscheduler": {"state": "ready"}, "prefect": "idle"},
    }

    assert job_rows(page).splitlines()[1:] == [
        "engines: apscheduler ready, prefect idle",
        "total 80 jobs; next page: cursor=abc",
    ]


def test_jobs_by_tag_have_no_total_of_their_own() -> None:
    """A list without pages counts its rows."""
    assert job_rows({"jobs": []}) == "total 0 jobs"


def test_a_run_is_one_line_with_its_end_and_its_reason() -> None:
    """What fired, when, how it ended and why."""
    runs = [
        a_run(),
        a_run(
            "run-2",
            state=RunState.MISSED,
            reason="no server\nran",
            fires=7,
            started_at=None,
            finished_at=None,
        ),
    ]
    page = {"runs": [run_view(run) for run in runs], "total": 2, "next_cursor": None}

    assert run_rows(page).splitlines() == [
        (
            "run-1 | apscheduler:health-check | 2026-12-01T12:00:00+00:00 | succeeded | schedule "
            "| 2000 ms"
        ),
        (
            "run-2 | apscheduler:health-check | 2026-12-01T12:00:00+00:00 | missed | schedule "
            "| 7 fires | no server ran"
        ),
        "total 2 runs",
    ]


def test_the_catalog_names_the_kind_and_the_required_params() -> None:
    """A star marks what has to be given."""
    view = catalog_view(a_catalog_page())
    view["tasks"][0]["approval"] = "required"

    assert catalog_rows(view).splitlines() == [
        "task | backup_repo | params repo* | needs approval | Bundle",
        "workflow | daily_backup | nodes backup | Back up, then verify",
        "flow | code_sweep | Sweep",
        "provider | sqlite | available | default | Embedded",
        "total 4 entries",
    ]
