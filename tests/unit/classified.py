"""What the tests of the classifier classify."""

from __future__ import annotations

from typing import Any

from mahavishnu_sched_mcp.classifier import TaskCharacteristics
from mahavishnu_sched_mcp.domain.catalog import Catalog, FlowEntry, TaskEntry
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow


def the_five(**changes: Any) -> TaskCharacteristics:
    """Make complete characteristics of a small internal task, with changes."""
    small = {
        "frequency": "high",
        "visibility": "internal",
        "complexity": "simple",
        "durability": "ephemeral",
        "infrastructure": "local",
    }
    return TaskCharacteristics(**(small | changes))


def a_catalog() -> Catalog:
    """Make a catalog with a name of each kind."""
    one = Workflow(name="backup_alone", nodes=(Node(id="backup", task="backup_repo"),))
    two = Workflow(
        name="daily_backup",
        nodes=(
            Node(id="backup", task="backup_repo"),
            Node(id="verify", task="verify_backup", depends_on=("backup",)),
        ),
    )
    params = {"type": "object", "properties": {"repo": {"type": "string"}}, "required": ["repo"]}
    tasks = [
        TaskEntry(name="health_check", source="builtin"),
        TaskEntry(name="backup_repo", source="command", params_schema=params),
        TaskEntry(name="verify_backup", source="command"),
        TaskEntry(name="greet", source="module", description="Greet a user in a report"),
        TaskEntry(name="warm_up", source="module", params_schema=params),
    ]
    flow = FlowEntry(name="code_sweep", entrypoint="my_package.flows.code_sweep")
    return Catalog(
        tasks={task.name: task for task in tasks},
        workflows={workflow.name: workflow for workflow in (one, two)},
        flows={flow.name: flow},
    )
