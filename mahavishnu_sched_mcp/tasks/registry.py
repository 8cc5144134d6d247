"""All tasks by name: built-ins, the operator's modules and commands, and callables."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.domain.job import ID_PATTERN
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import SettingsError, UnknownTaskError, nearest
from mahavishnu_sched_mcp.tasks.builtin import BUILTIN_TASKS
from mahavishnu_sched_mcp.tasks.command import Command, CommandSpec
from mahavishnu_sched_mcp.tasks.mark import TaskMark, mark_of, task
from mahavishnu_sched_mcp.tasks.parameters import Signature, check_params

__all__ = ["RegisteredTask", "TaskRegistry", "task"]

_PORTS = "ports"


@dataclass(frozen=True, kw_only=True)
class RegisteredTask:
    """A task and how to run it: either a function or a command.

    Attributes:
        entry: As the catalog shows it.
        function: Called with the arguments; None where it is a command.
        signature: Makes arguments of JSON values; None hands the JSON values over as they are.
        command: What to start; None where it is a function.
        takes_ports: The executor fills in the parameter `ports` (built-ins only).
        module: The operator's module that lists it; another process finds it there by name.
    """

    entry: TaskEntry
    function: Callable[..., Any] | None = None
    signature: Signature | None = None
    command: Command | None = None
    takes_ports: bool = False
    module: str | None = None

    @property
    def called(self) -> Callable[..., Any]:
        """The function of a task that has one."""
        if self.function is None:
            msg = f"task '{self.entry.name}' is a command, not a function"
            raise TypeError(msg)
        return self.function

    def arguments(self, params: JsonObject) -> dict[str, Any]:
        """Turn checked JSON values into the function's arguments.

        Args:
            params: Already checked against the entry's schema.

        Raises:
            InvalidArgumentsError: an annotation asks for more than its schema can say.
        """
        if self.signature is None:
            return dict(params)
        return self.signature.arguments(params, task=self.entry.name)


class TaskRegistry:
    """The tasks of one process.

    Building it imports the operator's modules and checks every command, so that what is wrong
    stops the start instead of a run at night.
    """

    def __init__(
        self,
        *,
        modules: Sequence[str] = (),
        commands: Mapping[str, CommandSpec] | None = None,
        builtins: Sequence[Callable[..., Any]] = BUILTIN_TASKS,
    ) -> None:
        """Collect the tasks.

        Args:
            modules: Dotted names, imported here; each `@task` in them joins.
            commands: The operator's commands by name.
            builtins: The product's own tasks.

        Raises:
            SettingsError: a module cannot be imported or has no task, a command is unsound, a
                parameter cannot be described, or a name is wrong or taken.
        """
        self._tasks: dict[str, RegisteredTask] = {}
        for function in builtins:
            self._join(_of_function(function, source="builtin"))
        for module in modules:
            for function in _marked_in(module):
                self._join(_of_function(function, source="module", module=module))
        for name, spec in (commands or {}).items():
            command = Command.of(_checked(name), spec=spec)
            self._join(RegisteredTask(entry=command.entry, command=command))

    def entries(self) -> dict[str, TaskEntry]:
        """Give all tasks as the catalog shows them, by name, in alphabetical order."""
        return {name: self._tasks[name].entry for name in sorted(self._tasks)}

    def get(self, name: str) -> RegisteredTask:
        """Find a task.

        Raises:
            UnknownTaskError: suggests the nearest name.
        """
        try:
            return self._tasks[name]
        except KeyError:
            msg = f"No task is named '{name}'."
            hint = f"{nearest(name, self._tasks)} Call list_catalog(kind='task') for all of them."
            raise UnknownTaskError(msg, hint=hint.strip(), details={"task": name}) from None

    def validate(self, name: str, params: JsonObject) -> None:
        """Check arguments before anything is accepted or run.

        Raises:
            UnknownTaskError: no task has this name.
            InvalidArgumentsError: names the parameter, its value and the mend, in one line.
        """
        found = self.get(name)
        check_params(params, schema=found.entry.params_schema, task=name)
        if found.command is not None:
            found.command.check_values(params)

    def register_callable(self, function: Callable[..., Any]) -> TaskEntry:
        """Add a Python callable of this process, async or not, marked with `@task` or not.

        The same callable again answers its entry; jobs on it cannot outlive the process.

        Raises:
            SettingsError: its name is wrong or taken, or a parameter cannot be described.
        """
        known = next((t for t in self._tasks.values() if t.function is function), None)
        return (known or self._join(_of_function(function, source="callable"))).entry

    def add(self, entry: TaskEntry, *, function: Callable[..., Any]) -> TaskEntry:
        """Add a task whose schema is already known (an HTTP request).

        Args:
            entry: As the catalog shall show it.
            function: Called with the JSON arguments by name, once they match the schema.

        Raises:
            SettingsError: its name is wrong or taken.
        """
        _checked(entry.name)
        return self._join(RegisteredTask(entry=entry, function=function)).entry

    def _join(self, found: RegisteredTask) -> RegisteredTask:
        known = self._tasks.get(found.entry.name)
        if known is None:
            self._tasks[found.entry.name] = found
            return found
        if known.function is not None and known.function is found.function:
            return known  # one function, listed by two modules
        msg = (
            f"Two tasks are named '{found.entry.name}': one from '{known.entry.source}',"
            f" one from '{found.entry.source}'."
        )
        hint = "Rename one: @task(name='...') in `tasks.modules`, or its key in `tasks.commands`."
        raise SettingsError(msg, hint=hint)


def _marked_in(module: str) -> Iterator[Callable[..., Any]]:
    """Import a module of the operator and give its tasks."""
    try:
        imported = importlib.import_module(module)
    # The operator's code may raise anything while it is imported, SystemExit too.
    except (Exception, SystemExit) as error:
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        msg = f"`tasks.modules` lists '{module}', whose import failed: {cause}."
        hint = (
            "Install it beside the server, correct the module, or remove it from `tasks.modules`."
        )
        raise SettingsError(msg, hint=hint) from error
    found = [value for value in vars(imported).values() if mark_of(value) is not None]
    if not found:
        msg = f"`tasks.modules` lists '{module}', which has no function marked with @task."
        raise SettingsError(msg, hint="Mark one, or remove the module from `tasks.modules`.")
    yield from found


def _of_function(
    function: Callable[..., Any],
    *,
    source: Literal["builtin", "module", "callable"],
    module: str | None = None,
) -> RegisteredTask:
    mark = mark_of(function) or TaskMark()
    name = _checked(mark.name or str(getattr(function, "__name__", type(function).__name__)))
    injected = frozenset({_PORTS} if source == "builtin" else ())
    signature = Signature(function, task=name, injected=injected)
    docstring = inspect.getdoc(function) or ""
    described = mark.description if mark.description is not None else docstring.partition("\n")[0]
    entry = TaskEntry(
        name=name,
        description=described,
        source=source,
        params_schema=signature.schema,
        idempotent=mark.idempotent,
        approval=mark.approval,
        timeout_seconds=mark.timeout_seconds,
    )
    return RegisteredTask(
        entry=entry,
        function=function,
        signature=signature,
        takes_ports=source == "builtin" and _PORTS in inspect.signature(function).parameters,
        module=module,
    )


def _checked(name: str) -> str:
    if re.fullmatch(ID_PATTERN, name):
        return name
    msg = f"A task is named '{name}'; names are 1 to 64 of a-z, 0-9, '.', '_' and '-'."
    hint = (
        "Name it with @task(name='...') in `tasks.modules`, or rename its key in `tasks.commands`."
    )
    raise SettingsError(msg, hint=hint)
