"""A named DAG of tasks."""

from __future__ import annotations

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import JsonObject, Value


class NodeRetry(Value):
    """How often a node is tried again, and how long it waits between."""

    attempts: int = Field(default=1, ge=1, le=20)
    base_delay_seconds: float = Field(default=1.0, ge=0)


class Node(Value):
    """One step of a workflow.

    Attributes:
        id: Unique in its workflow.
        task: A task of the catalog.
        payload: Arguments fixed by the operator; they win over the context.
        depends_on: Ids of nodes that have to succeed first.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    task: str
    payload: JsonObject = Field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    retry: NodeRetry = NodeRetry()
    timeout_seconds: float | None = Field(default=None, gt=0)


class Workflow(Value):
    """A named DAG, declared by the operator."""

    name: str
    description: str = ""
    nodes: tuple[Node, ...] = Field(min_length=1)

    def problems(self, known_tasks: frozenset[str] | set[str]) -> list[str]:
        """Say what is wrong with the DAG, each problem naming its node; empty means sound.

        Args:
            known_tasks: The names of the tasks that exist.
        """
        ids = [node.id for node in self.nodes]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        found = [f"node '{name}' is declared twice" for name in twice]
        for node in self.nodes:
            if node.task not in known_tasks:
                found.append(f"node '{node.id}' uses unknown task '{node.task}'")
            found += [
                f"node '{node.id}' depends on unknown node '{other}'"
                for other in node.depends_on
                if other not in ids
            ]
        return found or self._cycle()

    def ordered(self) -> tuple[Node, ...]:
        """Give the nodes so that each comes after those it depends on."""
        done: dict[str, Node] = {}
        waiting = list(self.nodes)
        while waiting:
            ready = [n for n in waiting if all(d in done for d in n.depends_on)]
            if not ready:
                names = ", ".join(f"'{n.id}'" for n in waiting)
                msg = f"nodes {names} wait for each other"
                raise ValueError(msg)
            done |= {node.id: node for node in ready}
            waiting = [node for node in waiting if node.id not in done]
        return tuple(done.values())

    def _cycle(self) -> list[str]:
        try:
            self.ordered()
        except ValueError as error:
            return [str(error)]
        return []
