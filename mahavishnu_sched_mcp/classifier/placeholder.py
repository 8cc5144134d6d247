"""Values that stand in the proposed call for params nobody has given yet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.binding import node_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.domain.catalog import Catalog, TaskEntry
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Workflow

_DEEPEST = 8
_FORMATS = {
    "date-time": "2030-01-01T00:00:00Z",
    "date": "2030-01-01",
    "time": "00:00:00Z",
    "duration": "PT1H",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "email": "name@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""Texts of a form that no angle brackets have; the addresses are those kept for examples."""


def task_placeholders(task: TaskEntry) -> JsonObject:
    """Give a value for each param that a task cannot do without.

    Args:
        task: As the catalog shows it.
    """
    return _required_of(task.params_schema, given={})


def workflow_placeholders(workflow: Workflow, catalog: Catalog) -> JsonObject:
    """Give a value for each key of the context that some node of a workflow cannot do without.

    Args:
        workflow: What its nodes' payloads fix is not asked for.
        catalog: Where the nodes' tasks are.
    """
    found: JsonObject = {}
    for node in workflow.nodes:
        task = catalog.tasks.get(node.task)
        if task is not None:
            given = node_arguments(node, found, task)
            found |= _required_of(task.params_schema, given=given)
    return found


def _required_of(schema: Mapping[str, Any], *, given: JsonObject) -> JsonObject:
    shapes = schema.get("properties", {})
    return {
        name: _value(name, shapes.get(name, {}), schema, depth=0)
        for name in schema.get("required", [])
        if name not in given
    }


def _value(name: str, shape: Any, root: Mapping[str, Any], *, depth: int) -> Any:
    """Make a value of the right JSON type, inside the bounds that a schema states."""
    shape = _resolved(shape, root)
    if depth > _DEEPEST or not isinstance(shape, dict):
        return f"<{name}>"
    stated = [shape[key] for key in ("default", "const") if key in shape]
    stated += [value for key in ("enum", "examples") for value in shape.get(key, [])[:1]]
    if stated:
        return stated[0]
    ways = [way for key in ("anyOf", "oneOf", "allOf") for way in shape.get(key, [])[:1]]
    if ways:
        return _value(name, ways[0], root, depth=depth + 1)
    return _typed(name, shape, root, depth=depth)


def _typed(name: str, shape: dict[str, Any], root: Mapping[str, Any], *, depth: int) -> Any:
    """Make a value by the type alone."""
    kind = shape.get("type", "any value")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        item = _value(name, shape.get("items", {}), root, depth=depth + 1)
        return [item] * shape.get("minItems", 0)
    if kind == "object":
        inner = shape.get("properties", {})
        return {
            part: _value(part, inner.get(part, {}), root, depth=depth + 1)
            for part in shape.get("required", [])
        }
    if kind in {"integer", "number"}:
        return _number(shape, is_whole=kind == "integer")
    if kind in {"boolean", "null"}:
        return {"boolean": False}.get(kind)
    return _text(f"<{name}: {kind}>", shape)


def _number(shape: dict[str, Any], *, is_whole: bool) -> Any:
    """Give the least number allowed; 0 or the most where there is no least."""
    step = shape.get("multipleOf", 1 if is_whole else 0)
    least = shape.get("minimum", shape.get("exclusiveMinimum"))
    most = shape.get("maximum", shape.get("exclusiveMaximum"))
    if least is None:
        value = 0 if most is None or most > 0 else most
        is_out = value == shape.get("exclusiveMaximum")
        value = value - (step or 1) if is_out else value
        return math.floor(value / step) * step if step else value
    value = math.ceil(least / step) * step if step else least
    if value > shape.get("exclusiveMinimum", -math.inf):
        return value
    if step:
        return value + step
    return value + 1 if most is None or value + 1 < most else (value + most) / 2


def _text(text: str, shape: dict[str, Any]) -> str:
    text = _FORMATS.get(shape.get("format", ""), text)
    return text[: shape.get("maxLength", len(text))].ljust(shape.get("minLength", 0), "_")


def _resolved(shape: Any, root: Mapping[str, Any]) -> Any:
    """Follow a reference into the schema's own definitions."""
    reference = shape.get("$ref", "") if isinstance(shape, dict) else ""
    return root.get("$defs", {}).get(reference.rpartition("/")[2], {}) if reference else shape
