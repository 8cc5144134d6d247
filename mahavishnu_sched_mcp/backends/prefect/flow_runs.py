"""Flow runs on the server: made, read and ended in the ledger's words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    LogFilter,
    LogFilterFlowRunId,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.sorting import FlowRunSort, LogSort, TaskRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling, Crashed, Scheduled

from mahavishnu_sched_mcp.backends.prefect.log import own_text
from mahavishnu_sched_mcp.backends.prefect.records import (
    NODE_TAG,
    RUN_TAG,
    FlowRunRecord,
    TaskRunRecord,
)
from mahavishnu_sched_mcp.backends.prefect.states import SKIPPED_NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, Log, State, TaskRun

    from mahavishnu_sched_mcp.domain.value import JsonObject

PAGE = 200
MOST_PAGES = 25
LOG_PAGES = 5
WORKER_LOGGER = "prefect.flow_runs.worker"


class Ask(Protocol):
    """One bounded call of the client (`ServerClient.ask`)."""

    async def __call__[Answer](
        self, question: Callable[[PrefectClient], Awaitable[Answer]]
    ) -> Answer:
        """Ask one thing."""
        ...


class FlowRuns:
    """The flow runs of our deployments.

    Args:
        ask: Makes one call.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def create(
        self, deployment_id: str, *, parameters: JsonObject, run_id: str
    ) -> str | None:
        """Make a run that starts at once; the same `run_id` again gives the same run.

        Returns:
            The flow run's id, or None where the deployment is gone.
        """
        try:
            run = await self._ask(
                lambda client: client.create_flow_run_from_deployment(
                    UUID(deployment_id),
                    parameters=parameters,
                    idempotency_key=run_id,
                    tags=[f"{RUN_TAG}{run_id}"],
                )
            )
        except ObjectNotFound:
            return None
        return str(run.id)

    async def read(  # one filter of the API each
        self,
        *,
        deployments: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        work_pool: str | None = None,
        state_types: Sequence[str] | None = None,
        due_after: datetime | None = None,
        due_before: datetime | None = None,
        ended_after: datetime | None = None,
        run_id: str | None = None,
    ) -> list[FlowRunRecord]:
        """Read the flow runs that meet all conditions, oldest first."""
        chosen: dict[str, Any] = {}
        if deployments is not None:
            chosen["deployment_id"] = FlowRunFilterDeploymentId(any_=_ids(deployments))
        if ids is not None:
            chosen["id"] = FlowRunFilterId(any_=_ids(ids))
        if state_types is not None:
            chosen["state"] = FlowRunFilterState(
                type=FlowRunFilterStateType.model_validate({"any_": list(state_types)})
            )
        if due_after is not None or due_before is not None:
            chosen["expected_start_time"] = FlowRunFilterExpectedStartTime.model_validate(
                {"after_": due_after, "before_": due_before}
            )
        if ended_after is not None:
            chosen["end_time"] = FlowRunFilterEndTime.model_validate({"after_": ended_after})
        if run_id is not None:
            chosen["tags"] = FlowRunFilterTags(all_=[f"{RUN_TAG}{run_id}"])
        pool = (
            None if work_pool is None else WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool]))
        )
        return await self._read_pages(FlowRunFilter(**chosen), pool)

    async def read_nodes(self, flow_run_id: str) -> list[TaskRunRecord]:
        """Read the task runs of a flow run, in the order of their start."""
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=_ids([flow_run_id])))
        found = await self._ask(
            lambda client: client.read_task_runs(
                flow_run_filter=chosen, sort=TaskRunSort.EXPECTED_START_TIME_ASC, limit=PAGE
            )
        )
        return [_task_record(run) for run in found]

    async def read_log(self, flow_run_id: str, *, nodes: Sequence[TaskRunRecord]) -> str:
        """Read what a flow run and its nodes logged, one line an entry, with its node's name.

        Prefect's own entries and the frames of tracebacks are left out.

        Args:
            flow_run_id: The flow run.
            nodes: Its task runs.
        """
        names = {node.id: f"[{node.name}] " for node in nodes}
        chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=_ids([flow_run_id])))
        lines: list[str] = []
        for page in range(LOG_PAGES):
            question = partial(_read_log, chosen=chosen, offset=page * PAGE)
            found = await self._ask(question)
            lines += [
                f"{entry.timestamp:%H:%M:%S} {names.get(str(entry.task_run_id), '')}{text}"
                for entry in found
                if entry.name != WORKER_LOGGER and (text := own_text(entry.message))
            ]
            if len(found) < PAGE:
                break
        return "\n".join(lines)

    async def cancel(self, flow_run_id: str) -> None:
        """Stop a flow run: one that waits at once, a running one by its worker. Idempotent."""
        await self._set(flow_run_id, Cancelling(message="cancelled by request"))

    async def skip(self, flow_run_id: str) -> None:
        """Say that a waiting flow run will never start."""
        message = "missed while nothing could run it"
        await self._set(flow_run_id, Cancelled(name=SKIPPED_NAME, message=message))

    async def abandon(self, flow_run_id: str) -> None:
        """Say that a flow run ended with the process that ran it."""
        await self._set(flow_run_id, Crashed(message="its worker process ended"), is_forced=True)

    async def hand_back(self, run: FlowRunRecord) -> None:
        """Let a flow run that a worker took and never started wait for the next worker."""
        state: State[Any] = Scheduled(scheduled_time=run.expected_start)
        await self._set(run.id, state, is_forced=True)

    async def _read_pages(
        self, chosen: FlowRunFilter, pool: WorkPoolFilter | None
    ) -> list[FlowRunRecord]:
        records: list[FlowRunRecord] = []
        for page in range(MOST_PAGES):
            question = partial(_read_runs, chosen=chosen, pool=pool, offset=page * PAGE)
            found = await self._ask(question)
            records += [_flow_record(run) for run in found]
            if len(found) < PAGE:
                break
        return records

    async def _set(self, flow_run_id: str, state: State[Any], *, is_forced: bool = False) -> None:
        try:
            await self._ask(
                lambda client: client.set_flow_run_state(flow_run_id, state, force=is_forced)
            )
        except ObjectNotFound:
            return


