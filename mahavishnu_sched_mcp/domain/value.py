"""What every domain value shares: frozen, closed, JSON in and out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

type JsonObject = dict[str, Any]


def to_utc(instant: datetime) -> datetime:
    """Express an aware instant in UTC.

    Raises:
        ValueError: it lies outside the calendar there.
    """
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        msg = f"{instant.isoformat()} lies outside the calendar in UTC"
        raise ValueError(msg) from error


Instant = Annotated[AwareDatetime, AfterValidator(to_utc)]
"""An aware instant, kept in UTC."""


class Value(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
