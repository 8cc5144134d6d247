"""Answers as tables for people: what strangers wrote is shown as text, never obeyed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from mahavishnu_sched_mcp.server.text import clean_line, clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import RenderableType

    from mahavishnu_sched_mcp.domain.value import JsonObject

_COLOURS = {
    "active": "green",
    "ready": "green",
    "succeeded": "green",
    "running": "cyan",
    "pending": "yellow",
    "starting": "yellow",
    "paused": "yellow",
    "skipped": "yellow",
    "missed": "magenta",
    "failed": "red",
    "timed_out": "red",
    "interrupted": "red",
    "dead": "red",
    "quarantined": "red",
    "unavailable": "red",
}

_WHOLE = {"run", "job", "due", "next fire", "state", "engine"}
"""Columns that are copied from: never broken into lines."""


def show_jobs(view: JsonObject) -> Iterator[RenderableType]:
    """Show a page of jobs."""
    rows = [
        (
            job["job_id"],
            job["target"],
            job["state"],
            job["schedule_in_words"],
            job["next_run_at"],
            (job["last_run"] or {}).get("state"),
            job["note"],
        )
        for job in view["jobs"]
    ]
    yield _table(("job", "target", "state", "schedule", "next fire", "last run", "note"), rows)
    yield _total(view, "jobs")


def show_runs(view: JsonObject) -> Iterator[RenderableType]:
    """Show a page of runs."""
    rows = [
        (
            run["run_id"],
            run["job_id"],
            run["scheduled_for"],
            run["state"],
            run["cause"],
            "" if run["duration_ms"] is None else f"{run['duration_ms']} ms",
            run["fires"],
            run["reason"],
        )
        for run in view["runs"]
    ]
    yield _table(("run", "job", "due", "state", "cause", "took", "fires", "reason"), rows)
    yield _total(view, "runs")


def show_status(view: JsonObject) -> Iterator[RenderableType]:
    """Show how everything is, with what needs attention first."""
    attention = [clean_line(line) for line in view["attention"]] or ["nothing"]
    yield _table(("needs attention",), [(line,) for line in attention])
    engines = [
        (name, engine.get("state"), engine.get("detail"), engine.get("url"))
        for name, engine in view["engines"].items()
    ]
    yield _table(("engine", "state", "detail", "address"), engines)
    counts = [(name, _figures(figures)) for name, figures in view["counts"].items()]
    queues = [(f"queue {name}", _figures(figures)) for name, figures in view["queues"].items()]
    yield _table(("counted", "figures"), [*counts, *queues])
    leader = view["leader"]
    yield Text(
        f"Newest leader: process {leader['pid']} on {clean_line(str(leader['host']))},"
        f" term {leader['term']}, since {leader['since']}"
        if leader["term"]
        else "No server has led this data dir yet."
    )


def show_catalog(view: JsonObject) -> Iterator[RenderableType]:
    """Show what may be scheduled."""
    rows = [
        *_entries("task", view["tasks"]),
        *_entries("workflow", view["workflows"]),
        *_entries("flow", view["flows"]),
        *(
            (
                "provider",
                entry["name"],
                "available" if entry["available"] else "not available",
                entry["note"] or entry["description"],
            )
            for entry in view["providers"]
        ),
    ]
    yield _table(("kind", "name", "takes", "description"), rows)
    yield _total(view, "entries")


def show_preview(view: JsonObject) -> Iterator[RenderableType]:
    """Show when a trigger would fire."""
    yield Text(clean_line(view["in_words"]))
    yield _table(("fires",), [(fire,) for fire in view["fires"]])
    yield from (Text(clean_line(line), style="yellow") for line in view["warnings"])


def show_classification(view: JsonObject) -> Iterator[RenderableType]:
    """Show which engine suits, why, and the call to make."""
    yield Text(f"{view['backend']} (confidence {view['confidence']:.2f})", style="bold")
    yield _table(("because",), [(reason,) for reason in view["reasons"]])
    alternatives = [(other["backend"], other["why_not"]) for other in view["alternatives"]]
    yield _table(("instead of", "because"), alternatives)
    yield from (Text(clean_line(line), style="yellow") for line in view["warnings"])
    call = view["next_call"]
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    yield Text(clean_text(f"Next call: {call['tool']} {arguments}"))


def state_text(state: str) -> Text:
    """Write a state in its colour."""
    return Text(state, style=_COLOURS.get(state, ""))


def _entries(kind: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for entry in entries:
        schema = entry.get("params_schema", {})
        required = schema.get("required", [])
        names = [f"{name}*" if name in required else name for name in schema.get("properties", {})]
        steps = [f"node {node['id']}" for node in entry.get("nodes", [])]
        yield kind, entry["name"], ", ".join([*names, *steps]), entry["description"]


def _table(headings: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in _WHOLE)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> Text:
    text = "" if value is None else clean_line(str(value))
    return state_text(text)


def _figures(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {figure}" for name, figure in value.items()) or "none"


def _total(view: Mapping[str, Any], noun: str) -> Text:
    shown = f"{view['total']} {noun} in all"
    more = "" if view["next_cursor"] is None else "; more with a higher --limit"
    return Text(shown + more, style="dim")
