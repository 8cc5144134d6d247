"""What clients are told about the tools: complete, truthful, small, and the same for everyone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from fastmcp import Client
from pydantic import ValidationError

from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from mahavishnu_sched_mcp.scheduler.checks import check_texts
from mahavishnu_sched_mcp.server.arguments import TRIGGER_FIELDS
from mahavishnu_sched_mcp.server.factory import INSTRUCTIONS, TOOL_ORDER, declarations
from tests.unit.server.recording import RecordingScheduler, a_server
from tests.unit.server.surface import PAGE, SNAPSHOT, as_page, as_snapshot, listed_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

BUDGET = 24_000
"""Characters of tools/list, about 6,000 tokens: the contract's limit."""

BOUNDS = {
    "catchup_window_seconds": 31_622_400,
    "timeout_seconds": 31_622_400,
    "retry_backoff_seconds": 86_400,
    "max_runs": 1_000_000,
}

READING = {
    "classify_task",
    "list_jobs",
    "get_job",
    "list_runs",
    "get_run",
    "preview_schedule",
    "list_catalog",
    "get_status",
}
REMOVING = {"cancel_job", "cancel_run"}
ONCE_PER_CALL = {"enqueue_workflow", "run_job_now", "replay_run"}

POLICIES = {
    "missed_policy": "run_once",
    "catchup_window_seconds": 86400,
    "overlap_policy": "skip",
    "max_attempts": 1,
    "retry_backoff_seconds": 5,
    "replace": False,
}
DEFAULTS = {
    "schedule_internal_task": POLICIES | {"durable": True},
    "enqueue_workflow": POLICIES,
    "schedule_deployment": {
        "paused": False,
        "retries": 0,
        "retry_delay_seconds": 10,
        "missed_policy": "run_once",
        "catchup_window_seconds": 86400,
    },
    "list_jobs": {"include_system": False, "limit": 50, "detail": "brief"},
    "run_job_now": {"wait_seconds": 0},
    "list_runs": {"limit": 50},
    "get_run": {"wait_seconds": 0, "output_bytes": 8192},
    "preview_schedule": {"count": 5},
    "list_catalog": {"limit": 50},
}
REQUIRED = {
    "schedule_internal_task": ["task", "trigger"],
    "enqueue_workflow": ["workflow_key"],
    "schedule_deployment": ["flow_name", "schedule_config"],
    "classify_task": ["task_name"],
    "get_job": ["job_id"],
    "update_job": ["job_id"],
    "cancel_job": ["job_id"],
    "run_job_now": ["job_id"],
    "get_run": ["run_id"],
    "cancel_run": ["run_id"],
    "replay_run": ["run_id"],
    "preview_schedule": ["trigger"],
}


@pytest.fixture
async def tools() -> list[dict[str, Any]]:
    """List the tools as a client of the current protocol does."""
    return await listed_tools()


def schemas_in(node: object) -> Iterator[dict[str, Any]]:
    """Walk every schema inside a schema."""
    if isinstance(node, dict):
        yield node
        for part in node.values():
            yield from schemas_in(part)


async def test_both_protocol_eras_list_the_same_tools_in_the_contracts_order() -> None:
    """The list never varies with the connection."""
    modern, legacy = await listed_tools("auto"), await listed_tools("legacy")

    assert modern == legacy
    assert [tool["name"] for tool in modern] == list(TOOL_ORDER)


async def test_the_surface_is_the_recorded_one(tools: list[dict[str, Any]]) -> None:
    """A changed contract shows in the diff; renew with `python -m tests.unit.server.surface`."""
    assert SNAPSHOT.read_text(encoding="utf-8") == as_snapshot(tools)


async def test_the_reference_page_is_up_to_date(tools: list[dict[str, Any]]) -> None:
    """docs/reference/tools.md is made from the tools; renew it as the snapshot."""
    assert PAGE.read_text(encoding="utf-8") == as_page(tools)


async def test_all_definitions_together_stay_within_the_budget(
    tools: list[dict[str, Any]],
) -> None:
    """An agent pays for every tool in every session."""
    listing = json.dumps({"tools": tools}, separators=(",", ":"), ensure_ascii=False)

    assert len(listing) < BUDGET


