"""The tree of errors: each has a code, a message and a hint that says how to mend it.

SchedulerError
├── InvalidArgumentsError      invalid_arguments       (ValueError)
├── InvalidTriggerError        invalid_trigger         (ValueError)
├── UnknownTaskError           unknown_task            (LookupError)
├── UnknownWorkflowError       unknown_workflow        (LookupError)
├── UnknownFlowError           unknown_flow            (LookupError)
├── UnknownProviderError       unknown_provider        (LookupError)
├── JobNotFoundError           job_not_found           (LookupError)
├── RunNotFoundError           run_not_found           (LookupError)
├── IdConflictError            id_conflict
├── IdempotencyConflictError   idempotency_conflict
├── LimitExceededError         limit_exceeded
├── BackendUnavailableError    backend_unavailable     (ConnectionError)
├── CapabilityError            capability_unsupported
├── InvalidStateError          invalid_state
├── ApprovalRequiredError      approval_required       (PermissionError)
├── ForbiddenError             forbidden               (PermissionError)
├── ShuttingDownError          shutting_down
├── StorageFullError           storage_full            (OSError)
├── LedgerCorruptError         ledger_corrupt
├── SettingsError              invalid_settings        (ValueError; stops the start)
└── InternalError              internal_error
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class SchedulerError(Exception):
    """A refusal: what was refused with its value, and how to mend it.

    Attributes:
        message: What was refused and why, one sentence, with the value.
        hint: How to mend it; names a tool, a setting or a command that exists. May be empty.
        details: JSON values for machines (limits, allowed values); never a secret or a path.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Keep the three parts; `str()` gives message and hint in one line."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})

    def __str__(self) -> str:
        """Say the message, then the mend."""
        return f"{self.message} {self.hint}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Give the parts as JSON values."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


class InvalidArgumentsError(SchedulerError, ValueError):
    """An argument has the wrong type, range or name."""

    code = "invalid_arguments"


class InvalidTriggerError(SchedulerError, ValueError):
    """A trigger cannot be read, never fires, or fires too often."""

    code = "invalid_trigger"


class UnknownTaskError(SchedulerError, LookupError):
    """No task of the catalog has this name."""

    code = "unknown_task"


class UnknownWorkflowError(SchedulerError, LookupError):
    """No workflow of the catalog has this name."""

    code = "unknown_workflow"


class UnknownFlowError(SchedulerError, LookupError):
    """No flow or workflow of the catalog has this name."""

    code = "unknown_flow"


class UnknownProviderError(SchedulerError, LookupError):
    """No queue provider has this name."""

    code = "unknown_provider"


class JobNotFoundError(SchedulerError, LookupError):
    """No job has this id."""

    code = "job_not_found"


class RunNotFoundError(SchedulerError, LookupError):
    """No run has this id."""

    code = "run_not_found"


class IdConflictError(SchedulerError):
    """A job with this id exists and is defined differently."""

    code = "id_conflict"


class IdempotencyConflictError(SchedulerError):
    """This idempotency key was used with other arguments."""

    code = "idempotency_conflict"


class LimitExceededError(SchedulerError):
    """A limit of the operator is reached; nothing was accepted."""

    code = "limit_exceeded"


class BackendUnavailableError(SchedulerError, ConnectionError):
    """An engine or its server does not answer, or is switched off."""

    code = "backend_unavailable"


class CapabilityError(SchedulerError):
    """The engine cannot do what was asked, and says so instead of ignoring it."""

    code = "capability_unsupported"


class InvalidStateError(SchedulerError):
    """The job or run is in a state that does not allow this."""

    code = "invalid_state"


class ApprovalRequiredError(SchedulerError, PermissionError):
    """The operator has to approve the job first."""

    code = "approval_required"


class ForbiddenError(SchedulerError, PermissionError):
    """The caller may not do this."""

    code = "forbidden"


class ShuttingDownError(SchedulerError):
    """The server is stopping and takes no new calls."""

    code = "shutting_down"


class StorageFullError(SchedulerError, OSError):
    """The disk has no room; nothing was accepted."""

    code = "storage_full"


class LedgerCorruptError(SchedulerError):
    """The ledger cannot be trusted; nothing is written to it."""

    code = "ledger_corrupt"


class SettingsError(SchedulerError, ValueError):
    """The operator's settings are wrong: file, line, key and mend are in the text."""

    code = "invalid_settings"


class InternalError(SchedulerError):
    """A defect of this product; details are in the log only."""

    code = "internal_error"


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name nearest to a misspelt one, as a sentence, or say nothing.

    Args:
        name: What was asked for.
        known: The names that exist.
    """
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""
