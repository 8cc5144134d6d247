"""Every failure is one line that says what was refused and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest
from fastmcp import Client

from mahavishnu_sched_mcp import errors
from mahavishnu_sched_mcp.errors import JobNotFoundError, SchedulerError
from mahavishnu_sched_mcp.server.errors import INTERNAL_TEXT
from tests.unit.server.recording import RecordingScheduler, a_server
from tests.unit.server.surface import ROOT

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])

REFUSED = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, SchedulerError)
        and kind not in {SchedulerError, errors.InternalError}
    ),
    key=lambda kind: kind.code,
)

WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "list_jobs",
        {"limt": 3},
        (
            "[invalid_arguments] Argument 'limt' is not known. Did you mean 'limit'? "
            "Correct it and call list_jobs again."
        ),
    ),
    (
        "get_job",
        {"job_id": "a", "zzz": 1},
        (
            "[invalid_arguments] Argument 'zzz' is not known. Known: job_id. "
            "Correct it and call get_job again."
        ),
    ),
    (
        "list_jobs",
        {"limit": 500},
        (
            "[invalid_arguments] Argument 'limit' is 500; input should be less than or "
            "equal to 200. "
            "Correct it and call list_jobs again."
        ),
    ),
    (
        "list_jobs",
        {"limit": "5"},
        (
            "[invalid_arguments] Argument 'limit' is \"5\"; input should be a valid integer. "
            "Correct it and call list_jobs again."
        ),
    ),
    (
        "list_jobs",
        {"backend": "prefct"},
        (
            "[invalid_arguments] Argument 'backend' is \"prefct\"; allowed: 'apscheduler', "
            "'oneiric' "
            "or 'prefect'. Did you mean 'prefect'? Correct it and call list_jobs again."
        ),
    ),
    (
        "get_job",
        {},
        "[invalid_arguments] Argument 'job_id' is missing. Correct it and call get_job again.",
    ),
    (
        "schedule_internal_task",
        {"task": "a", "trigger": {"type": "intervall"}},
        (
            "[invalid_trigger] Argument 'trigger.type' is \"intervall\"; allowed: "
            "'interval', 'cron' "
            "or 'date'. Did you mean 'interval'? Try it with preview_schedule before committing."
        ),
    ),
    (
        "preview_schedule",
        {"trigger": {"type": "interval", "second": 5}},
        (
            "[invalid_trigger] Argument 'trigger.second' is not known. Did you mean 'seconds'? "
            "Try it with preview_schedule before committing."
        ),
    ),
    (
        "schedule_deployment",
        {"flow_name": "a", "schedule_config": "0 2 * * *"},
        (
            "[invalid_trigger] Argument 'schedule_config' is \"0 2 * * *\"; input should be an "
            "object. Give one of cron, interval_seconds and rrule, such as "
            '"schedule_config": {"cron": "0 2 * * 1-5", "timezone": "UTC"}.'
        ),
    ),
    (
        "schedule_deployment",
        {"flow_name": "a"},
        (
            "[invalid_trigger] Argument 'schedule_config' is missing. "
            "Give one of cron, interval_seconds and rrule, such as "
            '"schedule_config": {"cron": "0 2 * * 1-5", "timezone": "UTC"}.'
        ),
    ),
    (
        "enqueue_workflow",
        {"workflow_key": "a", "id": "My Nightly.Job!"},
        (
            "[invalid_arguments] Argument 'id' is \"My Nightly.Job!\"; 1 to 64 of a-z, 0-9, '.', "
            "'_' and '-' are allowed, a letter or digit first. Use 'my-nightly.job'. "
            "Correct it and call enqueue_workflow again."
        ),
    ),
    (
        "schedule_deployment",
        {"flow_name": "a", "schedule_config": {"cron": "0 2 * * *"}, "name": "???"},
        (
            "[invalid_arguments] Argument 'name' is \"???\"; 1 to 64 of a-z, 0-9, '.', "
            "'_' and '-' are allowed, a letter or digit first. Use 'my-job'. "
            "Correct it and call schedule_deployment again."
        ),
    ),
    (
        "update_job",
        {"job_id": "a", "note": "n" * 501},
        (
            f"[invalid_arguments] Argument 'note' is \"{'n' * 58}…; string should have at most "
            "500 characters. Correct it and call update_job again."
        ),
    ),
    (
        "enqueue_workflow",
        {"workflow_key": "a", "max_attempts": 0},
        (
            "[invalid_arguments] Argument 'max_attempts' is 0; input should be greater than "
            "or equal "
            "to 1. Correct it and call enqueue_workflow again."
        ),
    ),
    (
        "update_job",
        {"job_id": "a", "expires_at": "tomorrow"},
        (
            "[invalid_arguments] Argument 'expires_at' is \"tomorrow\"; input should be a valid "
            "datetime or date, input is too short. Correct it and call update_job again."
        ),
    ),
    (
        "pause_job",
        {},
        (
            "[invalid_arguments] Neither 'job_id' nor 'tag' is given. "
            "Call pause_job with one of them; see list_jobs."
        ),
    ),
    (
        "resume_job",
        {"job_id": "a", "tag": "b"},
        (
            "[invalid_arguments] Argument 'job_id' is 'a' and 'tag' is 'b': only one may be given. "
            "Call resume_job with one of them; see list_jobs."
        ),
    ),
    (
        "list_job",
        {},
        "[invalid_arguments] No tool is named 'list_job'. Did you mean 'list_jobs'?",
    ),
]


async def refusal_of(
    tool: str,
    arguments: dict[str, Any],
    *,
    mode: str = "auto",
    scheduler: RecordingScheduler | None = None,
) -> str:
    """Call a tool and give the text of its refusal."""
    async with Client(a_server(scheduler), mode=mode) as client:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.is_error
    (block,) = result.content
    return str(getattr(block, "text", ""))


@MODES
@pytest.mark.parametrize(("tool", "arguments", "expected"), WRONG)
async def test_a_wrong_call_is_refused_with_the_value_and_the_mend(
    tool: str, arguments: dict[str, Any], expected: str, mode: str
) -> None:
    """The argument, what it was, what is allowed, the likely meaning, and what to do."""
    assert await refusal_of(tool, arguments, mode=mode) == expected


@MODES
@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: str(kind.code))
async def test_each_of_our_errors_is_one_line_with_its_code(
    kind: type[SchedulerError], mode: str
) -> None:
    """Code, message and mend, whatever line breaks were in them."""
    scheduler = RecordingScheduler()
    scheduler.answers["status"] = kind("Refused,\nbecause.", hint="Call get_status.")

    text = await refusal_of("get_status", {}, mode=mode, scheduler=scheduler)

    assert text == f"[{kind.code}] Refused, because. Call get_status."


@MODES
@pytest.mark.parametrize(
    "error",
    [RuntimeError("password=hunter2"), TimeoutError("/srv/secret"), errors.InternalError("at x")],
)
async def test_a_defect_says_nothing_but_that_it_is_one(error: Exception, mode: str) -> None:
    """No traceback, path or secret reaches a client; the log has them."""
    scheduler = RecordingScheduler()
    scheduler.answers["status"] = error

    assert await refusal_of("get_status", {}, mode=mode, scheduler=scheduler) == INTERNAL_TEXT


async def test_the_log_has_what_the_client_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The operator finds the defect with its traceback, and one line per call."""
    scheduler = RecordingScheduler()
    scheduler.answers["status"] = RuntimeError("the very cause")

    await refusal_of("get_status", {}, scheduler=scheduler)

    logged = "".join(capsys.readouterr())
    assert "the very cause" in logged
    assert "tool_called" in logged


