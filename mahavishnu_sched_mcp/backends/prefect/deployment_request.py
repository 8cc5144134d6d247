"""What is wanted, as Prefect's client takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import BaseModel

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.backends.prefect.records import DeploymentPlan
    from mahavishnu_sched_mcp.domain.value import JsonObject

POOL_TYPE = "mahavishnu-inprocess"
SCHEDULE_SLUG = "main"


def deployment_arguments(plan: DeploymentPlan, flow_id: UUID) -> dict[str, Any]:
    """Say a plan in the arguments of the client's `create_deployment`."""
    limit = plan.concurrency_limit
    return {
        "flow_id": flow_id,
        "name": plan.name,
        "entrypoint": plan.entrypoint,
        "description": plan.description,
        "tags": list(plan.tags),
        "parameters": plan.parameters,
        "parameter_openapi_schema": plan.parameter_schema,
        "enforce_parameter_schema": bool(plan.parameter_schema),
        "schedules": [] if plan.schedule is None else [_schedule(plan.schedule)],
        "paused": plan.is_paused,
        "work_pool_name": plan.work_pool,
        "job_variables": {"env": plan.environment},
        "concurrency_limit": limit,
        "concurrency_options": None
        if limit is None
        else ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
    }


def work_pool(name: str) -> WorkPoolCreate:
    """Describe a pool for our own worker."""
    return WorkPoolCreate(name=name, type=POOL_TYPE, base_job_template=_job_template())


def _schedule(schedule: JsonObject) -> DeploymentScheduleCreate:
    kinds: dict[str, type[BaseModel]] = {
        "interval": IntervalSchedule,
        "cron": CronSchedule,
        "rrule": RRuleSchedule,
    }
    kind = next(kinds[key] for key in kinds if key in schedule)
    return DeploymentScheduleCreate.model_validate(
        {"slug": SCHEDULE_SLUG, "schedule": kind.model_validate(schedule)}
    )


def _job_template() -> JsonObject:
    texts = {"type": "object", "additionalProperties": {"type": "string"}, "default": {}}
    return {
        "job_configuration": {
            key: f"{{{{ {key} }}}}" for key in ("env", "name", "labels", "command")
        },
        "variables": {
            "type": "object",
            "properties": {
                "env": texts,
                "labels": texts,
                "name": {"type": "string"},
                "command": {"type": "string"},
            },
        },
    }
