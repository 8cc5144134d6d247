"""What an engine can do, how it is, and what it answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value


class Backend(StrEnum):
    """The three engines, as they stand in job ids and settings."""

    APSCHEDULER = "apscheduler"
    ONEIRIC = "oneiric"
    PREFECT = "prefect"


class EngineState(StrEnum):
    """How an engine is: `idle` was never needed; `standby` is led by another process."""

    DISABLED = "disabled"
    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    UNAVAILABLE = "unavailable"
    STANDBY = "standby"
    STOPPED = "stopped"


class Capabilities(Value):
    """What an engine can do, as data: what is False is refused with CapabilityError.

    Attributes:
        can_pause: Fires can be held and go on.
        can_run_now: One extra run can be asked for.
        can_cancel_run: A running run can be stopped.
        makes_own_fires: The engine's own scheduler decides when (Prefect); we mirror its runs.
        survives_server: Work goes on in another process while this server is down.
        min_interval_seconds: The shortest sensible period.
    """

    can_pause: bool = True
    can_run_now: bool = True
    can_cancel_run: bool = True
    makes_own_fires: bool = False
    survives_server: bool = False
    min_interval_seconds: float = 1.0


class Health(Value):
    """How an engine is at this moment.

    Attributes:
        state: One word.
        detail: One sentence for people: what it waits for or what failed, and the mend.
        url: Where a person can look (Prefect's UI), or None.
        figures: Numbers of this engine (depth, workers), JSON values.
    """

    state: EngineState
    detail: str = ""
    url: str | None = None
    figures: JsonObject = Field(default_factory=dict)


class Receipt(Value):
    """An engine's word that it has what the ledger asked for.

    Attributes:
        reference: The engine's own ids, kept with the job or run as JSON
            (`deployment_id`, `flow_run_id`, `message_id`, ...).
        at: When it said so.
    """

    reference: dict[str, Any] = Field(default_factory=dict)
    at: Instant