async def test_a_refusal_shows_no_control_characters() -> None:
    """What a stranger named can neither colour a terminal nor add a line."""
    scheduler = RecordingScheduler()
    name = "\x1b[31ma\u202eb\r\n[ok] done"
    scheduler.answers["get_job"] = JobNotFoundError(f"No job '{name}'.", hint="See list_jobs.")

    text = await refusal_of("get_job", {"job_id": name}, scheduler=scheduler)

    assert text == "[job_not_found] No job 'ab [ok] done'. See list_jobs."


async def test_a_long_value_is_shown_short() -> None:
    """The refusal is about the mistake, not a copy of it."""
    text = await refusal_of("list_jobs", {"limit": "9" * 5000})

    assert len(text) < 300


async def test_many_mistakes_are_counted_not_listed() -> None:
    """Three are shown; the rest would only push them out of sight."""
    text = await refusal_of("get_status", {f"wrong_{number}": 1 for number in range(6)})

    assert text.count("is not known") == 3
    assert "3 more after these." in text


def test_the_page_of_refusals_has_every_code() -> None:
    """docs/reference/refusals.md tells what each code means."""
    page = (ROOT / "docs" / "reference" / "refusals.md").read_text(encoding="utf-8")

    tool_codes = {kind.code for kind in REFUSED} - {"invalid_settings"} | {"internal_error"}
    assert {
        line.split("`")[1] for line in page.splitlines() if line.startswith("| `")
    } == tool_codes
