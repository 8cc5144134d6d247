"""Allow-listed commands: what the operator declares, checked, and the argument vector it makes.

No shell is involved anywhere. A parameter's value lands inside one element of the argument
vector and can never become two elements, an option, or another program.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.domain.value import JsonObject, Value
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, SettingsError, nearest
from mahavishnu_sched_mcp.tasks.argument import as_text, check_value
from mahavishnu_sched_mcp.tasks.context import OWN_PREFIX, RunContext, run_marks

MINIMAL_PATH = "/usr/local/bin:/usr/bin:/bin"
NEUTRAL_FOLDER = "/"
"""Where a command starts that names no `cwd`: never the folder the server was started in, which
for a stdio server is a stranger's repository."""

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_SCALARS = frozenset({"string", "integer", "number", "boolean"})


class CommandSpec(Value):
    """A command as the operator writes it under `tasks.commands`.

    Attributes:
        argv: Absolute executable and its arguments; `{name}` stands for a parameter's value,
            `{{name}}` for the text `{name}` itself.
        params: JSON Schema of each parameter; a `default` makes it optional.
        env: Added to the minimal environment.
        cwd: Absolute folder to start in; None is the root folder.
        timeout_seconds: Its own limit; None leaves `limits.max_runtime_seconds`.
        idempotent: Running it twice does no harm.
        approval: `required` makes jobs on it wait for the operator.
    """

    description: str = ""
    argv: tuple[str, ...] = Field(min_length=1)
    params: dict[str, JsonObject] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    timeout_seconds: float | None = Field(default=None, gt=0)
    idempotent: bool = False
    approval: Literal["none", "required"] = "none"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A checked command, ready to be given arguments."""

    name: str
    spec: CommandSpec

    @classmethod
    def of(cls, name: str, *, spec: CommandSpec) -> Command:
        """Check a command before anyone can schedule it.

        Args:
            name: Its key under `tasks.commands`.
            spec: What the operator wrote.

        Raises:
            SettingsError: names the key and the mend.
        """
        _check_placeholders(name, spec)
        resolve_executable(spec.argv[0], name=name)
        _check_schemas(name, spec)
        _check_surroundings(name, spec)
        return cls(name=name, spec=spec)

    @property
    def entry(self) -> TaskEntry:
        """Show it as the catalog does: without its argument vector."""
        return TaskEntry(
            name=self.name,
            description=self.spec.description,
            source="command",
            params_schema={
                "type": "object",
                "properties": self.spec.params,
                "required": [
                    key for key, shape in self.spec.params.items() if "default" not in shape
                ],
                "additionalProperties": False,
            },
            idempotent=self.spec.idempotent,
            approval=self.spec.approval,
            timeout_seconds=self.spec.timeout_seconds,
        )

    def check_values(self, params: JsonObject) -> None:
        """Refuse values that no argument vector should carry.

        Args:
            params: Already checked against the schema.

        Raises:
            InvalidArgumentsError: a control character, too long, or a leading dash that the
                schema does not admit.
        """
        for key, value in params.items():
            check_value(value, shape=self.spec.params[key], task=self.name, key=key)

    def argv(self, params: JsonObject) -> list[str]:
        """Make the argument vector; as many elements as the operator wrote.

        Args:
            params: Already checked against the schema and by `check_values`.
        """
        defaults = {
            key: shape["default"] for key, shape in self.spec.params.items() if "default" in shape
        }
        texts = {key: as_text(value) for key, value in {**defaults, **params}.items()}

        def fill(found: re.Match[str]) -> str:
            literal, key = found.groups()
            return f"{{{literal}}}" if literal else texts[key]

        return [_PLACEHOLDER.sub(fill, element) for element in self.spec.argv]

    def environment(self, context: RunContext) -> dict[str, str]:
        """Make the whole environment: minimal, the operator's, and the run's own names.

        Args:
            context: The run it is started for.
        """
        return {
            "PATH": MINIMAL_PATH,
            "LANG": "C.UTF-8",
            **self.spec.env,
            **run_marks(context),
        }


def resolve_executable(path: str, *, name: str) -> Path:
    """Find the real file behind an executable, and refuse one that others could replace.

    Args:
        path: As the operator wrote it.
        name: The command's name, for the text of the refusal.

    Raises:
        SettingsError: not absolute, missing, not executable, or writable by group or others.
    """
    key = f"tasks.commands.{name}.argv"
    if not Path(path).is_absolute():
        msg = f"{key} starts with '{path}', which is not an absolute path."
        raise SettingsError(
            msg, hint=f"Write the full path in {key} (`command -v {path}` says it)."
        )
    try:
        real = Path(path).resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError) as error:
        msg = f"{key} starts with '{path}', which does not exist."
        raise SettingsError(msg, hint=f"Install the program or correct {key}.") from error
    if not stat.S_ISREG(mode) or not os.access(real, os.X_OK):
        msg = f"{key} starts with '{path}', which is not an executable file."
        raise SettingsError(msg, hint=f"Make it executable (`chmod u+x`) or correct {key}.")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        msg = f"{key} starts with '{path}', which others than its owner may write to."
        raise SettingsError(msg, hint=f"Run `chmod go-w {real}`, or correct {key}.")
    return real


def _check_placeholders(name: str, spec: CommandSpec) -> None:
    key = f"tasks.commands.{name}"
    used = {
        found[1] for element in spec.argv for found in _PLACEHOLDER.findall(element) if found[1]
    }
    if any(_PLACEHOLDER.search(element) for element in spec.argv[:1]):
        msg = f"{key}.argv takes its executable from a parameter: '{spec.argv[0]}'."
        raise SettingsError(msg, hint=f"Write one fixed absolute path first in {key}.argv.")
    for placeholder in sorted(used - spec.params.keys()):
        msg = f"{key}.argv uses '{{{placeholder}}}', but {key}.params does not declare it."
        hint = (
            f"{nearest(placeholder, spec.params)} Declare it in {key}.params, or write"
            f" '{{{{{placeholder}}}}}' for the text itself."
        )
        raise SettingsError(msg, hint=hint.strip())
    for unused in sorted(spec.params.keys() - used):
        msg = f"{key}.params declares '{unused}', but {key}.argv has no '{{{unused}}}'."
        raise SettingsError(msg, hint=f"Use it in {key}.argv, or remove it from {key}.params.")


def _check_schemas(name: str, spec: CommandSpec) -> None:
    if not spec.params:
        return
    import jsonschema  # noqa: PLC0415 - on first use: a start without commands is sooner

    for parameter, shape in spec.params.items():
        key = f"tasks.commands.{name}.params.{parameter}"
        try:
            jsonschema.Draft202012Validator.check_schema(shape)
        except jsonschema.SchemaError as error:
            msg = f"{key} is not a JSON Schema: {error.message}."
            raise SettingsError(msg, hint=f"Correct {key}.") from error
        values = [*shape.get("enum", []), *([shape["const"]] if "const" in shape else [])]
        is_listed = bool(values) and all(isinstance(v, str | int | float) for v in values)
        if shape.get("type") not in _SCALARS and not is_listed:
            msg = f"{key} has the type {shape.get('type')!r}, which one argument cannot carry."
            raise SettingsError(
                msg, hint=f"Set {key}.type to one of {', '.join(sorted(_SCALARS))}."
            )
        if "default" in shape:
            _check_default(key, shape, name=name, parameter=parameter)


def _check_default(key: str, shape: JsonObject, *, name: str, parameter: str) -> None:
    import jsonschema  # noqa: PLC0415 - as in _check_schemas

    default = shape["default"]
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(shape).iter_errors(default)
    )
    if problem is not None:
        msg = f"{key}.default does not match its own schema: {problem.message}."
        raise SettingsError(msg, hint=f"Correct {key}.default.")
    try:
        check_value(default, shape=shape, task=name, key=parameter)
    except InvalidArgumentsError as error:
        msg = f"{key}.default is refused: {error.message}"
        raise SettingsError(msg, hint=f"Correct {key}.default.") from error


def _check_surroundings(name: str, spec: CommandSpec) -> None:
    key = f"tasks.commands.{name}"
    if spec.cwd is not None and not Path(spec.cwd).is_absolute():
        msg = f"{key}.cwd is '{spec.cwd}', which is not an absolute path."
        raise SettingsError(msg, hint=f"Write the full path in {key}.cwd.")
    for variable, value in spec.env.items():
        if variable.startswith(OWN_PREFIX):
            msg = f"{key}.env sets '{variable}', which the server itself sets for each run."
            raise SettingsError(msg, hint=f"Choose another name in {key}.env.")
        if not variable or "=" in variable or "\0" in variable + value:
            msg = f"{key}.env has the name {variable!r}, which no environment can carry."
            raise SettingsError(msg, hint=f"Correct the name in {key}.env.")
