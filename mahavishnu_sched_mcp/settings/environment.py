"""Settings from environment variables: MAHAVISHNU_<SECTION>__<KEY>."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings.document import Document, Key, Origin, dotted, parse_document
from mahavishnu_sched_mcp.settings.outline import takes_nothing, takes_text

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "MAHAVISHNU_"
CONFIG_VARIABLE = "MAHAVISHNU_CONFIG"
_NEVER_BLANK = frozenset({("http", "token")})
"""An empty secret is a mistake to be told, not a wish for the default."""

_PLAIN = {"MAHAVISHNU_DATA_DIR": "data_dir", "MAHAVISHNU_TIMEZONE": "timezone"}


def read_environment(environ: Mapping[str, str]) -> Document:
    """Read the settings among the environment variables; all others are ignored.

    Args:
        environ: Names and values, such as `os.environ`.

    Raises:
        SettingsError: a value is no YAML, or two variables contradict each other.
    """
    values: dict[str, Any] = {}
    origins: dict[Key, Origin] = {}
    for name in sorted(environ):
        key = _key(name)
        if not key or (name in _PLAIN and not environ[name]):
            continue
        document = _value(environ[name], key=key, name=name)
        origin = Origin(f"environment variable {name}")
        _put(values, key, document.values, origin)
        origins |= {key[:depth]: origin for depth in range(1, len(key) + 1)}
        origins |= {(*key, *inner): place for inner, place in document.origins.items()}
    return Document(values, origins)


def _key(name: str) -> tuple[str, ...]:
    if name in _PLAIN:
        return (_PLAIN[name],)
    if not name.startswith(PREFIX) or "__" not in name:
        return ()
    return tuple(name.removeprefix(PREFIX).lower().split("__"))


def _value(text: str, *, key: tuple[str, ...], name: str) -> Document:
    if takes_text(key):
        # A token made of digits is a text; only null has another meaning.
        nothing = {"null", "~"} if key in _NEVER_BLANK else {"", "null", "~"}
        is_nothing = text.strip() in nothing and takes_nothing(key)
        return Document(None if is_nothing else text, {})
    return parse_document(text, source=f"environment variable {name}", has_lines=False)


def _put(values: dict[str, Any], key: tuple[str, ...], value: Any, origin: Origin) -> None:
    *sections, last = key
    place: Any = values
    for section in sections:
        place = place.setdefault(section, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last in place:
        message = f"{origin}: {dotted(key)} is set by another variable too."
        raise SettingsError(message, hint="Remove one of the variables.")
    place[last] = value
