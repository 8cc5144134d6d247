"""What a job does when a fire is late, overlaps, fails or is interrupted."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import Instant, Value

LONGEST_SECONDS = 366 * 86400
"""No window and no timeout is longer than a year."""


class MissedPolicy(StrEnum):
    """What becomes of fires that came due while no server ran."""

    SKIP = "skip"
    RUN_ONCE = "run_once"
    RUN_ALL = "run_all"


class OverlapPolicy(StrEnum):
    """What becomes of a fire while the job's previous run is not finished."""

    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    QUEUE_ALL = "queue_all"
    CANCEL_PREVIOUS = "cancel_previous"
    ALLOW = "allow"


class OnInterrupt(StrEnum):
    """What becomes of a run whose server died under it."""

    RERUN = "rerun"
    HOLD = "hold"


class Policies(Value):
    """The policies of one job, with the product's defaults.

    Attributes:
        on_interrupt: None means: rerun where the task is declared idempotent, else hold.
        timeout_seconds: None means: the task's own, at most `limits.max_runtime_seconds`.
        max_runs: Complete the job after this many scheduled fires; None means no end.
        expires_at: Complete the job at this instant; None means never.
        concurrency_limit: Prefect only: runs of the deployment at once.
        retries: Prefect only: retries of the whole flow run.
    """

    missed_policy: MissedPolicy = MissedPolicy.RUN_ONCE
    catchup_window_seconds: int = Field(default=86400, ge=10, le=LONGEST_SECONDS)
    overlap_policy: OverlapPolicy = OverlapPolicy.SKIP
    timeout_seconds: float | None = Field(default=None, gt=0, le=LONGEST_SECONDS)
    max_attempts: int = Field(default=1, ge=1, le=100)
    retry_backoff_seconds: float = Field(default=5, ge=0, le=86400)
    on_interrupt: OnInterrupt | None = None
    max_runs: int | None = Field(default=None, ge=1, le=1_000_000)
    expires_at: Instant | None = None
    concurrency_limit: int | None = Field(default=None, ge=1, le=10_000)
    retries: int = Field(default=0, ge=0, le=100)
    retry_delay_seconds: float = Field(default=10, ge=0, le=86400)
