"""The registry: what becomes a task, and which arguments it takes."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, SettingsError, UnknownTaskError
from mahavishnu_sched_mcp.tasks.command import CommandSpec
from mahavishnu_sched_mcp.tasks.mark import mark_of, task
from mahavishnu_sched_mcp.tasks.registry import TaskRegistry


class Point(BaseModel):
    x: int
    y: int = 0


@task(name="mirror.photos", idempotent=True, approval="required", timeout_seconds=30)
async def mirror(
    folder: Annotated[str, Field(min_length=1)],
    depth: int = 3,
    mode: Literal["fast", "full"] = "fast",
    where: Point | None = None,
) -> None:
    """Mirror the photos.

    More than the catalog shows.
    """


@pytest.fixture
def a_module() -> Iterator[Callable[..., str]]:
    """Make modules that can be imported by name, and forget them after."""
    made: list[str] = []

    def make(name: str, **members: object) -> str:
        module = types.ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module
        made.append(name)
        return name

    yield make
    for name in made:
        del sys.modules[name]


def registry_of(*functions: Callable[..., Any]) -> TaskRegistry:
    """Make a registry of these callables and no built-ins."""
    registry = TaskRegistry(builtins=())
    for function in functions:
        registry.register_callable(function)
    return registry


def test_the_mark_changes_nothing_but_says_what_the_author_said() -> None:
    """`@task` leaves the function as it is; it joins the catalog by its module's name only."""

    @task
    def plain() -> int:
        return 1

    assert plain() == 1
    assert mark_of(plain) is not None
    assert mark_of(len) is None
    assert mark_of("not a function") is None


def test_an_entry_says_all_an_agent_has_to_know(a_module: Callable[..., str]) -> None:
    """The schema comes from the signature: closed, with defaults; the text from the docstring."""
    name = a_module("acme_tasks", mirror=mirror, unrelated=len)

    entry = TaskRegistry(modules=[name], builtins=()).entries()["mirror.photos"]

    assert entry.source == "module"
    assert entry.description == "Mirror the photos."
    assert (entry.idempotent, entry.approval, entry.timeout_seconds) == (True, "required", 30)
    assert entry.params_schema["additionalProperties"] is False
    assert entry.params_schema["required"] == ["folder"]
    assert entry.params_schema["properties"]["folder"] == {"type": "string", "minLength": 1}
    assert entry.params_schema["properties"]["depth"] == {"type": "integer", "default": 3}
    assert entry.params_schema["properties"]["mode"]["enum"] == ["fast", "full"]


def test_one_function_listed_by_two_modules_is_one_task(a_module: Callable[..., str]) -> None:
    """A package may re-export its tasks."""
    modules = [a_module("acme_one", mirror=mirror), a_module("acme_two", again=mirror)]

    registry = TaskRegistry(modules=modules, builtins=())

    assert list(registry.entries()) == ["mirror.photos"]


def test_two_tasks_of_one_name_stop_the_start() -> None:
    """A name means one thing: a command cannot take a built-in's name."""
    with pytest.raises(
        SettingsError, match=r"Two tasks are named 'remind': .*'builtin'.*'command'"
    ):
        TaskRegistry(commands={"remind": CommandSpec(argv=("/usr/bin/true",))})


def test_a_module_that_cannot_be_imported_stops_the_start_and_says_why() -> None:
    """The text names the module and the cause, the hint the setting."""
    with pytest.raises(SettingsError, match=r"'acme_missing'.*ModuleNotFoundError") as refusal:
        TaskRegistry(modules=["acme_missing"])

    assert "tasks.modules" in refusal.value.hint


def test_a_module_without_a_task_stops_the_start(a_module: Callable[..., str]) -> None:
    """A forgotten @task is told at the start, not when a job is refused."""
    with pytest.raises(SettingsError, match="no function marked with @task"):
        TaskRegistry(modules=[a_module("acme_empty")])


def takes_rest(*rest: int) -> None:
    """Take what no schema can name."""


def takes_more(**more: int) -> None:
    """Take what no schema can name."""


def takes_position(first: int, /) -> None:
    """Take what cannot be given by name."""


def takes_function(what: Callable[..., bytes]) -> None:
    """Take what JSON cannot carry."""


