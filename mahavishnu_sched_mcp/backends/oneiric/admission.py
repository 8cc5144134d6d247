"""What this engine refuses for good, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.job import JobKind
from mahavishnu_sched_mcp.errors import (
    CapabilityError,
    InvalidArgumentsError,
    UnknownProviderError,
    UnknownWorkflowError,
    nearest,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mahavishnu_sched_mcp.domain.catalog import TaskEntry
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.workflow import Workflow

_log = structlog.get_logger()


class Admission:
    """Checks a target before the engine sees it: Oneiric itself finds most faults at run time."""

    def __init__(
        self,
        *,
        workflows: Mapping[str, Workflow],
        tasks: Mapping[str, TaskEntry],
        providers: Collection[str],
    ) -> None:
        self._workflows = workflows
        self._tasks = tasks
        self._providers = providers

    def sound_workflows(self) -> dict[str, Workflow]:
        """Give the workflows that can run, and log what is wrong with the others."""
        sound = {}
        for name, workflow in self._workflows.items():
            if problems := self._problems(workflow):
                _log.warning("workflow_left_out", workflow=name, problems=problems)
            else:
                sound[name] = workflow
        return sound

    def check_kind(self, job: Job) -> None:
        """Refuse what is no workflow.

        Raises:
            CapabilityError: the target is a task or a deployment.
        """
        if job.definition.kind is not JobKind.WORKFLOW:
            kind, target = job.definition.kind.value, job.definition.target
            msg = f"Oneiric runs workflows, and '{target}' is a {kind}."
            raise CapabilityError(msg, hint="`classify_task` names the engine and the call for it.")

    def check_target(self, workflow: str, *, provider: str) -> None:
        """Refuse a workflow or a queue that this server does not have.

        Raises:
            UnknownWorkflowError: no workflow of the catalog has this name.
            InvalidArgumentsError: its declaration is not sound.
            UnknownProviderError: no queue of this server has this name.
        """
        found = self._workflows.get(workflow)
        if found is None:
            msg = f"No workflow is named '{workflow}'."
            raise UnknownWorkflowError(msg, hint=_alternatives(workflow, self._workflows))
        if problems := self._problems(found):
            msg = f"Workflow '{workflow}' is not sound: {'; '.join(problems)}."
            raise InvalidArgumentsError(msg, hint=f"Mend `workflows.{workflow}` in the settings.")
        if provider not in self._providers:
            msg = f"No queue of this server is named '{provider}'."
            raise UnknownProviderError(msg, hint=_alternatives(provider, self._providers))

    def _problems(self, workflow: Workflow) -> list[str]:
        return workflow.problems(set(self._tasks))


def _alternatives(name: str, known: Collection[str]) -> str:
    return f"{nearest(name, known)} `list_catalog` shows all.".strip()
