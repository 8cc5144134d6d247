"""Which settings have no effect in this version; a test keeps the list true."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.settings.model import Settings
from mahavishnu_sched_mcp.settings.slice import LOCAL_PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_BROKER = "only the sqlite queue is there"
_NO_CHORE = "this chore does not run"

IDLE = {
    "ledger_url": "the ledger is SQLite in the data dir",
    "schedulers.fallback": "a call for an engine that is out is refused",
    "queues.signing_key": "no worker runs on another machine",
    "queues.redis": _NO_BROKER,
    "queues.nats": _NO_BROKER,
    "queues.rabbitmq": _NO_BROKER,
    "queues.kafka": _NO_BROKER,
    "queues.cloudtasks": _NO_BROKER,
    "queues.pubsub": _NO_BROKER,
    "git_polling.repositories": "repositories are not polled",
    "dead_letters.retry_after_seconds": "dead runs wait for `replay_run`",
    "dead_letters.keep_days": "dead runs are kept as `retention` says",
    "notifications.webhooks": "nobody is called",
    "internal_tasks.dlq_processing_seconds": _NO_CHORE,
    "internal_tasks.secret_rotation_check_seconds": _NO_CHORE,
    "internal_tasks.git_polling_seconds": _NO_CHORE,
    "limits.max_pending_per_queue": "waiting messages are not counted",
    "limits.default_expiry_days": "jobs without expires_at do not end",
    "tasks.http": "HTTP tasks cannot be scheduled",
    "secrets": "secrets are not resolved",
}
"""Keys without effect whatever their value, and what holds instead."""


def unsupported(settings: Settings) -> list[str]:
    """Name what is set and has no effect in this version, one sentence each.

    Nothing is ignored silently: the start logs each sentence and `get_status` shows them.

    Args:
        settings: What the operator decided.
    """
    return [f"{key} has no effect in this version: {why}." for key, why in _idle(settings)]


def _idle(settings: Settings) -> Iterator[tuple[str, str]]:
    default = type(settings)()
    for key, why in IDLE.items():
        if _at(settings, key) != _at(default, key):
            yield key, why
    provider = settings.schedulers.default_queue_provider
    if provider != LOCAL_PROVIDER:
        why = f"'{provider}' is refused, so name queue_provider='sqlite' in each call"
        yield "schedulers.default_queue_provider", why
    for engine, choice in settings.schedulers.on_outage.items():
        if choice == "hold":
            yield f"schedulers.on_outage.{engine}", "calls are rejected, not held"
    for name, command in settings.tasks.commands.items():
        if command.approval == "required":
            yield f"tasks.commands.{name}.approval", "jobs on it are refused"


def _at(settings: Settings, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)
