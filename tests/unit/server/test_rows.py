"""Lists as text: a line per row, then where to go on."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_sched_mcp.domain.job import LastRun
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.server.rows import ROW_LENGTH, catalog_rows, job_rows, run_rows
from mahavishnu_sched_mcp.server.views import brief_job_view, catalog_view, run_view
from tests.unit.server.recording import NOON, PARIS_NIGHTS, a_catalog_page, a_job, a_run


def a_job_page(**changes: Any) -> dict[str, Any]:
    """Make a page with one job."""
    view = brief_job_view(a_job(**changes))
    return {"jobs": [view], "total": 1, "next_cursor": None, "engines": {}}


def test_a_job_is_one_line_with_what_matters() -> None:
    """Id, target, state, schedule, next fire and last outcome."""
    page = a_job_page(job_id="apscheduler:often")

    assert job_rows(page).splitlines() == [
        (
            "apscheduler:often | health_check | active | every 30 seconds "
            "| next 2026-12-01T12:00:30Z | last succeeded"
        ),
        "total 1 jobs",
    ]


def test_the_longest_job_fits_its_line_and_keeps_its_target() -> None:
    """The next fire is told shorter and the words give way; the id stays whole."""
    job_id = f"apscheduler:{'x' * 64}"
    page = a_job_page(job_id=job_id, target="bundle_repository", request=PARIS_NIGHTS)

    (row, _) = job_rows(page).splitlines()

    assert len(row) <= ROW_LENGTH
    assert row.startswith(f"{job_id} | bundle_r")
    assert row.endswith("… | active | next 2026-12-02T01:00:00Z | last succeeded")


def test_a_next_fire_in_another_zone_is_told_in_it_without_milliseconds() -> None:
    """Where there is room nobody has to convert."""
    page = a_job_page(request=PARIS_NIGHTS)
    page["jobs"][0]["next_run_at"] = "2026-12-02T02:00:00.123+01:00"

    assert "| next 2026-12-02T02:00:00+01:00 |" in job_rows(page)


@pytest.mark.parametrize("target_length", [1, 8, 64])
@pytest.mark.parametrize("id_length", [1, 30, 50, 64])
def test_two_hundred_jobs_stay_small_and_each_names_its_target(
    id_length: int, target_length: int
) -> None:
    """The contract's limit holds for the longest ids, targets, states and words."""
    job = brief_job_view(
        a_job(
            job_id=f"apscheduler:{'x' * id_length}",
            target="t" * target_length,
            request=PARIS_NIGHTS,
            last_run=LastRun(run_id="r", state=RunState.INTERRUPTED, finished_at=NOON),
        )
    )
    job["schedule_in_words"] = "at 02:00, " * 20
    engines = {name: {"state": "unavailable"} for name in ("apscheduler", "oneiric", "prefect")}
    page = {"jobs": [job] * 200, "total": 10_000, "next_cursor": "c" * 80, "engines": engines}

    text = job_rows(page)

    assert len(text) < 30_000
    for row in text.splitlines()[:200]:
        assert row.split(" | ")[1].startswith("t")
        assert row.endswith("| last interrupted")


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
