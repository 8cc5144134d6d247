"""One slice of the settings per room; the field descriptions become the reference page."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, SecretStr

from mahavishnu_sched_mcp.settings.slice import (
    LOCAL_PROVIDER,
    Engine,
    Event,
    HostName,
    Name,
    PageOrigin,
    Period,
    Provider,
    Slice,
    WebUrl,
)


class SchedulerSettings(Slice):
    """Which engines there are and what happens when one is out."""

    apscheduler_enabled: bool = Field(default=True, description="run tasks inside the server")
    oneiric_queue_enabled: bool = Field(default=True, description="carry workflows by queues")
    default_queue_provider: Provider = Field(
        default=LOCAL_PROVIDER,
        description="sqlite | redis | nats | rabbitmq | kafka | cloudtasks | pubsub",
    )
    prefect_deployments_enabled: bool = Field(default=True, description="schedule deployments")
    prefect_server_url: WebUrl | None = Field(
        default=None, description="null = embedded server, started on first need"
    )
    on_outage: dict[Engine | Provider, Literal["reject", "hold"]] = Field(
        default_factory=dict, description="per engine or provider: reject (default) | hold"
    )
    fallback: dict[Engine, Engine] = Field(
        default_factory=dict,
        description="e.g. {prefect: oneiric, oneiric: apscheduler}; empty = refuse",
    )
    misfire_grace_seconds: float = Field(
        default=60, ge=0, description="seconds a fire may be late before it counts as missed"
    )


class PrefectSettings(Slice):
    """How the Prefect engine is reached."""

    api_key: SecretStr | None = Field(default=None, description="the key of Prefect Cloud")
    work_pool: str | None = Field(
        default=None, description="null = a pool of our own with an embedded worker"
    )
    ui: bool = Field(default=True, description="serve Prefect's UI with the embedded server")


class Repository(Slice):
    """A repository whose new commits start a workflow."""

    url: str = Field(description="what git can fetch from")
    branch: str = Field(default="main", description="the branch to look at")
    workflow: Name = Field(description="the workflow to enqueue")


class GitPollingSettings(Slice):
    """Repositories that are looked at for new commits."""

    repositories: tuple[Repository, ...] = Field(
        default=(), description="list of {url, branch, workflow}"
    )


class DeadLetterSettings(Slice):
    """What becomes of dead runs."""

    retry_after_seconds: Period | None = Field(
        default=None, description="seconds until a dead run is tried again; null = never"
    )
    keep_days: float = Field(default=30, gt=0, description="days until a dead run is removed")


class Webhook(Slice):
    """An address that hears of runs."""

    url: WebUrl = Field(description="the address that gets a POST")
    secret: SecretStr | None = Field(default=None, description="the key that signs the body")
    on: tuple[Event, ...] = Field(
        default=("failed",), description="failed | recovered | missed | paused"
    )


class NotificationSettings(Slice):
    """Who hears of failed runs."""

    webhooks: tuple[Webhook, ...] = Field(
        default=(), description="list of {url, secret, on: [failed, recovered, missed, paused]}"
    )


class InternalTaskSettings(Slice):
    """How often the server's own chores run; null switches one off."""

    health_check_seconds: Period | None = Field(
        default=30, description="seconds between looks at ledger, engines, disk and clock"
    )
    metrics_collection_seconds: Period | None = Field(
        default=60, description="seconds between samples of the counters"
    )
    cache_cleanup_seconds: Period | None = Field(
        default=3600, description="seconds between removals of what retention lets go"
    )
    dlq_processing_seconds: Period | None = Field(
        default=300, description="seconds between looks at the dead letters"
    )
    secret_rotation_check_seconds: Period | None = Field(
        default=86400, description="seconds between looks at the age of secrets"
    )
    git_polling_seconds: Period | None = Field(
        default=None, description="seconds between looks for new commits"
    )


class LimitSettings(Slice):
    """What nobody may exceed."""

    min_interval_seconds: float = Field(
        default=1, gt=0, description="seconds; the shortest period of a trigger"
    )
    max_jobs: int = Field(default=10_000, ge=1, description="unfinished jobs")
    max_concurrent_runs: int = Field(default=16, ge=1, description="runs at once, in this server")
    max_payload_bytes: int = Field(
        default=65_536, ge=1, description="bytes of a job's params as JSON"
    )
    max_output_bytes: int = Field(
        default=262_144, ge=0, description="bytes kept of a run's output; the rest is cut"
    )
    max_runtime_seconds: float = Field(
        default=3600, gt=0, description="seconds; the longest timeout of a run"
    )
    max_overlap: int = Field(
        default=5, ge=1, description="runs of one job at once with overlap_policy allow"
    )
    max_queued_per_job: int = Field(
        default=100, ge=1, description="waiting runs of one job with overlap_policy queue_all"
    )
    max_pending_per_queue: int = Field(
        default=10_000, ge=1, description="messages that wait in one queue"
    )
    default_expiry_days: float | None = Field(
        default=None, gt=0, description="days until a job without expires_at ends; null = never"
    )


class RetentionSettings(Slice):
    """How long finished runs are kept."""

    runs_days: float = Field(default=30, gt=0, description="days a finished run is kept")
    runs_per_job: int = Field(default=1000, ge=1, description="finished runs kept of each job")


class SecretSettings(Slice):
    """Where a secret comes from and how old it may be."""

    source: str = Field(
        pattern=r"^(env|file|keyring):.+", description="env:NAME, file:PATH or keyring:NAME"
    )
    max_age_days: float | None = Field(default=None, gt=0, description="days until it is old")
    last_rotated: date | None = Field(default=None, description="a date like 2026-11-01")
    rotate_with: str | None = Field(default=None, description="the task that renews it")


class HttpSettings(Slice):
    """Who may reach the HTTP transport."""

    token: SecretStr | None = Field(
        default=None, description="null = made at first start, file mode 0600"
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        default=(), description="host names beside the loopback ones, without port"
    )
    allowed_origins: tuple[PageOrigin, ...] = Field(
        default=(), description="origins of browser pages that may call"
    )
