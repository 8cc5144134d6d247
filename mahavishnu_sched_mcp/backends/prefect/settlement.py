"""What an earlier worker left on the server is put in order before a new one takes anything."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.backends.prefect.overdue import to_skip

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from mahavishnu_sched_mcp.backends.prefect.api import ServerClient
    from mahavishnu_sched_mcp.backends.prefect.installation import Installation
    from mahavishnu_sched_mcp.backends.prefect.records import FlowRunRecord
    from mahavishnu_sched_mcp.backends.protocol import MirrorPort
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job

logger = structlog.get_logger()


class Settlement:
    """Ends what nobody runs any more, and applies the policies for missed fires.

    Args:
        port: Knows the jobs.
        clock: Says what is overdue.
        grace: How late a run may be and still start as if in time.
    """

    def __init__(self, *, port: MirrorPort, clock: Clock, grace: timedelta) -> None:
        self._port = port
        self._clock = clock
        self._grace = grace

    async def settle(self, installation: Installation) -> None:
        """Put the server in order; no worker of ours is running now."""
        jobs = {
            str(job.reference["deployment_id"]): job
            for job in await self._port.mirrored_jobs()
            if "deployment_id" in job.reference
        }
        await self._end_abandoned(installation)
        if installation.is_embedded:
            await self._remove_strangers(installation.client, jobs)
        await self._skip_missed(installation.client, jobs)

    async def _remove_strangers(self, client: ServerClient, jobs: Mapping[str, Job]) -> None:
        """Delete deployments without a job: a ledger restored from a backup lacks the newest.

        One that is still without receipt is made again with its next `apply`.
        """
        for deployment_id in await client.own_deployments():
            if deployment_id not in jobs:
                await client.delete_deployment(deployment_id)
                logger.warning("deployment_without_job_removed", deployment_id=deployment_id)

    async def _end_abandoned(self, installation: Installation) -> None:
        """End the runs a dead worker had, and give back those it had not begun."""
        runs = installation.client.runs
        for record in await runs.read(
            work_pool=installation.pool, state_types=["RUNNING", "CANCELLING", "PENDING"]
        ):
            was_ours = (record.infrastructure or "").startswith(f"{installation.owner}:")
            if not (was_ours or installation.has_private_pool):
                continue
            if record.state_type == "PENDING" and record.started_at is None:
                await runs.hand_back(record)
            else:
                await runs.abandon(record.id)
                logger.warning("flow_run_abandoned", flow_run_id=record.id)

    async def _skip_missed(self, client: ServerClient, jobs: Mapping[str, Job]) -> None:
        """Keep of the overdue runs only what each job's policy allows."""
        if not jobs:
            return
        now = self._clock.now()
        waiting: dict[str, list[FlowRunRecord]] = defaultdict(list)
        for record in await client.runs.read(
            deployments=list(jobs), state_types=["SCHEDULED"], due_before=now - self._grace
        ):
            waiting[record.deployment_id or ""].append(record)
        for deployment_id, records in waiting.items():
            job = jobs.get(deployment_id)
            if job is None:
                continue
            policies = job.definition.policies
            for record in to_skip(records, policies=policies, now=now, grace=self._grace):
                await client.runs.skip(record.id)
