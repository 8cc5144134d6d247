"""The catalog and what runs it, from the settings: the same in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.catalog import Catalog, FlowEntry, ProviderEntry
from mahavishnu_sched_mcp.errors import CapabilityError, SettingsError
from mahavishnu_sched_mcp.tasks.command import CommandSpec
from mahavishnu_sched_mcp.tasks.executor import TaskExecutor
from mahavishnu_sched_mcp.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mahavishnu_sched_mcp.settings import Settings
    from mahavishnu_sched_mcp.tasks.context import Ports, RunContext

WORKFLOW_ENTRYPOINT = "mahavishnu_sched_mcp.flows.run_workflow"
"""What Prefect stores as the entrypoint of a workflow that is deployed as a flow."""

_PROVIDERS = {
    "sqlite": "Embedded queue in the data dir; nothing to install",
    "redis": "Redis Streams",
    "nats": "NATS JetStream",
    "rabbitmq": "RabbitMQ",
    "kafka": "Apache Kafka",
    "cloudtasks": "Google Cloud Tasks",
    "pubsub": "Google Pub/Sub",
}

_BUILT_PROVIDERS = frozenset({"sqlite"})


class _ForeignPort:
    """Refuses what only the server's own process can do."""

    async def probe(self) -> Mapping[str, object]:
        """Refuse."""
        raise _foreign(task="health_check")

    async def measure(self) -> Mapping[str, object]:
        """Refuse."""
        raise _foreign(task="metrics_collection")

    async def remind(self, message: str, *, context: RunContext) -> None:  # noqa: ARG002 - the port's
        """Refuse."""
        raise _foreign(task="remind")


def _foreign(*, task: str) -> CapabilityError:
    msg = f"Task '{task}' needs the server's ledger and cannot run in Prefect's process."
    return CapabilityError(msg, hint="Schedule it with schedule_internal_task.")


class _ForeignPorts:
    """What built-in tasks may use in a process without the ledger: nothing."""

    status = metrics = reminders = _ForeignPort()


def compose_tasks(settings: Settings) -> TaskExecutor:
    """Put together what runs tasks in a process that has no ledger (Prefect's worker).

    Raises:
        SettingsError: the catalog cannot be built.
    """
    registry = build_registry(settings)
    build_catalog(settings, registry)
    return build_executor(settings, registry, _ForeignPorts())


def build_registry(settings: Settings) -> TaskRegistry:
    """Collect the tasks the operator made available.

    Raises:
        SettingsError: a module or command is unsound.
    """
    specs = {
        name: CommandSpec.model_validate(command.model_dump())
        for name, command in settings.tasks.commands.items()
    }
    return TaskRegistry(modules=settings.tasks.modules, commands=specs)


def build_catalog(settings: Settings, registry: TaskRegistry) -> Catalog:
    """Collect all that an agent may choose from, and check the workflows.

    Raises:
        SettingsError: a workflow is unsound (its node is named), or a name is used twice.
    """
    entries = registry.entries()
    workflows = settings.workflow_definitions
    for name, workflow in workflows.items():
        problems = workflow.problems(set(entries))
        if problems:
            msg = f"workflows.{name}: {'; '.join(problems)}."
            raise SettingsError(msg, hint="Mend the nodes; tasks are those of list_catalog.")
    for name in settings.flows:
        if name in workflows:
            msg = f"'{name}' is both a flow and a workflow."
            raise SettingsError(msg, hint=f"Rename flows.{name} or workflows.{name}.")
    flows = {
        name: FlowEntry(name=name, entrypoint=path, description=f"Prefect flow {path}")
        for name, path in settings.flows.items()
    } | {
        name: FlowEntry(name=name, entrypoint=WORKFLOW_ENTRYPOINT, description=workflow.description)
        for name, workflow in workflows.items()
    }
    default = settings.schedulers.default_queue_provider
    providers = {
        name: ProviderEntry(
            name=name,
            description=text,
            available=name in _BUILT_PROVIDERS,
            is_default=name == default,
            note="" if name in _BUILT_PROVIDERS else "not in this version",
        )
        for name, text in _PROVIDERS.items()
    }
    return Catalog(tasks=entries, workflows=workflows, flows=flows, providers=providers)


def build_executor(settings: Settings, registry: TaskRegistry, ports: Ports) -> TaskExecutor:
    """Make what runs the tasks, within the limits of the settings."""
    return TaskExecutor(
        registry,
        ports=ports,
        max_output_bytes=settings.limits.max_output_bytes,
        max_runtime_seconds=settings.limits.max_runtime_seconds,
    )
