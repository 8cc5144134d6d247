"""How a workflow's context becomes a node's arguments."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_sched_mcp.domain.binding import node_arguments
from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.domain.workflow import Node

ENTRY = TaskEntry(
    name="backup",
    source="callable",
    params_schema={"type": "object", "properties": {"repo": {}, "out": {}}},
)


@pytest.mark.parametrize(
    ("payload", "context", "expected"),
    [
        ({}, {}, {}),
        ({}, {"repo": "a", "day": "monday"}, {"repo": "a"}),
        ({"repo": "fixed"}, {"repo": "asked", "out": "b"}, {"repo": "fixed", "out": "b"}),
        ({"level": 9}, {"level": 1}, {"level": 9}),
    ],
    ids=["nothing", "undeclared-keys-stay-out", "payload-wins", "payload-is-never-filtered"],
)
def test_a_node_gets_what_its_task_declares_and_what_is_fixed(
    payload: dict[str, Any], context: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Of the context a task sees the keys of its schema; the operator's payload wins."""
    node = Node(id="b", task="backup", payload=payload)

    assert node_arguments(node, context, ENTRY) == expected


def test_a_task_without_declared_parameters_gets_nothing_of_the_context() -> None:
    """An agent's context never reaches a task that did not ask for it."""
    entry = TaskEntry(name="ping", source="http", params_schema={})

    assert node_arguments(Node(id="p", task="ping"), {"url": "http://x"}, entry) == {}
