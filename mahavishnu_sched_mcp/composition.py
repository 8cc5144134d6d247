"""The catalog and what runs it, from the settings: the same in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.domain.catalog import Catalog, FlowEntry, ProviderEntry
from mahavishnu_sched_mcp.errors import (
    CapabilityError,
    InvalidArgumentsError,
    SettingsError,
    nearest,
)
from mahavishnu_sched_mcp.settings.complaint import Complaint, refuse, say_value
from mahavishnu_sched_mcp.settings.document import Key, dotted
from mahavishnu_sched_mcp.tasks.command import CommandSpec
from mahavishnu_sched_mcp.tasks.executor import TaskExecutor
from mahavishnu_sched_mcp.tasks.parameters import check_params
from mahavishnu_sched_mcp.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mahavishnu_sched_mcp.domain.workflow import Node
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

    async def remove_old(self) -> Mapping[str, object]:
        """Refuse."""
        raise _foreign(task="cache_cleanup")


def _foreign(*, task: str) -> CapabilityError:
    msg = f"Task '{task}' needs the server's ledger and cannot run in Prefect's process."
    return CapabilityError(msg, hint="Schedule it with schedule_internal_task.")


class _ForeignPorts:
    """What built-in tasks may use in a process without the ledger: nothing."""

    status = metrics = reminders = retention = _ForeignPort()


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
        SettingsError: a module or command is unsound; the text has file, line, key and mend.
    """
    specs = {
        name: CommandSpec.model_validate(command.model_dump())
        for name, command in settings.tasks.commands.items()
    }
    try:
        return TaskRegistry(modules=settings.tasks.modules, commands=specs)
    except SettingsError as error:
        complaint = _complaint(error, modules=settings.tasks.modules, specs=specs)
        raise refuse([complaint], origins=settings.origins) from error


def build_catalog(settings: Settings, registry: TaskRegistry) -> Catalog:
    """Collect all that an agent may choose from, and check the workflows.

    Raises:
        SettingsError: a workflow uses an unknown task, or fixes what its task never takes; the
            text has file, line, key, node and mend.
    """
    entries = registry.entries()
    workflows = settings.workflow_definitions
    complaints = [
        complaint
        for name, workflow in workflows.items()
        for number, node in enumerate(workflow.nodes)
        for complaint in _check_node(node, ("workflows", name, "nodes", number), registry)
    ]
    if complaints:
        raise refuse(complaints, origins=settings.origins)
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


def _complaint(
    error: SettingsError, *, modules: Sequence[str], specs: Mapping[str, CommandSpec]
) -> Complaint:
    """Find the setting that the registry refused, and say so as for every other setting."""
    for number, module in enumerate(modules):
        key: Key = ("tasks", "modules", number)
        listed = f"`tasks.modules` lists '{module}', "
        if error.message.startswith(listed):
            why = error.message.removeprefix(listed).removesuffix(".")
            return Complaint(key, say_value(key, module, why=why), error.hint)
        if not _is_sound(modules[: number + 1], {}):
            return Complaint(key, f"{dotted(key)}: {error.message}", error.hint)
    name = next(name for name, spec in specs.items() if not _is_sound(modules, {name: spec}))
    key = _part_named(error.message, ("tasks", "commands", name), specs[name])
    is_named = error.message.startswith(dotted(key))
    text = error.message if is_named else f"{dotted(key)}: {error.message}"
    return Complaint(key, text, error.hint)


def _is_sound(modules: Sequence[str], specs: Mapping[str, CommandSpec]) -> bool:
    try:
        TaskRegistry(modules=modules, commands=specs)
    except SettingsError:
        return False
    return True


def _part_named(message: str, command: Key, spec: CommandSpec) -> Key:
    """Give the key of a command's part that a message begins with; else the command's own."""
    parts: list[Key] = [("argv",), ("env",), ("cwd",), ("params",)]
    parts += [("params", name) for name in spec.params]
    named = [(*command, *part) for part in parts if message.startswith(dotted((*command, *part)))]
    return max(named, key=lambda key: len(dotted(key)), default=command)


def _check_node(node: Node, key: Key, registry: TaskRegistry) -> Iterator[Complaint]:
    """Say what of a node can never work; a param it lacks may still come from the context."""
    entries = registry.entries()
    if node.task not in entries:
        where: Key = (*key, "task")
        text = say_value(where, node.task, why=f"an unknown task (node '{node.id}')")
        mend = nearest(node.task, entries) or f"Known here: {', '.join(entries)}."
        yield Complaint(where, text, mend)
        return
    schema = entries[node.task].params_schema
    known = schema.get("properties", {})
    for name, value in node.payload.items():
        where = (*key, "payload", name)
        if name not in known and schema.get("additionalProperties") is False:
            text = f"{dotted(where)} is no parameter of task '{node.task}' (node '{node.id}')."
            names = f"Its parameters: {', '.join(known) or 'none'}."
            yield Complaint(where, text, f"{nearest(name, known)} {names}".strip())
            continue
        mend = _mend_value(name, value, node.task, registry)
        if mend:
            why = f"which task '{node.task}' refuses (node '{node.id}')"
            yield Complaint(where, say_value(where, value, why=why), mend)


def _mend_value(name: str, value: object, task: str, registry: TaskRegistry) -> str:
    """Say what a param has to be like; nothing where it fits."""
    found = registry.get(task)
    schema = {**found.entry.params_schema, "required": []}
    try:
        check_params({name: value}, schema=schema, task=task)
        if found.command is not None:
            found.command.check_values({name: value})
    except InvalidArgumentsError as error:
        return error.hint.partition(" Call list_catalog")[0]  # no server runs that could answer
    return ""
