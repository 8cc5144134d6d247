"""The Prefect engine behind the scheduler's protocol."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.prefect.installation import Installation
from mahavishnu_sched_mcp.backends.prefect.life import EngineLife
from mahavishnu_sched_mcp.backends.prefect.mirror import RunMirror
from mahavishnu_sched_mcp.backends.prefect.plan import Planner, deployment_name
from mahavishnu_sched_mcp.backends.prefect.settlement import Settlement
from mahavishnu_sched_mcp.domain.engine import Backend, Capabilities, Receipt
from mahavishnu_sched_mcp.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mahavishnu_sched_mcp.backends.prefect.api import ServerClient
    from mahavishnu_sched_mcp.backends.protocol import Dispatch, MirrorPort
    from mahavishnu_sched_mcp.domain.catalog import FlowEntry
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.engine import Health
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.run import Run
    from mahavishnu_sched_mcp.domain.workflow import Workflow


class PrefectBackend:
    """Deployments on a Prefect server, embedded or the user's own.

    Args:
        data_dir: The product's data folder; ours is `prefect/` in it.
        config_path: The operator's settings, for the flows; None for the default place.
        flows: The operator's Prefect flows, by name.
        workflows: The operator's workflows, by name.
        mirror: Takes the engine's runs into the ledger.
        clock: The wall.
        server_url: The user's own server, or None for an embedded one.
        api_key: Of the user's own server.
        ui: Whether the embedded server serves its UI.
        work_pool: The pool for jobs that name none; None for one of our own.
        grace: How late a run may be and still start as if in time.
        max_output_bytes: How much of what a flow logged is kept as its output.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        config_path: Path | None,
        flows: Mapping[str, FlowEntry],
        workflows: Mapping[str, Workflow],
        mirror: MirrorPort,
        clock: Clock,
        server_url: str | None,
        api_key: str | None,
        ui: bool,
        work_pool: str | None,
        grace: timedelta = timedelta(seconds=60),
        max_output_bytes: int = 262_144,
    ) -> None:
        self._planner = Planner(flows=flows, workflows=workflows)
        self._clock = clock
        self._mirror = RunMirror(
            port=mirror, clock=clock, workflows=workflows, max_output_bytes=max_output_bytes
        )
        self._installation = Installation(
            data_dir=data_dir,
            config_path=config_path,
            server_url=server_url,
            api_key=api_key,
            ui=ui,
            work_pool=work_pool,
            entrypoints=self._planner.entrypoints,
            before_work=Settlement(port=mirror, clock=clock, grace=grace).settle,
        )
        self._life = EngineLife(self._installation, look=self._look, clock=clock)

    @property
    def name(self) -> Backend:
        """Which engine it is."""
        return Backend.PREFECT

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return Capabilities(makes_own_fires=True)

    def health(self) -> Health:
        """Say how it is, from memory."""
        return self._life.health()

    async def ensure_started(self) -> None:
        """Start server and worker where they are not yet, and return when both are ready.

        Raises:
            BackendUnavailableError: it could not start; a later call tries again.
        """
        await self._life.ensure_started()

    async def stop(self) -> None:
        """End loops, worker and server. Idempotent; also valid before a start."""
        await self._life.stop()

    async def apply(self, job: Job) -> Receipt:
        """Make the deployment agree with the job as it stands.

        Raises:
            BackendUnavailableError: not done; try again later with the same job.
            SchedulerError: Prefect refuses this job for good.
        """
        if job.state.is_over:
            return await self._remove(job)
        plan = self._planner.plan(job, work_pool=self._installation.pool, now=self._clock.now())
        await self._life.ensure_started()
        reference = await self._client.put_deployment(plan)
        url = self._installation.addresses.deployment(reference["deployment_id"])
        return Receipt(reference={**reference, "url": url}, at=self._clock.now())

    async def dispatch(self, work: Dispatch) -> Receipt:
        """Start one run of a deployment; the same `run_id` again gives the same run.

        Raises:
            BackendUnavailableError: not known to be handed over; dispatch again later.
            InvalidArgumentsError: Prefect refuses the parameters.
        """
        await self._life.ensure_started()
        flow_run_id = await self._create_run(work)
        if flow_run_id is None:
            msg = f"Prefect has no deployment for job '{work.job_id}' any more."
            raise BackendUnavailableError(
                msg, hint="Deploy it again with pause_job and resume_job, then dispatch."
            )
        url = self._installation.addresses.flow_run(flow_run_id)
        return Receipt(reference={"flow_run_id": flow_run_id, "url": url}, at=self._clock.now())

    async def cancel(self, run: Run) -> None:
        """Stop a run, also one that still waits; unknown ones are ignored.

        An async flow stops within seconds. A sync flow runs to its end: a thread cannot be
        stopped.

        Raises:
            BackendUnavailableError: not done; try again later.
        """
        await self._life.ensure_started()
        known = run.reference.get("flow_run_id")
        if known is None:
            for found in await self._client.runs.read(run_id=run.run_id):
                await self._client.runs.cancel(found.id)
        else:
            await self._client.runs.cancel(str(known))

    @property
    def _client(self) -> ServerClient:
        return self._installation.client

    async def _remove(self, job: Job) -> Receipt:
        known = job.reference.get("deployment_id")
        if known is None and job.applied_revision == 0:
            # The engine never confirmed it, yet may have it: its names tell.
            await self._life.ensure_started()
            known = await self._client.find_deployment(
                job.definition.target, deployment_name(job.job_id)
            )
        if known is not None:
            await self._life.ensure_started()
            await self._client.delete_deployment(str(known))
        return Receipt(reference=dict(job.reference), at=self._clock.now())

    async def _create_run(self, work: Dispatch) -> str | None:
        parameters = self._planner.parameters(work.target, work.params)
        known = work.reference.get("deployment_id")
        runs = self._client.runs
        if known is not None:
            made = await runs.create(str(known), parameters=parameters, run_id=work.run_id)
            if made is not None:
                return made
        # The server's database may have been made anew since: the names still tell.
        found = await self._client.find_deployment(work.target, deployment_name(work.job_id))
        if found is None:
            return None
        return await runs.create(found, parameters=parameters, run_id=work.run_id)

    async def _look(self) -> None:
        """Take one look at the server's runs (called about once a second)."""
        addresses = self._installation.addresses
        if not await self._mirror.pass_once(self._client, addresses=addresses):
            await self._client.check()
