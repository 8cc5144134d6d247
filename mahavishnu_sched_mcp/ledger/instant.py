"""Instants as the ledger stores them: whole microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import overload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@overload
def to_micros(instant: datetime) -> int: ...
@overload
def to_micros(instant: None) -> None: ...
def to_micros(instant: datetime | None) -> int | None:
    """Turn an aware instant into the stored number."""
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


@overload
def from_micros(stored: int) -> datetime: ...
@overload
def from_micros(stored: None) -> None: ...
def from_micros(stored: int | None) -> datetime | None:
    """Turn the stored number into an aware instant in UTC."""
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)
