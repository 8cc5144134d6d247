"""Which keys the settings have, and what each may hold."""

from __future__ import annotations

import types
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeAliasType,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel, SecretStr

from mahavishnu_sched_mcp.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTS = (str, SecretStr, Path)


def known_keys(key: Sequence[str | int]) -> list[str]:
    """Name the keys that may stand under this one; empty where any may."""
    model = model_of(key)
    return [] if model is None else list(model.model_fields)


def model_of(key: Sequence[str | int]) -> type[BaseModel] | None:
    """Give the model of the keys under this one; None where there is none."""
    for kind in _alternatives(_annotation(key)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def takes_text(key: Sequence[str | int]) -> bool:
    """Whether a text may stand under this key."""
    return any(
        kind in _TEXTS or get_origin(kind) is Literal for kind in _alternatives(_annotation(key))
    )


def takes_nothing(key: Sequence[str | int]) -> bool:
    """Whether null may stand under this key."""
    return type(None) in _alternatives(_annotation(key))


def _annotation(key: Sequence[str | int]) -> Any:
    current: Any = Settings
    for part in key:
        current = _step(current, part)
    return current


def _step(current: Any, part: str | int) -> Any:
    for kind in _alternatives(current):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            return None if field is None else field.annotation
        if get_origin(kind) is dict:
            return get_args(kind)[1]
        if get_origin(kind) is tuple:
            return get_args(kind)[0]
    return None


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Take aliases, annotations and unions apart."""
    if isinstance(kind, TypeAliasType):
        return _alternatives(kind.__value__)
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in {Union, types.UnionType}:
        return tuple(part for member in get_args(kind) for part in _alternatives(member))
    return (kind,)
