"""One run handed to an engine that executes elsewhere than in this event loop."""

from __future__ import annotations

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value


class Dispatch(Value):
    """Work for an engine; the same `run_id` handed over twice must not run twice.

    Attributes:
        run_id: Travels with the work.
        provider: The queue provider, for Oneiric.
        params: Context of the workflow or parameters of the flow.
        metadata: Travels with the message beside the context.
        reference: The job's own engine ids (`deployment_id`), for Prefect.
    """

    run_id: str
    job_id: str
    target: str
    scheduled_for: Instant
    provider: str | None = None
    params: JsonObject = Field(default_factory=dict)
    metadata: JsonObject = Field(default_factory=dict)
    reference: JsonObject = Field(default_factory=dict)
