"""A workflow is a DAG of tasks, and says what is wrong with it when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mahavishnu_sched_mcp.domain.workflow import Node, Workflow


def a_workflow(**depends_on: str) -> Workflow:
    """Make a workflow from `node="the nodes it depends on"`; each uses the task `work`."""
    nodes = [
        Node(id=name, task="work", depends_on=tuple(others.split()))
        for name, others in depends_on.items()
    ]
    return Workflow(name="nightly", nodes=tuple(nodes))


def test_a_sound_workflow_has_no_problems() -> None:
    """Nodes may be declared in any order."""
    workflow = a_workflow(verify="backup", backup="", report="backup verify")

    assert workflow.problems({"work"}) == []
    assert [node.id for node in workflow.ordered()] == ["backup", "verify", "report"]


def test_each_problem_names_its_node() -> None:
    """Unknown tasks and nodes are told all at once."""
    problems = a_workflow(a="nowhere", b="").problems(set())

    assert problems == [
        "node 'a' uses unknown task 'work'",
        "node 'a' depends on unknown node 'nowhere'",
        "node 'b' uses unknown task 'work'",
    ]


def test_a_node_declared_twice_is_a_problem() -> None:
    """Results are known by node id, so an id means one node."""
    node = Node(id="a", task="work")

    problems = Workflow(name="nightly", nodes=(node, node)).problems({"work"})

    assert problems == ["node 'a' is declared twice"]


@pytest.mark.parametrize(
    ("depends_on", "said"),
    [({"a": "a"}, "'a'"), ({"a": "b", "b": "a", "c": ""}, "'a', 'b'")],
)
def test_a_cycle_is_a_problem(depends_on: dict[str, str], said: str) -> None:
    """Nodes that wait for each other would never run."""
    workflow = a_workflow(**depends_on)

    assert workflow.problems({"work"}) == [f"nodes {said} wait for each other"]
    with pytest.raises(ValueError, match="wait for each other"):
        workflow.ordered()


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "x" * 65])
def test_a_node_id_is_a_plain_name(name: str) -> None:
    """Ids become names in engines, logs and environments."""
    with pytest.raises(ValidationError):
        Node(id=name, task="work")


def test_a_workflow_has_a_node() -> None:
    """Nothing to do is a mistake."""
    with pytest.raises(ValidationError):
        Workflow(name="nightly", nodes=())


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(st.data(), st.integers(1, 12))
def test_the_order_keeps_every_dependency(data: st.DataObject, size: int) -> None:
    """Each node comes after all it depends on, exactly once."""
    names = [f"n{number}" for number in range(size)]
    edges = {
        name: " ".join(data.draw(st.sets(st.sampled_from(names[:index])))) if index else ""
        for index, name in enumerate(names)
    }
    shuffled = {name: edges[name] for name in data.draw(st.permutations(names))}

    ordered = [node.id for node in a_workflow(**shuffled).ordered()]

    assert sorted(ordered) == sorted(names)
    for name, others in edges.items():
        assert all(ordered.index(other) < ordered.index(name) for other in others.split())
