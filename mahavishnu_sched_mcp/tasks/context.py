"""What a running task may know and use."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunContext(Value):
    """The run a task is part of.

    Attributes:
        attempt: 1 for the first.
        node: The workflow's node, where there is one.
        upstream: Results of the nodes this one depends on, by node id.
    """

    job_id: str
    run_id: str
    attempt: int
    scheduled_for: Instant
    node: str | None = None
    upstream: JsonObject = Field(default_factory=dict)


class StatusProbe(Protocol):
    """What `health_check` may ask for."""

    async def probe(self) -> Mapping[str, object]:
        """Test ledger, engines, disk and clock now, and say how each is."""
        ...


class MetricsProbe(Protocol):
    """What `metrics_collection` may ask for."""

    async def measure(self) -> Mapping[str, object]:
        """Count jobs, runs, lateness and memory now, and keep the sample."""
        ...


class Reminders(Protocol):
    """Where `remind` puts its message for the agent's next look."""

    async def remind(self, message: str, *, context: RunContext) -> None:
        """Keep the message until the agent has seen it in `get_status`."""
        ...


class Retention(Protocol):
    """What `cache_cleanup` may ask for."""

    async def remove_old(self) -> Mapping[str, object]:
        """Remove what the ledger need not keep, and say how much of each kind."""
        ...


class Ports(Protocol):
    """All that the built-in tasks may use; handed in by the app."""

    @property
    def status(self) -> StatusProbe:
        """For `health_check`."""
        ...

    @property
    def metrics(self) -> MetricsProbe:
        """For `metrics_collection`."""
        ...

    @property
    def reminders(self) -> Reminders:
        """For `remind`."""
        ...

    @property
    def retention(self) -> Retention:
        """For `cache_cleanup`."""
        ...


class TaskFailedError(Exception):
    """A task's way to fail and still show something: the output is kept with the failed run."""

    def __init__(self, message: str, *, output: object = None) -> None:
        """Keep both.

        Args:
            message: Why it failed, one line.
            output: What to show: text, or anything JSON can carry.
        """
        super().__init__(message)
        self.output = output


OWN_PREFIX = "MAHAVISHNU_"
"""What the server itself sets in a program's environment; a run's processes are known by it."""


def run_marks(context: RunContext) -> dict[str, str]:
    """Name a run in the environment of the processes that work for it.

    Args:
        context: The run they are started for.
    """
    at = context.scheduled_for.isoformat().replace("+00:00", "Z")
    node = {} if context.node is None else {"MAHAVISHNU_NODE": context.node}
    return {
        "MAHAVISHNU_JOB_ID": context.job_id,
        "MAHAVISHNU_RUN_ID": context.run_id,
        "MAHAVISHNU_ATTEMPT": str(context.attempt),
        "MAHAVISHNU_SCHEDULED_FOR": at,
        **node,
    }


_current: ContextVar[RunContext | None] = ContextVar("mahavishnu_run_context", default=None)


def current_run() -> RunContext:
    """Give the run the calling task is part of.

    Raises:
        LookupError: called outside a run.
    """
    context = _current.get()
    if context is None:
        msg = "no run is going on here: current_run() works inside a task only"
        raise LookupError(msg)
    return context


def enter_run(context: RunContext) -> Context:
    """Copy the calling context into one in which `current_run()` gives this run.

    Args:
        context: The run a task is about to be part of.
    """
    entered = copy_context()
    entered.run(_current.set, context)
    return entered
