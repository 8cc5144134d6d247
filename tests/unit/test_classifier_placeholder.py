"""A proposed call has a value for everything that its target needs."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from mahavishnu_sched_mcp.classifier import classify
from mahavishnu_sched_mcp.classifier.placeholder import task_placeholders, workflow_placeholders
from mahavishnu_sched_mcp.domain.catalog import Catalog, TaskEntry
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow
from tests.unit.classified import the_five


def a_task(**shapes: dict[str, Any]) -> TaskEntry:
    """Make a task that needs each of these params, and takes one more."""
    schema = {
        "type": "object",
        "properties": {**shapes, "more": {"type": "string"}},
        "required": list(shapes),
        "additionalProperties": False,
        "$defs": {
            "Side": {"enum": ["left", "right"], "type": "string"},
            "Loop": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/Loop"}},
                "required": ["next"],
            },
        },
    }
    return TaskEntry(name="echo", source="module", params_schema=schema)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ({"type": "string"}, "<t: string>"),
        ({"type": "string", "maxLength": 4}, "<t: "),
        ({"type": "string", "minLength": 13}, "<t: string>__"),
        ({"type": "string", "enum": ["a", "b"]}, "a"),
        ({"type": "string", "examples": ["/srv/repos/a"], "pattern": "^/srv"}, "/srv/repos/a"),
        ({"type": "string", "format": "date"}, "2030-01-01"),
        ({"const": 7}, 7),
        ({"type": "integer", "default": 3}, 3),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "minimum": 1.5}, 2),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "number", "exclusiveMinimum": 0}, 1),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "exclusiveMaximum": -2.5}, -3.5),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "<t: string>"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        (
            {"type": "object", "properties": {"u": {"type": "string"}}, "required": ["u"]},
            {"u": "<u: string>"},
        ),
        ({"$ref": "#/$defs/Side"}, "left"),
        ({}, "<t: any value>"),
        (True, "<t>"),
    ],
)
def test_a_placeholder_fits_its_schema(shape: Any, value: Any) -> None:
    """A default, a listed value or the least one; else a text that says what is wanted."""
    task = a_task(t=shape)

    found = task_placeholders(task)

    assert found == {"t": value}
    jsonschema.Draft202012Validator(task.params_schema).validate(found)


def test_a_schema_without_end_has_an_end() -> None:
    """A definition that needs itself is followed a few steps only."""
    assert str(task_placeholders(a_task(t={"$ref": "#/$defs/Loop"}))).count("next") < 20


def test_a_workflow_asks_for_what_no_payload_fixes() -> None:
    """One key of the context serves all its nodes; what the operator fixed is not asked for."""
    echo = a_task(t={"type": "string"}, n={"type": "integer"})
    nodes = (
        Node(id="a", task="echo", payload={"n": 1}),
        Node(id="b", task="echo", payload={"t": "fixed"}),
        Node(id="c", task="gone"),
    )
    workflow = Workflow(name="w", nodes=nodes)

    found = workflow_placeholders(workflow, Catalog(tasks={"echo": echo}))

    assert found == {"t": "<t: string>", "n": 0}


def test_several_placeholders_are_named_in_one_warning() -> None:
    """The caller learns which values are made up."""
    echo = a_task(t={"type": "string"}, n={"type": "integer"})

    answer = classify("echo", characteristics=the_five(), catalog=Catalog(tasks={"echo": echo}))

    assert answer.next_call.arguments["params"] == {"t": "<t: string>", "n": 0}
    assert (
        "'echo' needs params: 't', 'n' are placeholders in next_call,"
        " replace them before you send it."
    ) in answer.warnings
