"""YAML with the line of every value, so that a bad one can be shown where it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mahavishnu_sched_mcp.errors import SettingsError

# libyaml reads ten times faster; not every platform's wheel brings it.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_SCALARS = frozenset(_CORE + kind for kind in ("str", "int", "float", "bool", "null", "timestamp"))

type Key = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written.

    Attributes:
        source: A file's path, `environment variable NAME`, or `command line`.
        line: Counted from 1; None where there are no lines.
    """

    source: str
    line: int | None = None

    def __str__(self) -> str:
        """Say it the way editors understand it."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclasses.dataclass(frozen=True, slots=True)
class Origins:
    """Where the values of some settings were written.

    Any two are equal: settings are the same wherever they were written.
    """

    by_key: Mapping[Key, Origin] = dataclasses.field(default_factory=dict, compare=False)

    def find(self, key: Key) -> Origin | None:
        """Give the origin of a value, or of the nearest one around it; None where none is known."""
        inner_first = (key[:length] for length in range(len(key), 0, -1))
        return next((self.by_key[outer] for outer in inner_first if outer in self.by_key), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Plain values, and the origin of each by its key."""

    values: Any
    origins: dict[Key, Origin]


def read_document(path: Path) -> Document:
    """Read a settings file; an empty one holds nothing.

    Raises:
        SettingsError: it cannot be read, is no YAML, has a key twice, or is no mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _refusal(Origin(str(path), line), "is not UTF-8 text", "Save it as UTF-8") from error
    except OSError as error:
        why = f"cannot be read: {error.strerror or 'input/output error'}"
        raise _refusal(Origin(str(path)), why, "Give another file with --config") from error
    document = parse_document(text, source=str(path))
    if document.values is None:
        return Document({}, {})
    if not isinstance(document.values, dict):
        raise _refusal(Origin(str(path), 1), "holds no keys", "Begin with `timezone: UTC`")
    return document


def parse_document(text: str, *, source: str, has_lines: bool = True) -> Document:
    """Read YAML text: keys are text, and only plain values are made.

    Args:
        text: One YAML document, or nothing.
        source: What the origins are to say.
        has_lines: False leaves the line out of the origins (environment variables).

    Raises:
        SettingsError: no YAML, a key twice, a merge key, a tag, or an anchor inside itself.
    """
    reader = _Reader(source, has_lines=has_lines)
    return Document(reader.read(text), reader.origins)


class _Reader:
    """One pass over a document's nodes."""

    def __init__(self, source: str, *, has_lines: bool) -> None:
        """Begin with no origins."""
        self.origins: dict[Key, Origin] = {}
        self._source = source
        self._has_lines = has_lines
        self._open: set[int] = set()

    def read(self, text: str) -> Any:
        """Give the plain values of the only document."""
        self._loader: yaml.SafeLoader | None = None
        try:
            self._loader = _Loader(text)
            node = self._loader.get_single_node()
            return None if node is None else self._plain(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._unreadable(error.problem or "it is no YAML", mark) from error
        except yaml.YAMLError as error:
            what = "it holds a character that YAML forbids"
            raise self._unreadable(what, None) from error
        finally:
            if self._loader is not None:
                self._loader.dispose()

    def _plain(self, node: yaml.Node, key: Key) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        if id(node) in self._open:
            raise self._refuse(node, "an anchor is used inside itself", "Write the values out")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
                return self._mapping(node, key)
            if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
                return self._sequence(node, key)
        finally:
            self._open.discard(id(node))
        raise self._refuse(node, f"the tag '{node.tag}' is not allowed", "Remove the tag")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        assert self._loader is not None  # noqa: S101 - set by `read`, the only way in here
        try:
            return self._loader.construct_object(node)
        except ValueError as error:
            what = f"'{node.value}' looks like a number or date and is none"
            raise self._refuse(node, what, "Correct it or put it in quotes") from error

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            # The text of the key counts, not its type: YAML 1.1 reads `on` as true.
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise self._refuse(name_node, "a key is no text", "Write `name: value`")
            if name_node.tag == _CORE + "merge":
                raise self._refuse(name_node, "merge keys are not read", "Write the keys out")
            inner = (*key, name)
            if name in values:
                first = self.origins[inner]
                what = f"{dotted(inner)} is set twice, first at {first}"
                raise self._refuse(name_node, what, "Remove one")
            self.origins[inner] = self._origin(name_node)
            values[name] = self._plain(value_node, inner)
        return values

    def _sequence(self, node: yaml.SequenceNode, key: Key) -> list[Any]:
        values = []
        for number, item in enumerate(node.value):
            self.origins[*key, number] = self._origin(item)
            values.append(self._plain(item, (*key, number)))
        return values

    def _origin(self, node: yaml.Node) -> Origin:
        return Origin(self._source, node.start_mark.line + 1 if self._has_lines else None)

    def _refuse(self, node: yaml.Node, what: str, mend: str) -> SettingsError:
        return _refusal(self._origin(node), what, mend)

    def _unreadable(self, problem: str, mark: yaml.Mark | None) -> SettingsError:
        line = mark.line + 1 if mark is not None and self._has_lines else None
        mend = "Indent with spaces" if "\\t" in problem else "Correct the YAML there"
        return _refusal(Origin(self._source, line), f"cannot be read: {problem}", mend)


def dotted(key: Key) -> str:
    """Write a key as people say it: `tasks.commands.backup.argv[0]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _refusal(origin: Origin, what: str, mend: str) -> SettingsError:
    return SettingsError(f"{origin}: {what}.", hint=f"{mend}.")
