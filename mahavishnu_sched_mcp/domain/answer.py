"""What the scheduler answers to questions: a job in detail, a preview, the catalog, the status."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from mahavishnu_sched_mcp.domain.catalog import FlowEntry, ProviderEntry, TaskEntry
from mahavishnu_sched_mcp.domain.job import Job
from mahavishnu_sched_mcp.domain.run import Run
from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value
from mahavishnu_sched_mcp.domain.workflow import Workflow


class JobDetail(Value):
    """A job with what is next and what was last.

    Attributes:
        next_fires: The next few, in the job's zone; empty where nothing will fire.
        runs: The newest few, newest first.
    """

    job: Job
    next_fires: tuple[datetime, ...] = ()
    runs: tuple[Run, ...] = ()


class Preview(Value):
    """What a trigger would do.

    Attributes:
        in_words: The schedule as a person would say it.
        fires: The next ones, in the trigger's zone.
        warnings: What may surprise: clock changes, rare days, short periods.
    """

    in_words: str
    fires: tuple[datetime, ...] = ()
    warnings: tuple[str, ...] = ()


class CatalogPage(Value):
    """Some entries of the catalog, in the order tasks, workflows, flows, providers.

    Attributes:
        total: How many entries the filter has in all.
        next_cursor: Opaque; None on the last page.
    """

    tasks: tuple[TaskEntry, ...] = ()
    workflows: tuple[Workflow, ...] = ()
    flows: tuple[FlowEntry, ...] = ()
    providers: tuple[ProviderEntry, ...] = ()
    total: int = 0
    next_cursor: str | None = None


class Status(Value):
    """How everything is at one instant.

    Attributes:
        leader: Which process fires the jobs, and whether it is this one.
        engines: Per engine its state, detail and figures.
        queues: Per provider its depth and workers.
        counts: Jobs and runs by state.
        attention: What someone should look at, one sentence each; empty means all is well.
    """

    now: Instant
    leader: JsonObject = Field(default_factory=dict)
    engines: JsonObject = Field(default_factory=dict)
    queues: JsonObject = Field(default_factory=dict)
    counts: JsonObject = Field(default_factory=dict)
    attention: tuple[str, ...] = ()
