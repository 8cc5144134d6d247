"""What passes between the ledger's words and Prefect's, as plain values."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field

from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value

RUN_TAG = "mahavishnu-run:"
JOB_TAG = "mahavishnu-job:"
NODE_TAG = "mahavishnu-node:"
WORKFLOW_ENTRYPOINT = "mahavishnu_sched_mcp.flows.run_workflow"


class DeploymentPlan(Value):
    """A deployment as the ledger wants it.

    Attributes:
        schedule: As Prefect's API takes it, or None for a deployment without schedule.
        parameter_schema: Empty where the flow's parameters are known to the flow only.
        environment: What the worker hands to the run.
    """

    flow_name: str
    name: str
    entrypoint: str
    description: str | None
    tags: tuple[str, ...]
    parameters: JsonObject
    parameter_schema: JsonObject
    schedule: JsonObject | None
    is_paused: bool
    concurrency_limit: int | None
    work_pool: str
    environment: dict[str, str] = Field(default_factory=dict)


class FlowRunRecord(Value):
    """A flow run as the server has it.

    Attributes:
        state_type: SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, CRASHED,
            PAUSED or CANCELLING.
        state_name: The finer word: Late, TimedOut, Skipped, ...
    """

    id: str
    deployment_id: str | None
    state_type: str
    state_name: str
    message: str = ""
    expected_start: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    run_count: int = 0
    tags: tuple[str, ...] = ()
    infrastructure: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether it can still change by itself."""
        return self.state_type in {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}

    @property
    def run_id(self) -> str | None:
        """Ours, where we asked for it."""
        found = [tag for tag in self.tags if tag.startswith(RUN_TAG)]
        return found[0].removeprefix(RUN_TAG) if found else None


class TaskRunRecord(Value):
    """A task run as the server has it: a node of a workflow."""

    id: str
    name: str
    state_type: str
    state_name: str
    message: str = ""
    started_at: Instant | None = None
    finished_at: Instant | None = None
    run_count: int = 0


class Addresses(Value):
    """Where people look.

    Attributes:
        ui: The UI's address, or None where there is none.
    """

    ui: str | None

    def deployment(self, deployment_id: str) -> str | None:
        """Give the page of a deployment."""
        return None if self.ui is None else f"{self.ui}/deployments/deployment/{deployment_id}"

    def flow_run(self, flow_run_id: str) -> str | None:
        """Give the page of a flow run."""
        return None if self.ui is None else f"{self.ui}/runs/flow-run/{flow_run_id}"


def api_address(server_url: str) -> str:
    """Give the API's address of a server, with `/api` where the operator left it out."""
    trimmed = server_url.rstrip("/")
    return trimmed if "/api" in urlsplit(trimmed).path else f"{trimmed}/api"


def ui_address(api_url: str) -> str:
    """Give the UI's address that belongs to an API's, Prefect Cloud's too."""
    parts = urlsplit(api_url)
    if parts.hostname == "api.prefect.cloud":
        path = parts.path.removeprefix("/api")
        path = path.replace("/accounts/", "/account/").replace("/workspaces/", "/workspace/")
        return f"https://app.prefect.cloud{path}"
    return api_url.removesuffix("/api")
