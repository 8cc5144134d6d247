"""Lists as text: one compact line per row, then where to go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.server.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from mahavishnu_sched_mcp.domain.value import JsonObject

ROW_LENGTH = 146
"""The most characters of a line: 200 jobs stay under 30,000."""

_WORDS_LENGTH = 40
_TARGET_LENGTH = 40
_BETWEEN = " | "


def job_rows(view: JsonObject) -> str:
    """Write a page of jobs (brief or full views), its engines and the way to the next page."""
    rows = [_job_row(job) for job in view["jobs"]]
    rows += [_engines_row(view["engines"])] if view.get("engines") else []
    return "\n".join([*rows, _tail(view, "jobs")])


def run_rows(view: JsonObject) -> str:
    """Write a page of runs and the way to the next page."""
    return "\n".join([*(_run_row(run) for run in view["runs"]), _tail(view, "runs")])


def catalog_rows(view: JsonObject) -> str:
    """Write a page of the catalog and the way to the next page."""
    rows = [_entry_row("task", entry) for entry in view["tasks"]]
    rows += [_entry_row("workflow", entry) for entry in view["workflows"]]
    rows += [_entry_row("flow", entry) for entry in view["flows"]]
    rows += [_provider_row(entry) for entry in view["providers"]]
    return "\n".join([*rows, _tail(view, "entries")])


def _job_row(job: Mapping[str, Any]) -> str:
    """Write id, target, state, schedule, next fire and last outcome.

    Where it gets long the next fire is told shorter, then the words go, then the target is cut.
    """
    last = (job["last_run"] or {}).get("state", "-")
    following = _instant(job["next_run_at"])
    target = clean_line(job["target"])
    room = _room(job["job_id"], job["state"], f"next {following}", f"last {last}")
    if room < min(len(target), _TARGET_LENGTH):
        following = _instant(job["next_run_at"], zone=UTC)
        room = _room(job["job_id"], job["state"], f"next {following}", f"last {last}")
    target = clean_line(target, length=max(1, min(room, _TARGET_LENGTH)))
    room -= len(target) + len(_BETWEEN)
    words = clean_line(job["schedule_in_words"], length=max(0, min(room, _WORDS_LENGTH)))
    return _row([job["job_id"], target, job["state"], words, f"next {following}", f"last {last}"])


def _room(*parts: str) -> int:
    """Give what a line has left beside these parts."""
    return ROW_LENGTH - sum(len(part) + len(_BETWEEN) for part in parts)


def _instant(text: str | None, *, zone: tzinfo | None = None) -> str:
    """Write an instant to the second; UTC as Z."""
    if text is None:
        return "-"
    instant = datetime.fromisoformat(text)
    if zone is not None:
        instant = instant.astimezone(zone)
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def _run_row(run: Mapping[str, Any]) -> str:
    duration = run["duration_ms"]
    parts = [run["run_id"], run["job_id"], run["scheduled_for"], run["state"], run["cause"]]
    if duration is not None:
        parts.append(f"{duration} ms")
    if run["fires"] != 1:
        parts.append(f"{run['fires']} fires")
    if run["reason"]:
        parts.append(run["reason"])
    return _row(parts)


def _entry_row(kind: str, entry: Mapping[str, Any]) -> str:
    schema = entry.get("params_schema", {})
    required = schema.get("required", [])
    names = [f"{name}*" if name in required else name for name in schema.get("properties", {})]
    parts = [kind, entry["name"]]
    if names:
        parts.append(f"params {', '.join(names)}")
    if "nodes" in entry:
        parts.append(f"nodes {', '.join(node['id'] for node in entry['nodes'])}")
    if entry.get("approval") == "required":
        parts.append("needs approval")
    return _row([*parts, entry["description"]])


def _provider_row(entry: Mapping[str, Any]) -> str:
    state = "available" if entry["available"] else "not available"
    default = ["default"] if entry["is_default"] else []
    return _row(["provider", entry["name"], state, *default, entry["note"] or entry["description"]])


def _engines_row(engines: Mapping[str, Any]) -> str:
    states = [
        f"{name} {state.get('state', '?') if isinstance(state, dict) else state}"
        for name, state in engines.items()
    ]
    return clean_line(f"engines: {', '.join(states)}", length=ROW_LENGTH)


def _tail(view: Mapping[str, Any], noun: str) -> str:
    total = view.get("total")
    line = f"total {total if total is not None else len(view[noun])} {noun}"
    cursor = view.get("next_cursor")
    return f"{line}; next page: cursor={cursor}" if cursor else line


def _row(parts: Iterable[object]) -> str:
    return clean_line(_BETWEEN.join(str(part) for part in parts if part), length=ROW_LENGTH)
