"""A job as the deployment the ledger wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.prefect.records import (
    JOB_TAG,
    WORKFLOW_ENTRYPOINT,
    DeploymentPlan,
)
from mahavishnu_sched_mcp.backends.prefect.schedules import schedule_of
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.errors import UnknownFlowError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mahavishnu_sched_mcp.domain.catalog import FlowEntry
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.domain.workflow import Workflow

RETRIES_VARIABLE = "MAHAVISHNU_FLOW_RETRIES"
RETRY_DELAY_VARIABLE = "MAHAVISHNU_FLOW_RETRY_DELAY_SECONDS"

_FIRING = {JobState.ACTIVE, JobState.PENDING}


class Planner:
    """Turns jobs into deployments, from the operator's flows and workflows.

    Args:
        flows: The operator's Prefect flows, by name.
        workflows: The operator's workflows, by name.
    """

    def __init__(
        self, *, flows: Mapping[str, FlowEntry], workflows: Mapping[str, Workflow]
    ) -> None:
        self._flows = flows
        self._workflows = workflows

    @property
    def entrypoints(self) -> list[str]:
        """Give the dotted paths the worker may run: the operator's, and our own."""
        return sorted({WORKFLOW_ENTRYPOINT, *(entry.entrypoint for entry in self._flows.values())})

    def plan(self, job: Job, *, work_pool: str, now: datetime) -> DeploymentPlan:
        """Say which deployment a job needs.

        Args:
            job: As it stands in the ledger.
            work_pool: The pool for jobs that name none.
            now: When the deployment is made.

        Raises:
            UnknownFlowError: neither a flow nor a workflow has the target's name.
            CapabilityError: Prefect cannot express the trigger.
        """
        target, policies = job.definition.target, job.definition.policies
        description = job.definition.options.get("description") or self._description(target)
        return DeploymentPlan(
            flow_name=target,
            name=deployment_name(job.job_id),
            entrypoint=self._entrypoint(target),
            description=description or None,
            tags=(*job.tags, f"{JOB_TAG}{job.job_id}"),
            parameters=self.parameters(target, job.definition.params),
            parameter_schema=self._schema(target),
            schedule=None if job.trigger is None else schedule_of(job.trigger, now=now),
            is_paused=job.state not in _FIRING,
            concurrency_limit=policies.concurrency_limit,
            work_pool=job.definition.options.get("work_pool_name") or work_pool,
            environment={
                RETRIES_VARIABLE: str(policies.retries),
                RETRY_DELAY_VARIABLE: str(policies.retry_delay_seconds),
            },
        )

    def parameters(self, target: str, params: JsonObject) -> JsonObject:
        """Give the parameters of a run: a workflow's name and context, or a flow's own."""
        if target in self._workflows:
            return {"workflow": target, "context": dict(params)}
        return dict(params)

    def _entrypoint(self, target: str) -> str:
        if target in self._workflows:
            return WORKFLOW_ENTRYPOINT
        if target in self._flows:
            return self._flows[target].entrypoint
        msg = f"No flow or workflow is named '{target}'."
        suggestion = nearest(target, [*self._flows, *self._workflows])
        raise UnknownFlowError(msg, hint=f"{suggestion} Ask list_catalog what exists.".strip())

    def _description(self, target: str) -> str:
        found = self._workflows.get(target) or self._flows.get(target)
        return "" if found is None else found.description

    def _schema(self, target: str) -> JsonObject:
        if target not in self._workflows:
            schema = self._flows[target].params_schema
            return {**schema, "additionalProperties": False} if schema else {}
        return {
            "title": "Parameters",
            "type": "object",
            "properties": {
                "workflow": {"type": "string", "enum": [target], "position": 0},
                "context": {"type": "object", "position": 1},
            },
            "required": ["workflow", "context"],
            "additionalProperties": False,
        }


def deployment_name(job_id: str) -> str:
    """Give the part of a job's id after the engine's name."""
    return job_id.partition(":")[2]
