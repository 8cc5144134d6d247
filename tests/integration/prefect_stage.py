"""A started Prefect engine with a ledger's stand-in, for the tests beside this file."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import yaml

from mahavishnu_sched_mcp.backends.prefect.backend import PrefectBackend
from mahavishnu_sched_mcp.domain.catalog import FlowEntry
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.dispatch import Dispatch
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.run import Cause, Run, RunState
from mahavishnu_sched_mcp.domain.trigger import IntervalTrigger
from mahavishnu_sched_mcp.domain.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mahavishnu_sched_mcp.backends.protocol import MirroredRun

CONFIG: dict[str, Any] = {
    "tasks": {
        "commands": {
            "greet": {
                "argv": ["/bin/echo", "hello {name}"],
                "params": {"name": {"type": "string"}},
            },
            "sign": {"argv": ["/bin/echo", "signed"]},
            "wait": {"argv": ["/bin/sleep", "121.75"]},
            "refuse": {"argv": ["/bin/false"]},
        }
    },
    "workflows": {
        "letter": {
            "description": "Greet, then sign",
            "nodes": [
                {"id": "greeting", "task": "greet"},
                {"id": "signature", "task": "sign", "depends_on": ["greeting"]},
            ],
        },
        "lengthy": {"nodes": [{"id": "patience", "task": "wait"}]},
        "broken": {
            "nodes": [
                {"id": "refusal", "task": "refuse"},
                {"id": "after", "task": "sign", "depends_on": ["refusal"]},
            ]
        },
    },
}
WORKFLOWS = {
    name: Workflow.model_validate({"name": name, **entry})
    for name, entry in CONFIG["workflows"].items()
}


FLOWS = """
from prefect import flow

@flow
def add(first: int, second: int) -> int:
    print("this must not reach anybody's stdout")
    return first + second
"""
ADD = FlowEntry(
    name="add",
    entrypoint="flows_of_the_house.add",
    params_schema={
        "type": "object",
        "properties": {"first": {"type": "integer"}, "second": {"type": "integer"}},
        "required": ["first", "second"],
    },
)


class RecordingLedger:
    """The ledger's side of the mirror: jobs with a receipt, and what it is told of their runs."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.told: dict[tuple[int, datetime], MirroredRun] = {}

    async def mirrored_jobs(self) -> Sequence[Job]:
        """Give the unfinished jobs that have a receipt."""
        return [job for job in self.jobs.values() if not job.state.is_over]

    async def mirror(self, job_serial: int, runs: Sequence[MirroredRun]) -> None:
        """Keep one record per fire."""
        for run in runs:
            self.told[job_serial, run.scheduled_for] = run

    def runs_of(self, job: Job) -> list[MirroredRun]:
        """Give what is known of a job's runs, oldest first."""
        return [run for (serial, _), run in sorted(self.told.items()) if serial == job.serial]

    def states_of(self, job: Job) -> list[RunState]:
        """Give how a job's finished runs ended."""
        return [run.outcome.state for run in self.runs_of(job) if run.outcome is not None]


class Stage:
    """An engine and its ledger; makes jobs with names of their own.

    Args:
        folder: Its data folder; the flows in it have to be on PYTHONPATH of the worker.
        server_url: The server of another stage, or None for an embedded one.
    """

    def __init__(self, folder: Path, *, server_url: str | None) -> None:
        config = folder / "mahavishnu.yaml"
        config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        (folder / "flows_of_the_house.py").write_text(FLOWS, encoding="utf-8")
        self.ledger = RecordingLedger()
        self.backend = PrefectBackend(
            data_dir=folder,
            config_path=config,
            flows={"add": ADD},
            workflows=WORKFLOWS,
            mirror=self.ledger,
            clock=SystemClock(),
            server_url=server_url,
            api_key=None,
            ui=False,
            work_pool=None,
        )

    async def deploy(self, target: str, *, every: timedelta | None = None, **changes: Any) -> Job:
        """Deploy a workflow as a new job."""
        serial, now = len(self.ledger.jobs) + 1, datetime.now(UTC)
        parts = {k: changes.pop(k) for k in ("params", "policies", "options") if k in changes}
        definition = JobDefinition(
            backend=Backend.PREFECT,
            kind=JobKind.DEPLOYMENT,
            target=target,
            trigger_requested=None,
            **parts,
        )
        job = Job(
            serial=serial,
            job_id=f"prefect:job-{serial}",
            definition=definition,
            name=target,
            state=JobState.ACTIVE,
            trigger=None if every is None else IntervalTrigger(period=every, anchor=now + every),
            created_at=now,
            created_by="test",
        )
        return await self.change(job)

    async def change(self, job: Job, **changes: Any) -> Job:
        """Change a job in the ledger, then on the engine."""
        changed = job.model_copy(update=changes)
        receipt = await self.backend.apply(changed)
        changed = changed.model_copy(update={"reference": receipt.reference})
        self.ledger.jobs[job.serial] = changed
        return changed

    async def dispatch(self, job: Job, run_id: str, **params: Any) -> Run:
        """Start one run of a job."""
        now = datetime.now(UTC)
        work = Dispatch(
            run_id=run_id,
            job_id=job.job_id,
            target=job.definition.target,
            scheduled_for=now,
            params=params,
            reference=job.reference,
        )
        receipt = await self.backend.dispatch(work)
        return Run(
            run_id=run_id,
            job_id=job.job_id,
            job_serial=job.serial,
            scheduled_for=now,
            cause=Cause.MANUAL,
            state=RunState.PENDING,
            reference=receipt.reference,
        )

    async def upcoming(self, job: Job) -> int:
        """Count the runs the server has made in advance for a job."""
        found = await self.backend._client.runs.read(
            deployments=[job.reference["deployment_id"]], state_types=["SCHEDULED"]
        )
        return len(found)

    async def log_of(self, run: MirroredRun) -> str:
        """Give all that the server has of a run's log, as its UI shows it."""
        from prefect.client.schemas.filters import (  # noqa: PLC0415 - slow, and after the start
            LogFilter,
            LogFilterFlowRunId,
        )

        chosen = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[UUID(run.reference["flow_run_id"])])
        )
        entries = await self.backend._client.ask(lambda client: client.read_logs(chosen))
        return "\n".join(entry.message for entry in entries)


async def wait_until(
    condition: Callable[[], Awaitable[bool]], *, description: str, seconds: float = 40
) -> None:
    """Poll a condition until it holds, or fail with its description."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {description}"
        await asyncio.sleep(0.1)


def sleepers() -> set[str]:
    """Find the processes of the lengthy command."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[:2] == [b"/bin/sleep", b"121.75"]:
                found.add(path.parent.name)
    return found
