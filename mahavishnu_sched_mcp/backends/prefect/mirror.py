"""Tells the ledger how the engine's runs are."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.prefect.states import mirrored, vanished

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mahavishnu_sched_mcp.backends.prefect.api import ServerClient
    from mahavishnu_sched_mcp.backends.prefect.records import Addresses, FlowRunRecord
    from mahavishnu_sched_mcp.backends.protocol import MirroredRun, MirrorPort
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.workflow import Workflow

LOOK_BACK = timedelta(hours=24)
SLACK = timedelta(seconds=120)
LOG_DELAY = timedelta(seconds=1.5)
PART = 100
UNFINISHED = ("RUNNING", "PENDING", "CANCELLING", "PAUSED")


class RunMirror:
    """Reads what changed on the server since the last pass, and tells it once.

    Args:
        port: The ledger's side.
        clock: Gives the instants to read from.
        workflows: The operator's workflows, by name: the nodes of a run, in their order.
        max_output_bytes: How much of what a flow logged is kept.
    """

    def __init__(
        self,
        *,
        port: MirrorPort,
        clock: Clock,
        workflows: Mapping[str, Workflow],
        max_output_bytes: int,
    ) -> None:
        self._port = port
        self._clock = clock
        self._workflows = workflows
        self._max_output_bytes = max_output_bytes
        self._targets: dict[str, str] = {}
        self._last_pass_at: datetime | None = None
        self._open: dict[str, tuple[int, FlowRunRecord]] = {}
        self._told: dict[str, tuple[str, str, int]] = {}

    async def pass_once(self, client: ServerClient, *, addresses: Addresses) -> bool:
        """Tell the ledger of every run that is due, running or over and was not told so yet.

        Returns:
            Whether the server was asked at all: without jobs there is nothing to ask.

        Raises:
            BackendUnavailableError: the server does not answer; nothing is lost by it.
        """
        now = self._clock.now()
        jobs = {
            str(job.reference["deployment_id"]): job
            for job in await self._port.mirrored_jobs()
            if "deployment_id" in job.reference
        }
        self._targets |= {key: job.definition.target for key, job in jobs.items()}
        has_questions = bool(jobs or self._open)
        if has_questions:
            records = await self._read(client, jobs, now=now)
            await self._tell(client, jobs, records, now=now, addresses=addresses)
        self._last_pass_at = now
        return has_questions

    async def _read(
        self, client: ServerClient, jobs: Mapping[str, Job], *, now: datetime
    ) -> dict[str, FlowRunRecord]:
        since = (self._last_pass_at or _floor(jobs, now)) - SLACK
        found: dict[str, FlowRunRecord] = {}
        for part in _parts(list(jobs)):
            batches = [await client.runs.read(deployments=part, due_after=since, due_before=now)]
            if self._last_pass_at is None:
                batches.append(await client.runs.read(deployments=part, state_types=UNFINISHED))
                batches.append(await client.runs.read(deployments=part, ended_after=since))
            found |= {record.id: record for batch in batches for record in batch}
        for part in _parts([known for known in self._open if known not in found]):
            found |= {record.id: record for record in await client.runs.read(ids=part)}
        return found

    async def _tell(
        self,
        client: ServerClient,
        jobs: Mapping[str, Job],
        records: Mapping[str, FlowRunRecord],
        *,
        now: datetime,
        addresses: Addresses,
    ) -> None:
        news: dict[int, list[MirroredRun]] = defaultdict(list)
        fresh: dict[str, tuple[int, FlowRunRecord]] = {}
        for record in records.values():
            serial = self._serial(record, jobs)
            if serial is None or self._told.get(record.id) == _mark(record):
                continue
            if record.is_final and not _is_settled(record, now):
                # Its last log lines are still on their way to the server.
                self._open[record.id] = (serial, record)
                continue
            news[serial].append(await self._express(client, record, addresses=addresses))
            fresh[record.id] = (serial, record)
        gone = [known for known in self._open if known not in records]
        for known in gone:
            serial, record = self._open[known]
            if not record.is_final:
                news[serial].append(vanished(record, addresses=addresses))
        for serial, runs in news.items():
            await self._port.mirror(serial, runs)
        self._remember(fresh, gone=gone, seen=records)

    async def _express(
        self, client: ServerClient, record: FlowRunRecord, *, addresses: Addresses
    ) -> MirroredRun:
        if record.started_at is None:
            return mirrored(record, addresses=addresses, cap=self._max_output_bytes)
        nodes = await client.runs.read_nodes(record.id)
        log = await client.runs.read_log(record.id, nodes=nodes) if record.is_final else ""
        workflow = self._workflows.get(self._targets.get(record.deployment_id or "", ""))
        return mirrored(
            record,
            addresses=addresses,
            cap=self._max_output_bytes,
            nodes=nodes,
            declared=() if workflow is None else [node.id for node in workflow.ordered()],
            log=log,
        )

    def _remember(
        self,
        fresh: Mapping[str, tuple[int, FlowRunRecord]],
        *,
        gone: Sequence[str],
        seen: Mapping[str, FlowRunRecord],
    ) -> None:
        for known in gone:
            self._open.pop(known)
        for known, (serial, record) in fresh.items():
            self._told[known] = _mark(record)
            if record.is_final:
                self._open.pop(known, None)
            else:
                self._open[known] = (serial, record)
        self._told = {known: mark for known, mark in self._told.items() if known in seen}

    def _serial(self, record: FlowRunRecord, jobs: Mapping[str, Job]) -> int | None:
        if record.id in self._open:
            return self._open[record.id][0]
        job = jobs.get(record.deployment_id or "")
        return None if job is None else job.serial


def _floor(jobs: Mapping[str, Job], now: datetime) -> datetime:
    """Say from when on the ledger may lack something: its last word on any of the jobs."""
    words = [
        job.created_at
        if job.last_run is None or job.last_run.finished_at is None
        else job.last_run.finished_at
        for job in jobs.values()
    ]
    return max(now - LOOK_BACK, min(words, default=now))


def _is_settled(record: FlowRunRecord, now: datetime) -> bool:
    return record.finished_at is None or now - record.finished_at >= LOG_DELAY


def _mark(record: FlowRunRecord) -> tuple[str, str, int]:
    return (record.state_type, record.state_name, record.run_count)


def _parts(items: Sequence[str]) -> list[Sequence[str]]:
    return [items[start : start + PART] for start in range(0, len(items), PART)]
