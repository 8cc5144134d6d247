"""Checks what a creating call asks for, against the catalog, the limits and what is built.

Nothing is written here: a refused call leaves nothing behind.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.binding import node_arguments
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobDefinition, JobKind
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.trigger import RecurrenceRequest, Trigger, TriggerRequest
from mahavishnu_sched_mcp.errors import (
    BackendUnavailableError,
    CapabilityError,
    InvalidArgumentsError,
    UnknownFlowError,
    UnknownProviderError,
    UnknownWorkflowError,
    nearest,
)
from mahavishnu_sched_mcp.scheduler.checks import check_size
from mahavishnu_sched_mcp.scheduler.request import canonical
from mahavishnu_sched_mcp.scheduler.support import check_policies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.domain.catalog import Catalog
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.settings import LimitSettings
    from mahavishnu_sched_mcp.tasks.registry import TaskRegistry

_SWITCHES = {
    Backend.APSCHEDULER: "schedulers.apscheduler_enabled",
    Backend.ONEIRIC: "schedulers.oneiric_queue_enabled",
    Backend.PREFECT: "schedulers.prefect_deployments_enabled",
}
_RESERVED_METADATA = ("run_id", "job_id", "scheduled_for")


class Admission:
    """The gate of the catalog.

    Args:
        registry: Validates the arguments of tasks.
        enabled: The engines that are switched on.
        timezone: For cron triggers without one.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        registry: TaskRegistry,
        limits: LimitSettings,
        enabled: frozenset[Backend],
        timezone: str,
    ) -> None:
        self._catalog = catalog
        self._registry = registry
        self._limits = limits
        self._enabled = enabled
        self._timezone = timezone

    def task(
        self,
        name: str,
        *,
        trigger: TriggerRequest,
        params: JsonObject,
        policies: Policies,
        durable: bool,
    ) -> JobDefinition:
        """Admit a job on a task of this process.

        Raises:
            UnknownTaskError, InvalidArgumentsError, CapabilityError, BackendUnavailableError,
            LimitExceededError: as the contract's refusals say.
        """
        self.require_enabled(Backend.APSCHEDULER)
        self._registry.validate(name, params)
        self._check_approval([name])
        self._check_payload("params", params)
        self._check_policies(policies, backend=Backend.APSCHEDULER, durable=durable)
        return JobDefinition(
            backend=Backend.APSCHEDULER,
            kind=JobKind.TASK,
            target=name,
            trigger_requested=canonical(trigger.as_requested()),
            params=params,
            policies=policies,
            durable=durable,
        )

    def chore(self, task: str, *, trigger: TriggerRequest) -> JobDefinition:
        """Admit one of the server's own chores: the operator's settings asked for it."""
        return JobDefinition(
            backend=Backend.APSCHEDULER,
            kind=JobKind.TASK,
            target=task,
            trigger_requested=canonical(trigger.as_requested()),
        )

    def workflow(
        self,
        name: str,
        *,
        trigger: TriggerRequest | None,
        provider: str | None,
        context: JsonObject,
        metadata: JsonObject,
        policies: Policies,
    ) -> JobDefinition:
        """Admit a job on a workflow through a queue.

        Raises:
            UnknownWorkflowError, UnknownProviderError, InvalidArgumentsError, CapabilityError,
            BackendUnavailableError, LimitExceededError: as the contract's refusals say.
        """
        self.require_enabled(Backend.ONEIRIC)
        self._check_workflow(name, context)
        granted = self._provider(provider)
        self._check_payload("context", context)
        self._check_payload("metadata", metadata)
        for key in _RESERVED_METADATA:
            if key in metadata:
                msg = f"metadata.{key} is filled in by the scheduler."
                raise InvalidArgumentsError(msg, hint="Leave it out, or choose another key.")
        self._check_policies(policies, backend=Backend.ONEIRIC)
        return JobDefinition(
            backend=Backend.ONEIRIC,
            kind=JobKind.WORKFLOW,
            target=name,
            trigger_requested=None if trigger is None else canonical(trigger.as_requested()),
            params=context,
            policies=policies,
            provider=granted,
            options={"metadata": metadata} if metadata else {},
        )

    def deployment(
        self,
        name: str,
        *,
        trigger: TriggerRequest | RecurrenceRequest,
        parameters: JsonObject,
        policies: Policies,
        work_pool_name: str | None,
        description: str | None,
    ) -> JobDefinition:
        """Admit a deployment of a flow, or of a workflow as a flow.

        Raises:
            UnknownFlowError, InvalidArgumentsError, CapabilityError, BackendUnavailableError,
            LimitExceededError: as the contract's refusals say.
        """
        self.require_enabled(Backend.PREFECT)
        if name not in self._catalog.flows:
            msg = f"No flow or workflow is called '{name}'."
            hint = "See list_catalog(kind='flow')."
            raise UnknownFlowError(msg, hint=f"{nearest(name, self._catalog.flows)} {hint}".strip())
        if name in self._catalog.workflows:
            self._check_workflow(name, parameters)
            self._check_elsewhere(name)
        if work_pool_name is not None:
            msg = f"work_pool_name='{work_pool_name}' cannot be chosen in this version."
            raise CapabilityError(msg, hint="Leave it out: the server's own pool runs the flow.")
        self._check_payload("parameters", parameters)
        self._check_policies(policies, backend=Backend.PREFECT)
        return JobDefinition(
            backend=Backend.PREFECT,
            kind=JobKind.DEPLOYMENT,
            target=name,
            trigger_requested=canonical(trigger.as_requested()),
            params=parameters,
            policies=policies,
            options={} if description is None else {"description": description},
        )

    def resolve(self, trigger: TriggerRequest | RecurrenceRequest, *, now: datetime) -> Trigger:
        """Anchor a trigger at this instant.

        Raises:
            InvalidTriggerError: it cannot be read, never fires, or fires too often.
        """
        return trigger.resolve(
            now=now,
            default_timezone=self._timezone,
            min_interval=timedelta(seconds=self._limits.min_interval_seconds),
        )

    def recheck(self, definition: JobDefinition) -> None:
        """Check a changed definition like a new one, but for its trigger.

        Raises:
            SchedulerError: as the contract's refusals say.
        """
        self._check_policies(
            definition.policies, backend=definition.backend, durable=definition.durable
        )
        self._check_payload("params", definition.params)
        if definition.kind is JobKind.TASK:
            self._registry.validate(definition.target, definition.params)
        elif definition.target in self._catalog.workflows:
            self._check_workflow(definition.target, definition.params)

    def require_enabled(self, backend: Backend) -> None:
        """Refuse an engine that the operator has switched off.

        Raises:
            BackendUnavailableError: it is off.
        """
        if backend not in self._enabled:
            msg = f"Backend '{backend}' is switched off."
            raise BackendUnavailableError(msg, hint=f"Set {_SWITCHES[backend]} to true.")

    def is_idempotent(self, definition: JobDefinition) -> bool:
        """Whether a job's target may run twice: every task in it says so."""
        workflow = self._catalog.workflows.get(definition.target)
        if definition.kind is JobKind.TASK:
            names = [definition.target]
        else:
            names = [node.task for node in workflow.nodes] if workflow else []
        entries = self._registry.entries()
        return bool(names) and all(name in entries and entries[name].idempotent for name in names)

    def _check_workflow(self, name: str, context: JsonObject) -> None:
        workflow = self._catalog.workflows.get(name)
        if workflow is None:
            msg = f"No workflow is called '{name}'."
            hint = f"{nearest(name, self._catalog.workflows)} See list_catalog(kind='workflow')."
            raise UnknownWorkflowError(msg, hint=hint.strip())
        entries = self._registry.entries()
        self._check_approval([node.task for node in workflow.nodes])
        declared = {
            key
            for node in workflow.nodes
            for key in entries[node.task].params_schema.get("properties", {})
        }
        for key in context:
            if key not in declared:
                msg = f"No task of workflow '{name}' has a parameter '{key}'."
                known = ", ".join(sorted(declared)) or "none"
                hint = f"{nearest(key, declared)} Its parameters: {known}."
                raise InvalidArgumentsError(msg, hint=hint.strip())
        for node in workflow.nodes:
            arguments = node_arguments(node, context, entries[node.task])
            try:
                self._registry.validate(node.task, arguments)
            except InvalidArgumentsError as error:
                msg = f"Node '{node.id}' of workflow '{name}': {error.message}"
                raise InvalidArgumentsError(msg, hint=error.hint, details=error.details) from error

    def _check_elsewhere(self, name: str) -> None:
        """Refuse a workflow that only the server's own process can run."""
        entries = self._registry.entries()
        for node in self._catalog.workflows[name].nodes:
            if entries[node.task].source == "builtin":
                msg = (
                    f"Node '{node.id}' of workflow '{name}' uses '{node.task}', which needs the"
                    " server's own process; Prefect runs flows in another one."
                )
                raise CapabilityError(msg, hint="Use enqueue_workflow for this workflow.")

    def _check_approval(self, names: Sequence[str]) -> None:
        """Refuse what the operator wants to approve: this version cannot ask for it."""
        entries = self._registry.entries()
        for name in names:
            if entries[name].approval == "required":
                msg = f"Task '{name}' needs the operator's approval, which cannot be asked for yet."
                hint = "Choose another task with list_catalog; the operator may set approval: none."
                raise CapabilityError(msg, hint=hint)

    def _provider(self, name: str | None) -> str:
        providers = self._catalog.providers
        wanted = name or next(p.name for p in providers.values() if p.is_default)
        if wanted not in providers:
            msg = f"No queue provider is called '{wanted}'."
            hint = f"{nearest(wanted, providers)} See list_catalog(kind='provider')."
            raise UnknownProviderError(msg, hint=hint.strip())
        if not providers[wanted].available:
            usable = [p.name for p in providers.values() if p.available]
            msg = f"Queue provider '{wanted}' cannot be used: {providers[wanted].note}."
            raise CapabilityError(msg, hint=f"Use queue_provider='{usable[0]}', or leave it out.")
        return wanted

    def _check_payload(self, what: str, payload: JsonObject) -> None:
        check_size(what, payload, limit=self._limits.max_payload_bytes)

    def _check_policies(
        self, policies: Policies, *, backend: Backend, durable: bool = True
    ) -> None:
        longest = self._limits.max_runtime_seconds
        check_policies(policies, backend=backend, durable=durable, longest_seconds=longest)
