"""The tool surface as files: the snapshot and the reference page.

Renew both after a deliberate change: `python -m tests.unit.server.surface`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fastmcp import Client

from mahavishnu_sched_mcp.server.views import (
    classification_view,
    creation_view,
    job_detail_view,
    run_view,
)
from tests.unit.server.recording import (
    a_classification,
    a_creation,
    a_server,
    default_answers,
)

ROOT = Path(__file__).parents[3]
SNAPSHOT = ROOT / "tests" / "contract" / "tool_surface.json"
PAGE = ROOT / "docs" / "reference" / "tools.md"

HEAD = """\
# Tools

<!-- Made by `python -m tests.unit.server.surface`; a test fails where it differs. -->

All instants are RFC 3339 with offset. Unknown arguments are refused, an argument left out has
its default. A refusal is one line, `[code] what, how to mend it`: see [refusals](refusals.md).
Pages: `limit` 1-200, an opaque `cursor`, and `total`. List tools put one line per row into the
text and the JSON into the structured content; the others give the same JSON in both.

Marks: *reads* changes nothing; *writes* makes or starts something; *settles* may be repeated
with the same result; *removes* takes something away, repeatably; *reaches out* may start work
that acts beyond this server.
"""


async def listed_tools(mode: str = "auto") -> list[dict[str, Any]]:
    """List the tools as a client sees them on the wire."""
    async with Client(a_server(), mode=mode) as client:
        tools = await client.list_tools()
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


def as_snapshot(tools: list[dict[str, Any]]) -> str:
    """Write the surface so that a change shows as few lines of a diff."""
    return json.dumps(tools, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def as_page(tools: list[dict[str, Any]]) -> str:
    """Write the reference page."""
    return "\n".join([HEAD, *(_tool_section(tool) for tool in tools), _shapes_section()])


def _tool_section(tool: dict[str, Any]) -> str:
    properties = tool["inputSchema"]["properties"]
    required = tool["inputSchema"].get("required", [])
    rows = [
        f"| `{name}` | {_type_of(schema)} | {_default_of(name, schema, required)} "
        f"| {_meaning_of(schema)} |"
        for name, schema in properties.items()
    ]
    table = ["| argument | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    answer = ", ".join(f"`{name}`" for name in tool["outputSchema"]["properties"])
    parts = [
        f"## {tool['name']}",
        "",
        f"{tool['title']} ({_marks_of(tool['annotations'])}).",
        "",
        "```text",
        tool["description"],
        "```",
        "",
        *(table if rows else []),
        f"Named in the answer: {answer}.",
        "",
    ]
    return "\n".join(parts)


def _type_of(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    kind = schema["type"]
    kind = f"list of {schema['items']['type']}" if kind == "array" else kind
    bounds = [
        f"{sign} {schema[name]}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if name in schema
    ]
    return " ".join([kind, *bounds])


def _default_of(name: str, schema: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "required"
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _meaning_of(schema: dict[str, Any]) -> str:
    return str(schema.get("description", "")).replace("|", "\\|")


def _marks_of(annotations: dict[str, Any]) -> str:
    if annotations["readOnlyHint"]:
        mark = "reads"
    elif annotations["destructiveHint"]:
        mark = "removes"
    else:
        mark = "settles" if annotations["idempotentHint"] else "writes"
    return f"{mark}, reaches out" if annotations["openWorldHint"] else mark


def _shapes_section() -> str:
    """Show each full shape by an example that the real views wrote."""
    shapes = {
        "A job in detail (`get_job`; elsewhere without the last five fields)": job_detail_view(
            default_answers()["get_job"]
        ),
        "A run (`get_run`, `run_job_now`, `cancel_run`, `replay_run`)": run_view(
            default_answers()["get_run"]
        ),
        "A creation (the three scheduling tools)": creation_view(a_creation(run_id="run-1")),
        "A classification (`classify_task`)": classification_view(a_classification()),
    }
    notes = (
        "# Full shapes\n\n"
        "`nodes`, `reference` and `cancel_requested` stand in a run, `paused_until` in a job, only "
        "where there is something to say. `run_id` stands in a creation without trigger only. "
        "`requested` and `granted` have `queue_provider` too where the engine is oneiric. A job "
        "has its id for a name where none was given. A "
        'job in `list_jobs(detail="brief")` has `job_id`, `target`, `state`, '
        "`schedule_in_words`, `next_run_at` and `last_run.state`.\n"
    )
    blocks = [
        f"## {title}\n\n```json\n{json.dumps(view, indent=2, ensure_ascii=False)}\n```\n"
        for title, view in shapes.items()
    ]
    return "\n".join([notes, *blocks])


if __name__ == "__main__":
    current = asyncio.run(listed_tools())
    SNAPSHOT.write_text(as_snapshot(current), encoding="utf-8")
    PAGE.write_text(as_page(current), encoding="utf-8")
