"""How a workflow's context becomes the arguments of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.value import JsonObject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.domain.catalog import TaskEntry
    from mahavishnu_sched_mcp.domain.workflow import Node


def node_arguments(node: Node, context: Mapping[str, object], entry: TaskEntry) -> JsonObject:
    """Choose the arguments that one node hands to its task.

    A task gets those keys of the context that its schema declares, so that one context may
    serve tasks with different parameters. What the operator fixed in the node's payload wins:
    a context, which an agent may choose, never replaces it.

    Args:
        node: The step of the workflow.
        context: The params of the job, the same for every node.
        entry: The task of the catalog that the node names.
    """
    declared = entry.params_schema.get("properties", {})
    chosen = {key: value for key, value in context.items() if key in declared}
    return {**chosen, **node.payload}
