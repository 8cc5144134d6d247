"""The settings that say what may run: commands, requests, modules, workflows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow
from mahavishnu_sched_mcp.settings.slice import DottedPath, Name, Slice, WebUrl, refusal


class CommandSettings(Slice):
    """An allow-listed command; it gets no shell and nothing of the server's environment."""

    description: str = Field(default="", description="one sentence for the agent")
    argv: tuple[str, ...] = Field(
        min_length=1,
        description="program and arguments; {name} is replaced inside one element by that param",
    )
    params: dict[Name, JsonObject] = Field(
        default_factory=dict, description="JSON Schema of each parameter by name"
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="environment variables beside PATH and MAHAVISHNU_*"
    )
    cwd: str | None = Field(
        default=None, description="absolute working folder; null = the root folder"
    )
    timeout_seconds: float | None = Field(
        default=None, gt=0, description="seconds; null = limits.max_runtime_seconds"
    )
    idempotent: bool = Field(
        default=False, description="running twice does no harm: interrupted runs run again"
    )
    approval: Literal["none", "required"] = Field(
        default="none", description="required = refused in this version, which cannot ask"
    )


class HttpTaskSettings(Slice):
    """An allow-listed HTTP request."""

    description: str = Field(default="", description="one sentence for the agent")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", description="the verb of the request"
    )
    url: WebUrl = Field(description="the address")
    expect_status: tuple[Annotated[int, Field(ge=100, le=599)], ...] = Field(
        default=(200,), description="answers that count as success"
    )
    timeout_seconds: float | None = Field(
        default=None, gt=0, description="seconds; null = limits.max_runtime_seconds"
    )
    idempotent: bool = Field(
        default=False, description="sending twice does no harm: interrupted runs run again"
    )
    approval: Literal["none", "required"] = Field(
        default="none", description="required = refused in this version, which cannot ask"
    )


class TaskSettings(Slice):
    """What may run, beside the built-in tasks."""

    modules: tuple[DottedPath, ...] = Field(
        default=(), description="modules imported at start; each @task in them joins the catalog"
    )
    commands: dict[Name, CommandSettings] = Field(
        default_factory=dict, description="allow-listed commands by name"
    )
    http: dict[Name, HttpTaskSettings] = Field(
        default_factory=dict, description="allow-listed HTTP requests by name"
    )


class WorkflowSettings(Slice):
    """A DAG of tasks; becomes a `Workflow` under its name."""

    description: str = Field(default="", description="one sentence for the agent")
    nodes: tuple[Node, ...] = Field(
        min_length=1,
        description="list of {id, task, payload, depends_on, retry: {attempts, "
        "base_delay_seconds}, timeout_seconds}",
    )

    @field_validator("nodes")
    @classmethod
    def refuse_unsound(cls, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """Refuse doubled nodes, unknown dependencies and circles; tasks are checked later."""
        known = {node.task for node in nodes}
        problems = Workflow(name="workflow", nodes=nodes).problems(known)
        if problems:
            raise refusal("; ".join(problems), mend="Correct the nodes.")
        return nodes
