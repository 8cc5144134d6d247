"""The worker, in its own process: runs flows of the operator's list in one event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, override

from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelled
from prefect.workers.base import (
    BaseJobConfiguration,
    BaseVariables,
    BaseWorker,
    BaseWorkerResult,
)

from mahavishnu_sched_mcp.backends.prefect.deployment_request import POOL_TYPE
from mahavishnu_sched_mcp.backends.prefect.guard import end_soon
from mahavishnu_sched_mcp.backends.prefect.plan import RETRIES_VARIABLE, RETRY_DELAY_VARIABLE
from mahavishnu_sched_mcp.backends.prefect.punctuality import wait_until_due
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.errors import ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from anyio.abc import TaskStatus
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

CANCEL_POLL_SECONDS = 1.0


class InProcessResult(BaseWorkerResult):
    """How handing over a flow run ended; the run's own state says how the flow ended."""


class InProcessWorker(BaseWorker[BaseJobConfiguration, BaseVariables, InProcessResult]):
    """Runs flows inside this process: no start of a Python for each run.

    Args:
        pool: The work pool to take runs from.
        owner: The lasting name of the data folder, written on every run taken.
        entrypoints: The dotted paths that may run; others are refused, whoever deployed them.
        limit: The most runs at once.
    """

    type = POOL_TYPE
    job_configuration = BaseJobConfiguration
    job_configuration_variables = BaseVariables

    def __init__(self, pool: str, *, owner: str, entrypoints: Sequence[str], limit: int) -> None:
        # Not Prefect's own limit: a run whose deployment is gone never gives its slot back.
        super().__init__(pool, name=f"mahavishnu-{owner}")
        self._slots = asyncio.Semaphore(limit)
        self._clock = SystemClock()
        self._owner = owner
        self._entrypoints = frozenset(entrypoints)

    @override
    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,
        task_status: TaskStatus[Any] | None = None,
    ) -> InProcessResult:
        """Run one flow run to its end."""
        flow = await self._load(flow_run, configuration)
        if task_status is not None:
            task_status.started(f"{self._owner}:{os.getpid()}")
        await self._watched(flow_run, self._execution(flow, flow_run))
        return InProcessResult(status_code=0, identifier=str(flow_run.id))

    async def _load(self, flow_run: FlowRun, configuration: BaseJobConfiguration) -> Flow[..., Any]:
        if flow_run.deployment_id is None:
            msg = f"Flow run '{flow_run.id}' belongs to no deployment."
            raise ForbiddenError(msg, hint="Deploy the flow with schedule_deployment.")
        deployment = await self.client.read_deployment(flow_run.deployment_id)
        entrypoint = deployment.entrypoint or ""
        if entrypoint not in self._entrypoints:
            msg = f"'{entrypoint}' is not one of the operator's flows."
            raise ForbiddenError(msg, hint="Add it to the setting flows, and restart.")
        flow: Flow[..., Any] = await asyncio.to_thread(load_flow_from_entrypoint, entrypoint, False)  # noqa: FBT003 - Prefect's signature
        retries = int(configuration.env.get(RETRIES_VARIABLE) or 0)
        if not retries:
            return flow  # with the retries its author gave it
        delay = float(configuration.env.get(RETRY_DELAY_VARIABLE) or 0)
        return flow.with_options(retries=retries, retry_delay_seconds=delay)

    async def _execution(self, flow: Flow[..., Any], flow_run: FlowRun) -> None:
        # Before it takes a slot: one that only waits must not hold up one that is due.
        has_waited = await wait_until_due(flow_run.expected_start_time, clock=self._clock)
        if has_waited and await self._is_over(flow_run):
            return
        async with self._slots:
            if flow.isasync:
                running: Any = run_flow(
                    flow, flow_run=flow_run, parameters=flow_run.parameters, return_type="state"
                )
                await running
            else:
                # A thread cannot be stopped: a sync flow runs to its end.
                await asyncio.to_thread(
                    run_flow, flow, flow_run, flow_run.parameters, None, "state"
                )

    async def _watched(self, flow_run: FlowRun, execution: Coroutine[Any, Any, Any]) -> None:
        """Wait for a run's end, and end it when someone asks for it on the server."""
        work = asyncio.ensure_future(execution)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=CANCEL_POLL_SECONDS)
                if not work.done() and await self._is_cancelling(flow_run):
                    await self._cancel(flow_run, work)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _is_cancelling(self, flow_run: FlowRun) -> bool:
        state = await self._state(flow_run)
        return state is not None and state.is_cancelling()

    async def _is_over(self, flow_run: FlowRun) -> bool:
        state = await self._state(flow_run)
        return state is not None and state.is_final()

    async def _state(self, flow_run: FlowRun) -> State[Any] | None:
        try:
            current = await self.client.read_flow_run(flow_run.id)
        except Exception as error:  # noqa: BLE001 - guard of the loop: a silent server ends no run
            self._logger.warning("Could not ask about flow run %s: %s", flow_run.id, error)
            return None
        return current.state

    async def _cancel(self, flow_run: FlowRun, work: asyncio.Future[Any]) -> None:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        state: State[Any] = Cancelled(message="cancelled by request")
        await self.client.set_flow_run_state(flow_run.id, state, force=True)


def serve(
    *, pool: str, owner: str, entrypoints: Sequence[str], limit: int, ready_file: Path
) -> int:
    """Take runs from a work pool until told to end.

    Args:
        pool: The work pool.
        owner: The lasting name of the data folder.
        entrypoints: The dotted paths that may run.
        limit: The most runs at once.
        ready_file: Made when the worker takes work.
    """
    worker = InProcessWorker(pool, owner=owner, entrypoints=entrypoints, limit=limit)

    def note(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        if worker.is_setup:
            ready_file.write_text(str(os.getpid()), encoding="utf-8")

    asyncio.run(_work(worker, note))
    return 0


async def _work(worker: InProcessWorker, note: Any) -> None:
    task = asyncio.ensure_future(worker.start(printer=note))

    def end() -> None:
        end_soon()
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    await asyncio.gather(task, return_exceptions=True)
