"""Schemas as they stand in tools/list: small, flat, the same for every connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.domain.value import JsonObject

_SHAPES: Mapping[str, JsonObject] = {
    "text": {"type": "string"},
    "text?": {"type": ["string", "null"]},
    "number": {"type": "number"},
    "count": {"type": "integer"},
    "count?": {"type": ["integer", "null"]},
    "flag": {"type": "boolean"},
    "object": {"type": "object"},
    "object?": {"type": ["object", "null"]},
    "list": {"type": "array"},
}


def _shape(**fields: str) -> JsonObject:
    return {
        "type": "object",
        "properties": {name: dict(_SHAPES[shape]) for name, shape in fields.items()},
    }


def _only(shape: JsonObject, *names: str) -> JsonObject:
    return {"type": "object", "properties": {name: shape["properties"][name] for name in names}}


_TYPING = frozenset({"type", "enum", "const"})
_UNSAID = frozenset({"title", "minLength", "maxLength", "maxItems"})
"""Not listed; the generous lengths are enforced all the same."""

JOB = _shape(
    job_id="text",
    backend="text",
    kind="text",
    target="text",
    name="text",
    state="text",
    trigger="object?",
    schedule_in_words="text",
    timezone="text",
    next_run_at="text?",
    created_at="text",
    created_by="text",
    origin="text",
    durable="flag",
    policies="object",
    counts="object",
    last_run="object?",
    tags="list",
    note="text",
)
JOB_CHANGED: JsonObject = _only(
    JOB, "job_id", "state", "trigger", "schedule_in_words", "next_run_at", "policies", "note"
)
"""A job after a change: the whole job comes back, named here is what to look at (budget)."""

JOB_HELD = _only(JOB, "job_id", "state", "next_run_at", "note")
JOB_OR_JOBS: JsonObject = {
    "type": "object",
    "properties": JOB_HELD["properties"] | {"jobs": dict(_SHAPES["list"])},
}
JOB_DETAIL: JsonObject = {
    "type": "object",
    "properties": JOB["properties"]
    | _shape(params="object", provider="text?", reference="object", next_fires="list", runs="list")[
        "properties"
    ],
}
RUN = _shape(
    run_id="text",
    job_id="text",
    scheduled_for="text",
    cause="text",
    state="text",
    reason="text?",
    started_at="text?",
    finished_at="text?",
    lateness_ms="count?",
    duration_ms="count?",
    fires="count",
    last_scheduled_for="text",
    attempts="list",
    worker="text?",
    output="object",
    error="object?",
    replay_of="text?",
)
RUN_STARTED = _only(RUN, "run_id", "job_id", "state", "reason", "output", "error", "replay_of")
"""A run after a change: the whole run comes back, named here is what to look at (budget)."""

CREATION = _shape(
    job="object",
    outcome="text",
    requested="object",
    granted="object",
    next_fires="list",
    warnings="list",
)
ENQUEUED: JsonObject = {
    "type": "object",
    "properties": CREATION["properties"] | {"run_id": dict(_SHAPES["text"])},
}
CLASSIFICATION = _shape(
    backend="text",
    confidence="number",
    reasons="list",
    alternatives="list",
    characteristics="object",
    warnings="list",
    next_call="object",
)
JOB_PAGE = _shape(jobs="list", total="count", next_cursor="text?", engines="object")
RUN_PAGE = _shape(runs="list", total="count", next_cursor="text?")
PREVIEW = _shape(in_words="text", fires="list", warnings="list")
CATALOG = _shape(
    tasks="list",
    workflows="list",
    flows="list",
    providers="list",
    total="count",
    next_cursor="text?",
)
STATUS = _shape(
    now="text",
    leader="object",
    engines="object",
    queues="object",
    counts="object",
    attention="list",
)


def compact_parameters(schema: JsonObject) -> JsonObject:
    """Cut an input schema down to what a caller needs, without changing what is accepted.

    Titles say nothing the name does not; an argument that may be null or is empty by default
    is simply left out by a caller, so null branches and empty defaults go; references are
    written out. A trigger's fields are told in one sentence, so they keep only their types.
    """
    definitions = schema.get("$defs", {})
    body = {name: part for name, part in schema.items() if name != "$defs"}
    compacted = _compact(body, definitions)
    trigger = compacted["properties"].get("trigger", {})
    if "properties" in trigger:
        trigger["properties"] = {
            field: {name: part for name, part in shape.items() if name in _TYPING}
            for field, shape in trigger["properties"].items()
        }
    compacted["additionalProperties"] = False
    return compacted


def _compact(node: JsonObject, definitions: JsonObject) -> JsonObject:
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        siblings = {name: part for name, part in node.items() if name != "$ref"}
        return _compact({**target, **siblings}, definitions)
    branches = [part for part in node.get("anyOf", []) if part != {"type": "null"}]
    if len(branches) == 1:
        siblings = {name: part for name, part in node.items() if name != "anyOf"}
        return _compact({**branches[0], **siblings}, definitions)
    return {
        name: _compact_part(name, part, definitions)
        for name, part in node.items()
        if not _is_idle(name, part)
    }


def _compact_part(name: str, part: Any, definitions: JsonObject) -> Any:
    if name == "properties":
        return {field: _compact(schema, definitions) for field, schema in part.items()}
    if name == "items" and isinstance(part, dict):
        return _compact(part, definitions)
    return part


def _is_idle(name: str, part: Any) -> bool:
    """Whether a keyword tells a caller nothing."""
    if name == "default":
        return part is None or part in ([], {})
    return name in _UNSAID or (name == "additionalProperties" and part is True)
