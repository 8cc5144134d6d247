"""What every slice of the settings shares, and the names that stand in several."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

type Engine = Literal["apscheduler", "oneiric", "prefect"]
type Provider = Literal["sqlite", "redis", "nats", "rabbitmq", "kafka", "cloudtasks", "pubsub"]
type Event = Literal["failed", "recovered", "missed", "paused"]
type Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
type DottedPath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")
]
type WebUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]
type HostName = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)$"),
]
type PageOrigin = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9._:\[\]-]+$")]
type Period = Annotated[float, Field(ge=1)]

LOCAL_PROVIDER: Provider = "sqlite"
REFUSED: Final = "setting_refused"


class Slice(BaseModel):
    """A part of the settings: frozen, closed, and no NaN or infinity in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def refusal(what: str, *, mend: str, key: tuple[str, ...] = ()) -> PydanticCustomError:
    """Say in a validator what is wrong with a setting and how to mend it.

    Args:
        what: Ends the sentence "KEY is VALUE, ...".
        mend: A sentence that says what to write instead.
        key: The setting that is wrong, where it is another than the one being validated.
    """
    return PydanticCustomError(REFUSED, "{what}", {"what": what, "mend": mend, "key": key})
