"""Which policies this version honours; what it does not, it refuses by name."""

from __future__ import annotations

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.errors import CapabilityError, InvalidArgumentsError, LimitExceededError

_PREFECTS_OWN = ("concurrency_limit", "retries", "retry_delay_seconds")
_FIXED_FOR_PREFECT = (
    "overlap_policy",
    "max_attempts",
    "retry_backoff_seconds",
    "missed_policy",
    "catchup_window_seconds",
    "timeout_seconds",
    "on_interrupt",
    "max_runs",
    "expires_at",
    "retries",
    "retry_delay_seconds",
)


def check_policies(
    policies: Policies, *, backend: Backend, durable: bool, longest_seconds: float
) -> None:
    """Refuse a policy that would be ignored, and a timeout over the operator's limit.

    Args:
        durable: Whether the job is kept; what is held in memory only runs once at most.
        longest_seconds: `limits.max_runtime_seconds`.

    Raises:
        CapabilityError: the policy is not honoured for this engine in this version.
        InvalidArgumentsError: a job that is not durable was to be retried.
        LimitExceededError: the timeout is over the limit.
    """
    usual = Policies()
    is_prefect = backend is Backend.PREFECT
    fixed = _FIXED_FOR_PREFECT if is_prefect else _PREFECTS_OWN
    for name in fixed:
        given, only = getattr(policies, name), getattr(usual, name)
        if given != only:
            msg = f"{name}={given!s} is not supported for {backend} in this version."
            shown = "out" if only is None else f"at its default, {only!s}"
            raise CapabilityError(msg, hint=f"Leave {name} {shown}.")
    if policies.max_attempts > 1 and not durable:
        msg = f"max_attempts={policies.max_attempts} with durable=false: it runs at most once."
        raise InvalidArgumentsError(msg, hint="Leave durable at true, or max_attempts at 1.")
    if policies.timeout_seconds is not None and policies.timeout_seconds > longest_seconds:
        msg = f"timeout_seconds={policies.timeout_seconds:g} is over the limit {longest_seconds:g}."
        hint = "Ask for less, or let the operator raise limits.max_runtime_seconds."
        raise LimitExceededError(msg, hint=hint, details={"limit": longest_seconds})