async def test_every_tool_says_what_it_does_to_the_world(tools: list[dict[str, Any]]) -> None:
    """All four hints stand on every tool, and they are true."""
    hints = {tool["name"]: tool["annotations"] for tool in tools}

    assert {name for name, hint in hints.items() if hint["readOnlyHint"]} == READING
    assert {name for name, hint in hints.items() if hint["destructiveHint"]} == REMOVING
    assert {name for name, hint in hints.items() if not hint["idempotentHint"]} == ONCE_PER_CALL
    assert all(isinstance(hint["openWorldHint"], bool) for hint in hints.values())
    assert all(tool["title"] for tool in tools)


async def test_defaults_and_required_arguments_are_the_contracts(
    tools: list[dict[str, Any]],
) -> None:
    """What an agent leaves out means what the contract says."""
    found = {
        tool["name"]: {
            name: schema["default"]
            for name, schema in tool["inputSchema"]["properties"].items()
            if "default" in schema
        }
        for tool in tools
    }
    required = {tool["name"]: tool["inputSchema"].get("required", []) for tool in tools}

    assert {name: defaults for name, defaults in found.items() if defaults} == DEFAULTS
    assert {name: names for name, names in required.items() if names} == REQUIRED


async def test_policies_have_the_upper_bounds_of_the_domain(tools: list[dict[str, Any]]) -> None:
    """A window or a period of centuries is a slip; the listing says what is allowed."""
    listed = tools[0]["inputSchema"]["properties"]

    assert {name: listed[name]["maximum"] for name in BOUNDS} == BOUNDS
    for name, most in BOUNDS.items():
        Policies.model_validate({name: most})
        with pytest.raises(ValidationError):
            Policies.model_validate({name: most + 1})


@pytest.mark.parametrize("length", [500, 501])
@pytest.mark.parametrize("argument", ["name", "note"])
async def test_names_and_notes_have_the_schedulers_limit(argument: str, length: int) -> None:
    """The argument check never refuses what the scheduler takes, nor the other way round."""
    text = "x" * length
    async with Client(a_server(RecordingScheduler())) as client:
        arguments = {"job_id": "apscheduler:a", argument: text}
        result = await client.call_tool("update_job", arguments, raise_on_error=False)

    try:
        check_texts({argument: text}, tags=())
    except InvalidArgumentsError:
        assert result.is_error
    else:
        assert not result.is_error


async def test_schemas_stand_alone_and_are_closed(tools: list[dict[str, Any]]) -> None:
    """No references, no titles; an argument nobody knows is no argument."""
    for tool in tools:
        for schema in schemas_in(tool["inputSchema"]):
            assert "$ref" not in schema
            assert "anyOf" not in schema
        assert tool["inputSchema"]["additionalProperties"] is False


async def test_output_schemas_name_and_type_every_field(tools: list[dict[str, Any]]) -> None:
    """Top-level fields only; the shapes inside are in docs/reference/tools.md."""
    for tool in tools:
        fields = tool["outputSchema"]["properties"]
        assert fields
        assert all(set(schema) == {"type"} for schema in fields.values())


async def test_the_first_trigger_lists_every_field(tools: list[dict[str, Any]]) -> None:
    """The other tools refer to it, so it may leave nothing out."""
    trigger = tools[0]["inputSchema"]["properties"]["trigger"]

    assert list(trigger["properties"]) == list(TriggerRequest.model_fields)
    assert trigger["description"] == TRIGGER_FIELDS


def test_descriptions_name_tools_that_exist() -> None:
    """A tool that is recommended can be called."""
    texts = [INSTRUCTIONS, *(tool.function.__doc__ or "" for tool in declarations())]
    verbs = "|".join(sorted({name.split("_")[0] for name in TOOL_ORDER}))
    mentioned = {word for text in texts for word in re.findall(rf"\b(?:{verbs})_\w+", text)}

    assert mentioned - {"schedule_config", "run_id"} <= set(TOOL_ORDER)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_example_of_every_description_is_accepted(mode: str) -> None:
    """An agent that copies the example gets an answer."""
    async with Client(a_server(RecordingScheduler()), mode=mode) as client:
        for tool in declarations():
            example = (tool.function.__doc__ or "").split("Example: ")[1].strip()
            result = await client.call_tool(tool.name, json.loads(example), raise_on_error=False)
            assert not result.is_error, (tool.name, result.content)
