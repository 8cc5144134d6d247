"""From the choice of an engine to the call an agent makes next."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_sched_mcp.classifier import TaskCharacteristics, classify
from mahavishnu_sched_mcp.domain.engine import Backend
from tests.unit.classified import a_catalog, the_five


@pytest.mark.parametrize(
    ("wording", "cron"),
    [
        ("nightly", "0 2 * * *"),
        ("every day", "0 2 * * *"),
        ("every week", "0 2 * * 1"),
        ("monthly", "0 2 1 * *"),
    ],
)
def test_a_time_of_the_calendar_becomes_a_cron(wording: str, cron: str) -> None:
    """'Nightly' is no distance of 86,400 s but a time of the night."""
    answer = classify("verify_backup", description=f"check {wording}", catalog=a_catalog())

    assert answer.next_call.arguments["trigger"] == {"type": "cron", "expression": cron}


def test_daily_or_weekly_leaves_the_frequency_to_decide() -> None:
    """Two times of the calendar are none."""
    answer = classify("verify_backup", description="daily and weekly check", catalog=a_catalog())

    assert answer.next_call.arguments["trigger"] == {"type": "interval", "seconds": 3600}


@pytest.mark.parametrize(
    ("name", "tool", "arguments"),
    [
        (
            "health_check",
            "schedule_internal_task",
            {"task": "health_check", "trigger": {"type": "interval", "seconds": 30}},
        ),
        (
            "Backup Alone",
            "enqueue_workflow",
            {
                "workflow_key": "backup_alone",
                "trigger": {"type": "interval", "seconds": 30},
                "context": {"repo": "<repo: string>"},
            },
        ),
        (
            "backup_repo",
            "enqueue_workflow",
            {
                "workflow_key": "backup_alone",
                "trigger": {"type": "interval", "seconds": 30},
                "context": {"repo": "<repo: string>"},
            },
        ),
        (
            "daily-backup",
            "schedule_deployment",
            {
                "flow_name": "daily_backup",
                "schedule_config": {"interval_seconds": 30},
                "parameters": {"repo": "<repo: string>"},
            },
        ),
        (
            "code_sweep",
            "schedule_deployment",
            {"flow_name": "code_sweep", "schedule_config": {"interval_seconds": 30}},
        ),
        ("no_such", "list_catalog", {"query": "no_such"}),
        ("nightlyRepoBackup", "list_catalog", {"query": "backup"}),
        (" ", "list_catalog", {}),
    ],
)
def test_the_next_call_is_ready_to_send(name: str, tool: str, arguments: dict[str, Any]) -> None:
    """It uses the catalog's own spelling; a name the catalog lacks leads to the catalog."""
    answer = classify(name, interval_seconds=30, catalog=a_catalog())

    assert (answer.next_call.tool, answer.next_call.arguments) == (tool, arguments)


def test_a_rare_deployment_is_proposed_for_the_night() -> None:
    """Without a period, rare work gets a cron at two o'clock."""
    rare = TaskCharacteristics(frequency="low")

    answer = classify("code_sweep", characteristics=rare, catalog=a_catalog())

    assert answer.next_call.arguments["schedule_config"] == {"cron": "0 2 * * *"}


@pytest.mark.parametrize(
    ("name", "changes", "kind", "warning"),
    [
        ("verify_backup", {"complexity": "dag"}, "workflow", "schedule_deployment takes none"),
        ("verify_backup", {"durability": "persistent"}, "workflow", "enqueue_workflow takes none"),
        ("daily_backup", {}, "task", "use enqueue_workflow for it"),
        ("code_sweep", {}, "task", "use schedule_deployment for it"),
        ("code_sweep", {"durability": "persistent"}, "workflow", "use schedule_deployment"),
    ],
)
def test_a_name_the_engine_cannot_take_is_said_so(
    name: str, changes: dict[str, str], kind: str, warning: str
) -> None:
    """The choice stands; the call shows what the engine can take, a warning says the rest."""
    answer = classify(name, characteristics=the_five(**changes), catalog=a_catalog())

    assert answer.next_call.tool == "list_catalog"
    assert answer.next_call.arguments == {"kind": kind}
    assert any(warning in text for text in answer.warnings), answer.warnings


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("code_sweep", {"interval_seconds": 30}, "A period of 30 s is short for prefect"),
        ("backup_alone", {"interval_seconds": 59}, "A period of 59 s is short for oneiric"),
        ("health_check", {"expected_duration_seconds": 301}, "A run of 301 s is long"),
        (
            "warm_up",
            {},
            "'warm_up' needs params: 'repo' is a placeholder in next_call, replace it before",
        ),
        ("backup_repo", {}, "'backup_alone' needs context: 'repo' is a placeholder in next_call"),
        ("helth_check", {}, "Did you mean 'health_check'?"),
        ("backup_repo", {}, "'backup_alone' is the workflow that consists of it"),
    ],
)
def test_what_to_know_before_the_call_is_a_warning(
    name: str, given: dict[str, float], said: str
) -> None:
    """Short periods, long runs, needed params and unknown names are said beforehand."""
    answer = classify(name, characteristics=TaskCharacteristics(**given), catalog=a_catalog())

    assert any(said in warning for warning in answer.warnings), answer.warnings


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("code_sweep", {"interval_seconds": 60}),
        ("code_sweep", {"expected_duration_seconds": 3600}),
        ("health_check", {"interval_seconds": 1}),
        ("health_check", {"expected_duration_seconds": 300}),
    ],
)
def test_what_suits_its_engine_has_no_warning(name: str, given: dict[str, float]) -> None:
    """A minute on a queue and five minutes in this server are fine."""
    answer = classify(name, characteristics=TaskCharacteristics(**given), catalog=a_catalog())

    assert answer.warnings == ()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("health_check", "schedulers.apscheduler_enabled"),
        ("backup", "schedulers.oneiric_queue_enabled"),
        ("code_sweep", "schedulers.prefect_deployments_enabled"),
    ],
)
def test_an_engine_that_is_off_stays_the_choice(name: str, setting: str) -> None:
    """The choice does not change silently: a warning names the setting."""
    usual = classify(name, catalog=a_catalog(), enabled=frozenset(Backend))
    off = classify(name, catalog=a_catalog(), enabled=frozenset())

    assert off.backend == usual.backend
    assert not any(setting in warning for warning in usual.warnings)
    assert any(setting in warning for warning in off.warnings)
