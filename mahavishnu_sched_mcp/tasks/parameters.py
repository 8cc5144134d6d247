"""Arguments of a task: their schema from a signature, and their check before a run."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, SettingsError, nearest

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError as Violation

_SHOWN = 80
_UNFIT = {
    inspect.Parameter.VAR_POSITIONAL: "*{name}",
    inspect.Parameter.VAR_KEYWORD: "**{name}",
    inspect.Parameter.POSITIONAL_ONLY: "the positional-only '{name}'",
}
_MENDS: dict[str, str] = {
    "minLength": "Give at least {limit} characters.",
    "maxLength": "Give at most {limit} characters.",
    "minimum": "Give {limit} or more.",
    "maximum": "Give {limit} or less.",
    "exclusiveMinimum": "Give more than {limit}.",
    "exclusiveMaximum": "Give less than {limit}.",
    "multipleOf": "Give a multiple of {limit}.",
    "pattern": "It has to match {limit}.",
    "format": "Write it as a {limit}.",
    "minItems": "Give at least {limit} items.",
    "maxItems": "Give at most {limit} items.",
    "enum": "Choose one of {limit}.",
    "const": "Only {limit} is allowed.",
    "type": "Its type has to be {limit}.",
}


class Signature:
    """A function's parameters as data: closed JSON Schema, and JSON values to arguments.

    Raises:
        SettingsError: a parameter cannot be described: `*args`, `**kwargs`, positional-only,
            or of a type that JSON cannot carry.
    """

    def __init__(
        self, function: Callable[..., Any], *, task: str, injected: frozenset[str] = frozenset()
    ) -> None:
        """Read the signature once.

        Args:
            function: The task's function.
            task: Its name, for the texts of refusals.
            injected: Parameters the server itself fills in; they are not in the schema.
        """
        parameters = {
            name: parameter
            for name, parameter in inspect.signature(function).parameters.items()
            if name not in injected
        }
        _refuse_unfit(parameters, task=task)
        self._adapter, self.schema = _described(function, parameters, task=task)

    def arguments(self, params: JsonObject, *, task: str) -> dict[str, Any]:
        """Turn JSON values into what the annotations ask for (a `datetime`, an enum, ...).

        Args:
            params: Already checked against `schema`.
            task: The task's name, for the text of the refusal.

        Raises:
            InvalidArgumentsError: an annotation asks for more than its schema can say.
        """
        try:
            return self._adapter.validate_python(params)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            msg = (
                f"Parameter '{where}' of task '{task}' is {_shown(first['input'])}: {first['msg']}."
            )
            hint = "Call list_catalog(kind='task') for the schema."
            raise InvalidArgumentsError(msg, hint=hint) from error


def check_params(params: JsonObject, *, schema: JsonObject, task: str) -> None:
    """Check arguments against a task's schema.

    Args:
        params: What the caller gave.
        schema: JSON Schema, draft 2020-12.
        task: The task's name, for the text of the refusal.

    Raises:
        InvalidArgumentsError: names the parameter, its value and the mend, in one line.
    """
    if not params and not schema.get("required"):
        return
    import jsonschema  # noqa: PLC0415 - on first use: a start that checks nothing is sooner

    validator = jsonschema.Draft202012Validator(schema)
    found = jsonschema.exceptions.best_match(validator.iter_errors(params))
    if found is not None:
        raise _refusal(found, schema=schema, task=task)


def _refuse_unfit(parameters: dict[str, inspect.Parameter], *, task: str) -> None:
    for name, parameter in parameters.items():
        if parameter.kind in _UNFIT:
            what = _UNFIT[parameter.kind].format(name=name)
            msg = f"Task '{task}' takes {what}, which a schema cannot name."
            hint = "Give the function ordinary named parameters, then list its module again."
            raise SettingsError(msg, hint=f"{hint} See `tasks.modules`.")


def _described(
    function: Callable[..., Any], parameters: dict[str, inspect.Parameter], *, task: str
) -> tuple[TypeAdapter[dict[str, Any]], JsonObject]:
    """Build adapter and schema from a TypedDict, whose keys may have any name."""
    try:
        hints = typing.get_type_hints(_plain(function), include_extras=True)
        fields = {
            name: hints.get(name, Any) if required else NotRequired[hints.get(name, Any)]
            for name, required in _requirements(parameters)
        }
        shape = TypedDict("Parameters", fields)  # type: ignore[misc]  # made at run time
        shape.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]  # pydantic's way
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(cast("Any", shape))
        schema = adapter.json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        cause = str(error).splitlines()[0]
        msg = f"Task '{task}' has a parameter whose type cannot be described: {cause}"
        hint = (
            "Annotate with types JSON can carry, imported at run time (not under"
            " TYPE_CHECKING), in the module listed in `tasks.modules`."
        )
        raise SettingsError(msg, hint=hint) from error
    return adapter, _tidied(schema, parameters)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Find what carries the annotations: the function inside a partial or a callable object."""
    inner: Callable[..., Any] = getattr(function, "func", function)
    return inner if inspect.isroutine(inner) else type(inner).__call__