def takes_unknown(what: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821 - the point
    """Take what was never imported."""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (takes_rest, r"\*rest"),
        (takes_more, r"\*\*more"),
        (takes_position, "positional-only 'first'"),
        (takes_function, "cannot be described"),
        (takes_unknown, "Nowhere"),
    ],
)
def test_a_parameter_no_schema_can_name_is_refused(function: Callable[..., Any], said: str) -> None:
    """What an agent could not fill in is told when the task is registered."""
    with pytest.raises(SettingsError, match=said):
        registry_of(function)


def test_a_name_that_no_job_id_could_carry_is_refused() -> None:
    """Names are 1 to 64 of a-z, 0-9, '.', '_' and '-'."""
    with pytest.raises(SettingsError, match="'<lambda>'"):
        registry_of(lambda: None)


def test_registering_a_callable_twice_answers_the_same_entry() -> None:
    """The Python API may hand over the same function with each job."""
    registry = registry_of(mirror)

    assert registry.register_callable(mirror) == registry.get("mirror.photos").entry


def test_a_partial_and_a_callable_object_are_described_too() -> None:
    """What Python can call by name, the catalog can show."""

    class Counted:
        def __call__(self, times: int) -> int:
            return times

    counted = Counted()
    vars(counted).update(__name__="count")
    partial = functools.partial(takes_two, left=1)
    vars(partial).update(__name__="add_one")

    entries = registry_of(counted, partial).entries()

    assert entries["add_one"].params_schema["properties"]["right"] == {"type": "integer"}
    assert entries["count"].params_schema["properties"] == {"times": {"type": "integer"}}


def takes_two(left: int, right: int) -> int:
    """Add."""
    return left + right


def test_a_task_with_a_ready_schema_can_be_added() -> None:
    """HTTP requests bring their own schema."""
    registry = registry_of()
    entry = TaskEntry(name="ping", source="http")

    registry.add(entry, function=takes_two)

    assert registry.get("ping").arguments({"left": 1}) == {"left": 1}


def test_a_command_has_no_function() -> None:
    """Whoever takes a command for a function is told so."""
    registry = TaskRegistry(commands={"sync": CommandSpec(argv=("/usr/bin/true",))})

    with pytest.raises(TypeError, match="is a command"):
        _ = registry.get("sync").called


def test_an_unknown_task_suggests_the_nearest() -> None:
    """A near miss is named, and the tool that lists them all."""
    with pytest.raises(UnknownTaskError) as refusal:
        TaskRegistry().get("health-chek")

    assert "Did you mean 'health_check'?" in refusal.value.hint
    assert "list_catalog(kind='task')" in refusal.value.hint


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "needs the parameter 'folder'"),
        ({"folder": ""}, "Parameter 'folder' of task 'mirror.photos' is \"\". Give at least 1"),
        ({"folder": 3}, "is 3. Its type has to be string"),
        ({"folder": "a", "depht": 1}, "no parameter 'depht'. Did you mean 'depth'?"),
        ({"folder": "a", "depth": True}, "is true. Its type has to be integer"),
        ({"folder": "a", "depth": "3"}, 'is "3". Its type has to be integer'),
        ({"folder": "a", "mode": "slow"}, 'Choose one of "fast", "full"'),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(params: dict[str, Any], said: str) -> None:
    """The refusal names the parameter, its value and the mend."""
    with pytest.raises(InvalidArgumentsError) as refusal:
        registry_of(mirror).validate("mirror.photos", params)

    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_right_arguments_pass_and_become_what_the_annotations_ask_for() -> None:
    """JSON values become models and instants."""

    def plan(at: datetime, where: Point) -> None: ...

    registry = registry_of(plan)
    params = {"at": "2026-12-01T02:00:00Z", "where": {"x": 1}}

    registry.validate("plan", params)
    arguments = registry.get("plan").arguments(params)

    assert arguments["at"].year == 2026
    assert arguments["where"] == Point(x=1)


def test_what_only_the_annotation_knows_is_refused_before_the_call() -> None:
    """A schema's `format` is a hint; the annotation decides."""

    def plan(at: datetime) -> None: ...

    with pytest.raises(InvalidArgumentsError, match="'at' of task 'plan' is \"soon\""):
        registry_of(plan).get("plan").arguments({"at": "soon"})


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=4))
def test_any_arguments_are_accepted_or_refused_by_name(params: dict[str, Any]) -> None:
    """Whatever comes, the answer is acceptance or our own refusal in one line."""
    registry = registry_of(takes_two)

    try:
        registry.validate("takes_two", params)
    except InvalidArgumentsError as refusal:
        assert "'takes_two'" in refusal.message  # noqa: PT017 - both ends are legal
    else:
        assert params.keys() == {"left", "right"}