async def _read_runs(
    client: PrefectClient, *, chosen: FlowRunFilter, pool: WorkPoolFilter | None, offset: int
) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=chosen,
        work_pool_filter=pool,
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=PAGE,
        offset=offset,
    )


async def _read_log(client: PrefectClient, *, chosen: LogFilter, offset: int) -> list[Log]:
    return await client.read_logs(chosen, limit=PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC)


def _ids(texts: Sequence[str]) -> list[UUID]:
    return [UUID(text) for text in texts]


def _flow_record(run: FlowRun) -> FlowRunRecord:
    state = run.state
    due = run.expected_start_time or run.start_time or run.created
    if due is None:
        msg = f"flow run {run.id} has no time at all"
        raise ValueError(msg)
    return FlowRunRecord(
        id=str(run.id),
        deployment_id=None if run.deployment_id is None else str(run.deployment_id),
        state_type="PENDING" if state is None else state.type.value,
        state_name="Pending" if state is None else (state.name or ""),
        message="" if state is None else (state.message or ""),
        expected_start=due,
        started_at=run.start_time,
        finished_at=run.end_time,
        run_count=run.run_count,
        tags=tuple(run.tags),
        infrastructure=run.infrastructure_pid,
    )


def _task_record(run: TaskRun) -> TaskRunRecord:
    state = run.state
    nodes = [tag for tag in run.tags if tag.startswith(NODE_TAG)]
    return TaskRunRecord(
        id=str(run.id),
        # Prefect names a task run only when it starts; the tag is there before.
        name=nodes[0].removeprefix(NODE_TAG) if nodes else run.name,
        state_type="PENDING" if state is None else state.type.value,
        state_name="Pending" if state is None else (state.name or ""),
        message="" if state is None else (state.message or ""),
        started_at=run.start_time,
        finished_at=run.end_time,
        run_count=run.run_count,
    )