def _requirements(parameters: dict[str, inspect.Parameter]) -> Iterator[tuple[str, bool]]:
    for name, parameter in parameters.items():
        yield name, parameter.default is inspect.Parameter.empty


def _tidied(schema: JsonObject, parameters: dict[str, inspect.Parameter]) -> JsonObject:
    """Drop generated titles, name the defaults, close the object."""
    properties = {
        name: {key: value for key, value in shape.items() if key != "title"}
        for name, shape in schema.get("properties", {}).items()
    }
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            try:
                properties[name]["default"] = to_jsonable_python(parameter.default)
            except PydanticSerializationError:
                continue  # a default JSON cannot show still works; it is only not displayed
    kept = {key: value for key, value in schema.items() if key not in {"title", "description"}}
    return {**kept, "type": "object", "properties": properties, "additionalProperties": False}


def _refusal(found: Violation, *, schema: JsonObject, task: str) -> InvalidArgumentsError:
    known = schema.get("properties", {})
    where = ".".join(str(part) for part in found.absolute_path)
    if found.validator == "additionalProperties" and isinstance(found.instance, dict):
        allowed = found.schema.get("properties", {}) if isinstance(found.schema, dict) else {}
        extra = next(name for name in found.instance if name not in allowed)
        msg = f"Task '{task}' has no parameter '{_inside(where, extra)}'."
        names = ", ".join(allowed) or "none"
        hint = f"{nearest(extra, allowed)} Its parameters: {names}.".strip()
    elif found.validator == "required" and isinstance(found.instance, dict):
        wanted = found.validator_value if isinstance(found.validator_value, list) else []
        missing = next(name for name in wanted if name not in found.instance)
        msg = f"Task '{task}' needs the parameter '{_inside(where, missing)}'."
        hint = f"Give it in `params`; its schema is {_shown(known.get(missing, {}))}."
    else:
        msg = f"Parameter '{where or 'params'}' of task '{task}' is {_shown(found.instance)}."
        hint = _mend(found)
    return InvalidArgumentsError(
        msg,
        hint=f"{hint} Call list_catalog(kind='task') for the schema.",
        details={"task": task, "parameter": where, "allowed": sorted(known)},
    )


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _mend(found: Violation) -> str:
    limit: object = found.validator_value
    if isinstance(limit, list):
        limit = ", ".join(json.dumps(item, default=str) for item in limit)
    elif not isinstance(limit, str):
        limit = json.dumps(limit, default=str)
    sentence = _MENDS.get(str(found.validator), "It breaks the rule '{rule}': {limit}.")
    return _shortened(sentence.format(limit=limit, rule=found.validator), 3 * _SHOWN)


def _shown(value: object) -> str:
    return _shortened(json.dumps(value, default=str, ensure_ascii=True), _SHOWN)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
