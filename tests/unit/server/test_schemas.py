"""Listed schemas are cut down without changing what is accepted."""

from __future__ import annotations

from mahavishnu_sched_mcp.server.schemas import compact_parameters


def test_references_null_branches_titles_and_empty_defaults_go() -> None:
    """What is left is what a caller needs."""
    schema = {
        "$defs": {"Kind": {"enum": ["a", "b"], "title": "Kind", "type": "string"}},
        "properties": {
            "kind": {
                "anyOf": [{"$ref": "#/$defs/Kind"}, {"type": "null"}],
                "default": None,
                "description": "Which",
                "title": "Kind",
            },
            "title": {"type": "string", "default": "x", "maxLength": 5},
            "tags": {"type": "array", "items": {"type": "string", "title": "T"}, "default": []},
            "params": {"type": "object", "additionalProperties": True, "default": {}},
        },
        "type": "object",
    }

    assert compact_parameters(schema) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "kind": {"enum": ["a", "b"], "type": "string", "description": "Which"},
            "title": {"type": "string", "default": "x"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "params": {"type": "object"},
        },
    }


def test_false_and_zero_are_defaults_that_say_something() -> None:
    """Only nothing goes without saying."""
    schema = {
        "properties": {
            "paused": {"type": "boolean", "default": False},
            "retries": {"type": "integer", "default": 0},
        }
    }

    properties = compact_parameters(schema)["properties"]

    assert properties["paused"]["default"] is False
    assert properties["retries"]["default"] == 0


def test_a_trigger_keeps_the_types_of_its_fields_only() -> None:
    """One sentence tells the fields; each budgeted character counts."""
    field = {"type": "number", "minimum": 0, "description": "seconds", "title": "Seconds"}
    schema = {"properties": {"trigger": {"type": "object", "properties": {"seconds": field}}}}

    trigger = compact_parameters(schema)["properties"]["trigger"]

    assert trigger == {"type": "object", "properties": {"seconds": {"type": "number"}}}
