"""All that an agent may choose from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import JsonObject, Value
from mahavishnu_sched_mcp.domain.workflow import Workflow


class TaskEntry(Value):
    """A task as the catalog shows it.

    Attributes:
        source: Where the operator declared it.
        params_schema: JSON Schema (draft 2020-12) of its arguments, closed.
        idempotent: Running it twice does no harm; decides the default of `on_interrupt`.
        approval: `required` makes jobs on it wait for the operator.
        timeout_seconds: Its own limit; None leaves the settings' one.
    """

    name: str
    description: str = ""
    source: Literal["builtin", "module", "command", "http", "callable"]
    params_schema: JsonObject = Field(
        default_factory=lambda: {"type": "object", "properties": {}, "additionalProperties": False}
    )
    idempotent: bool = False
    approval: Literal["none", "required"] = "none"
    timeout_seconds: float | None = None


class FlowEntry(Value):
    """A Prefect flow the operator registered by dotted path, or a workflow as a flow."""

    name: str
    description: str = ""
    entrypoint: str
    params_schema: JsonObject = Field(default_factory=dict)


class ProviderEntry(Value):
    """A queue provider.

    Attributes:
        available: Whether this build and these settings can use it.
        note: Why not, or what is special.
    """

    name: str
    description: str = ""
    available: bool = True
    is_default: bool = False
    note: str = ""
    capabilities: JsonObject = Field(default_factory=dict)


class Catalog(Value):
    """Tasks, workflows, flows and queue providers by name."""

    tasks: dict[str, TaskEntry] = Field(default_factory=dict)
    workflows: dict[str, Workflow] = Field(default_factory=dict)
    flows: dict[str, FlowEntry] = Field(default_factory=dict)
    providers: dict[str, ProviderEntry] = Field(default_factory=dict)
