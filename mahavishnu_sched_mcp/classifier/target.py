"""A task's name and its place in the catalog."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.catalog import Catalog, FlowEntry, TaskEntry
from mahavishnu_sched_mcp.domain.value import Value
from mahavishnu_sched_mcp.domain.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterable


class Target(Value):
    """What a name stands for.

    Attributes:
        name: As the caller wrote it.
        task: The catalog's task of this name.
        workflow: The catalog's workflow of this name.
        flow: The catalog's flow of this name.
        carriers: Workflows that consist of this task alone.
    """

    name: str
    task: TaskEntry | None = None
    workflow: Workflow | None = None
    flow: FlowEntry | None = None
    carriers: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the catalog has the name."""
        return bool(self.task or self.workflow or self.flow)

    @property
    def description(self) -> str:
        """What the operator wrote about it."""
        entries = (self.task, self.workflow, self.flow)
        return " ".join(entry.description for entry in entries if entry and entry.description)


def look_up(name: str, catalog: Catalog) -> Target:
    """Find a name in the catalog, whatever its case and punctuation.

    Args:
        name: As the caller wrote it.
        catalog: All that may be scheduled.
    """
    task = catalog.tasks.get(_spelling_in(catalog.tasks, name))
    carriers = [
        workflow.name
        for workflow in catalog.workflows.values()
        if task and [node.task for node in workflow.nodes] == [task.name]
    ]
    return Target(
        name=name,
        task=task,
        workflow=catalog.workflows.get(_spelling_in(catalog.workflows, name)),
        flow=catalog.flows.get(_spelling_in(catalog.flows, name)),
        carriers=tuple(sorted(carriers)),
    )


def _spelling_in(names: Iterable[str], wanted: str) -> str:
    """Give the catalog's own spelling of a name; the name itself where it has none."""
    if wanted in names:
        return wanted
    letters = _letters(wanted)
    return min((name for name in names if letters and _letters(name) == letters), default=wanted)


def _letters(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())
