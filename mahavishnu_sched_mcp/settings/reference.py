"""Writes settings/mahavishnu.yaml and docs/reference/settings.md from the model.

Run as `python -m mahavishnu_sched_mcp.settings.reference FOLDER`, the root of a checkout.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mahavishnu_sched_mcp.settings.document import Key, dotted
from mahavishnu_sched_mcp.settings.model import Settings
from mahavishnu_sched_mcp.settings.outline import model_of
from mahavishnu_sched_mcp.settings.slice import Slice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

YAML_PATH = "settings/mahavishnu.yaml"
PAGE_PATH = "docs/reference/settings.md"

_YAML_HEAD = """\
# All settings of mahavishnu-sched-mcp, each with its default.
# Copy what you change into mahavishnu.yaml in your own config folder, or name a file with
# --config. Order: defaults < config file < local.yaml beside it < environment
# MAHAVISHNU_<SECTION>__<KEY> < command line. Reference: docs/reference/settings.md
"""
_PAGE_HEAD = """\
# Settings

All keys, made from the model by `make docs`. The commented defaults are in
`settings/mahavishnu.yaml`, whole examples in `settings/examples/`.

Order: defaults < config file < `local.yaml` beside it < environment < command line. Mappings are
joined key by key; lists and values are replaced. Without `--config` and `MAHAVISHNU_CONFIG` only
`mahavishnu.yaml` in your own config folder is read, never a file of the current folder.

An environment variable is `MAHAVISHNU_<SECTION>__<KEY>`, its value YAML:
`MAHAVISHNU_LIMITS__MAX_JOBS=500`, `MAHAVISHNU_SCHEDULERS__PREFECT_DEPLOYMENTS_ENABLED=false`.
Beside these only `MAHAVISHNU_DATA_DIR`, `MAHAVISHNU_CONFIG` and `MAHAVISHNU_TIMEZONE` are
settings. A relative `data_dir` in a file is meant beside that file.

A wrong setting stops the start and is named with file, line, key, value and mend. A setting that
has no effect in this version is logged at the start and listed by `get_status` and
`mahavishnu-sched-mcp doctor`.
"""
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "minItems": "at least {} item",
}


def default_yaml() -> str:
    """Give every key with its default value and its meaning as a comment."""
    return "\n".join([_YAML_HEAD, *_yaml_lines(Settings(), 0)]) + "\n"


def reference_page() -> str:
    """Give the page with a table of each section."""
    return "\n".join([_PAGE_HEAD, *_page_lines(Settings, ())])


def write_reference(root: Path) -> None:
    """Write both files into a checkout.

    Args:
        root: The folder that holds `settings` and `docs`.
    """
    for name, text in ((YAML_PATH, default_yaml()), (PAGE_PATH, reference_page())):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _yaml_lines(part: BaseModel, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield f"{'' if depth else '\n'}{indent}{name}:  # {_sentence(type(value))}"
            yield from _yaml_lines(value, depth + 1)
        else:
            yield f"{indent}{name}: {_plain(value)}  # {field.description}"


def _page_lines(model: type[BaseModel], key: Key) -> Iterator[str]:
    fields = model.model_fields.items()
    schema = model.model_json_schema()
    yield from ("| key | form | default | meaning |", "|---|---|---|---|")
    for name, field in fields:
        if field.description is not None:
            form = _form(schema["properties"][name], schema.get("$defs", {}))
            yield f"| `{name}` | {form} | {_default(field)} | {_cell(field.description)} |"
    for name, field in fields:
        for inner in ((*key, name), (*key, name, "NAME"), (*key, name, 0)):
            found = _slice_of(inner, field)
            if found is not None:
                yield from ("", f"## `{dotted(inner).replace('[0]', '[]')}`", "")
                yield from (_sentence(found), "", *_page_lines(found, inner))
                break


def _slice_of(key: Key, field: FieldInfo) -> type[BaseModel] | None:
    """Give the model under a key; `NAME` stands for any name of a mapping only."""
    if key[-1] == "NAME" and field.default_factory is not dict:
        return None
    found = model_of(key)
    return found if found is not None and issubclass(found, Slice) else None


def _form(schema: dict[str, Any], known: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _form(known[schema["$ref"].rpartition("/")[2]], known)
    if "anyOf" in schema:
        return " or ".join(_form(part, known) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    words = {
        "string": "text", "integer": "whole number", "number": "number", "boolean": "true, false",
        "array": "list", "object": "keys", "null": "null",
    }  # fmt: skip
    form = words[schema["type"]]
    bounds = [text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema]
    return ", ".join([form, *bounds])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "needed" if value is PydanticUndefined else f"`{_cell(_plain(value))}`"


def _plain(value: Any) -> str:
    """Write a default as YAML; 60.0 seconds are `60`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]+", value):
        return value
    return json.dumps(value)


def _sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
