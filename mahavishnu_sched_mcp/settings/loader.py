"""Reads the settings from all their places, each over the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from pydantic import ValidationError

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings.complaint import explain
from mahavishnu_sched_mcp.settings.document import (
    Document,
    Key,
    Origin,
    Origins,
    read_document,
)
from mahavishnu_sched_mcp.settings.environment import CONFIG_VARIABLE, read_environment
from mahavishnu_sched_mcp.settings.folder import prepare_data_dir
from mahavishnu_sched_mcp.settings.model import APPLICATION, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.domain.value import JsonObject

FILE_NAME = "mahavishnu.yaml"
LOCAL_FILE_NAME = "local.yaml"
_COMMAND_LINE = Origin("command line")


def load_settings(
    *,
    config: Path | None = None,
    data_dir: Path | None = None,
    environ: Mapping[str, str],
    overrides: JsonObject | None = None,
) -> Settings:
    """Read the settings: defaults < config file < local.yaml < environment < command line.

    Without `config` and MAHAVISHNU_CONFIG only the user's own config folder is looked at,
    never the current folder: a cloned repository must not be able to add commands.

    Args:
        config: The config file; it has to exist.
        data_dir: The data dir of the command line; made with mode 0700 where missing.
        environ: Environment variables, such as `os.environ`.
        overrides: Settings of the command line as nested keys.

    Returns:
        The settings with `data_dir` filled in, absolute and present.

    Raises:
        SettingsError: a setting is wrong; the text has file, line, key, value and mend.
    """
    document = Document(_defaults(), {})
    for path in _files(config, environ):
        document = _merge(document, read_document(path))
    document = _merge(document, read_environment(environ))
    document = _merge(document, _command_line(data_dir, overrides or {}))
    settings = _validate(document)
    home = prepare_data_dir(_data_path(settings, document.origins.get(("data_dir",))))
    return settings.model_copy(update={"data_dir": home})


def _defaults() -> JsonObject:
    return Settings().model_dump(mode="json")


def _files(config: Path | None, environ: Mapping[str, str]) -> list[Path]:
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        main = named.expanduser().absolute()
        if not main.is_file():
            message = f"The config file '{main}' does not exist."
            raise SettingsError(message, hint=f"Correct --config or {CONFIG_VARIABLE}.")
        local = main.with_name(LOCAL_FILE_NAME)
        return [main, local] if local != main and local.is_file() else [main]
    folder = Path(platformdirs.user_config_dir(APPLICATION, appauthor=False))
    files = [folder / name for name in (FILE_NAME, LOCAL_FILE_NAME)]
    return [path for path in files if path.is_file()]


def _command_line(data_dir: Path | None, overrides: JsonObject) -> Document:
    values = dict(overrides) if data_dir is None else {**overrides, "data_dir": str(data_dir)}
    return Document(values, {(name,): _COMMAND_LINE for name in values})


def _merge(under: Document, over: Document) -> Document:
    """Lay one document over another; only mappings are joined key by key."""
    origins = dict(under.origins)
    values = _lay_over(under.values, over.values, (), origins)
    return Document(values, origins | over.origins)


def _lay_over(
    under: JsonObject, over: JsonObject, key: Key, origins: dict[Key, Origin]
) -> JsonObject:
    joined = dict(under)
    for name, value in over.items():
        inner = (*key, name)
        below = joined.get(name)
        if value is None and isinstance(below, dict | list):
            continue  # a section whose keys are all commented out adds nothing
        if isinstance(value, dict) and isinstance(below, dict):
            joined[name] = _lay_over(below, value, inner, origins)
            continue
        joined[name] = value
        for stale in [known for known in origins if known[: len(inner)] == inner]:
            del origins[stale]
    return joined


def _validate(document: Document) -> Settings:
    # Strict and from JSON: a text is no number there, while lists and dates still have a form.
    text = json.dumps(document.values, default=_plain_text)
    try:
        settings = Settings.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise explain(error, origins=Origins(document.origins)) from error
    return settings.written_at(Origins(document.origins))


def _plain_text(value: Any) -> str:
    """Write dates and paths as text."""
    return str(value)


def _data_path(settings: Settings, origin: Origin | None) -> Path:
    path = settings.data_path.expanduser()
    if origin is not None and origin.line is not None and not path.is_absolute():
        # Beside the file that says it, wherever the server is started from.
        return Path(origin.source).parent / path
    return path
