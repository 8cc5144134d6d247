"""How the engine's runs reach the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from mahavishnu_sched_mcp.backends.prefect.mirror import RunMirror
from mahavishnu_sched_mcp.backends.prefect.records import Addresses, FlowRunRecord
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.backends.prefect.api import ServerClient
    from mahavishnu_sched_mcp.backends.prefect.records import TaskRunRecord
    from mahavishnu_sched_mcp.backends.protocol import MirroredRun

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NOWHERE = Addresses(ui=None)
ETL = Workflow(
    name="etl",
    nodes=(Node(id="b", task="t", depends_on=("a",)), Node(id="a", task="t")),
)


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.instant = NOON

    def now(self) -> datetime:
        """Give the instant it was set to."""
        return self.instant

    def monotonic(self) -> float:
        """Give seconds since noon."""
        return (self.instant - NOON).total_seconds()


class RecordingPort:
    """A ledger that writes down what it is told."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = list(jobs)
        self.told: list[tuple[int, MirroredRun]] = []

    async def mirrored_jobs(self) -> Sequence[Job]:
        """Give the jobs."""
        return self.jobs

    async def mirror(self, job_serial: int, runs: Sequence[MirroredRun]) -> None:
        """Write the runs down."""
        self.told += [(job_serial, run) for run in runs]


class ServerOfRuns:
    """A server's flow runs in memory, chosen as the API chooses them."""

    def __init__(self) -> None:
        self.kept: dict[str, FlowRunRecord] = {}
        self.runs = self

    def put(self, record_id: str, state: str, **changes: Any) -> None:
        """Set a flow run."""
        known = self.kept.get(record_id)
        values = {
            "id": record_id,
            "deployment_id": "d1",
            "state_name": state.title(),
            "expected_start": NOON,
        }
        kept = known.model_dump() if known else {}
        self.kept[record_id] = FlowRunRecord.model_validate(
            values | kept | {"state_type": state, "state_name": state.title()} | changes
        )

    async def read(
        self,
        *,
        deployments: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        state_types: Sequence[str] | None = None,
        due_after: datetime | None = None,
        due_before: datetime | None = None,
        ended_after: datetime | None = None,
    ) -> list[FlowRunRecord]:
        """Choose flow runs."""
        return [
            run
            for run in self.kept.values()
            if (deployments is None or run.deployment_id in deployments)
            and (ids is None or run.id in ids)
            and (state_types is None or run.state_type in state_types)
            and (due_after is None or run.expected_start >= due_after)
            and (due_before is None or run.expected_start <= due_before)
            and (
                ended_after is None
                or (run.finished_at is not None and run.finished_at >= ended_after)
            )
        ]

    async def read_nodes(self, flow_run_id: str) -> list[TaskRunRecord]:
        """Know no nodes."""
        del flow_run_id
        return []

    async def read_log(self, flow_run_id: str, *, nodes: Sequence[TaskRunRecord]) -> str:
        """Log the run's own name."""
        del nodes
        return f"log of {flow_run_id}"


class Stage:
    """A mirror between a server and a ledger, at noon."""

    def __init__(self) -> None:
        definition = JobDefinition(
            backend=Backend.PREFECT,
            kind=JobKind.DEPLOYMENT,
            target="etl",
            trigger_requested=None,
        )
        job = Job(
            serial=7,
            job_id="prefect:etl",
            definition=definition,
            name="etl",
            state=JobState.ACTIVE,
            created_at=NOON - timedelta(hours=1),
            created_by="test",
            reference={"deployment_id": "d1"},
        )
        self.clock, self.port, self.server = ManualClock(), RecordingPort(job), ServerOfRuns()
        self.mirror = RunMirror(
            port=self.port, clock=self.clock, workflows={"etl": ETL}, max_output_bytes=1000
        )

    async def look(self, *, after: timedelta = SECOND) -> list[MirroredRun]:
        """Let time pass, look once, and give what the ledger was told."""
        self.clock.instant += after
        self.port.told.clear()
        client = cast("ServerClient", self.server)
        await self.mirror.pass_once(client, addresses=NOWHERE)
        assert {serial for serial, _ in self.port.told} <= {7}
        return [run for _, run in self.port.told]


async def test_a_run_is_told_once_for_each_change() -> None:
    """Waiting, running, over: each is told, and nothing is told twice."""
    stage = Stage()
    stage.server.put("f1", "SCHEDULED")

    waiting, again = await stage.look(), await stage.look()
    stage.server.put("f1", "RUNNING", started_at=NOON + SECOND)
    running = await stage.look()
    stage.server.put("f1", "COMPLETED", finished_at=stage.clock.instant)
    too_early, over, at_last = await stage.look(), await stage.look(), await stage.look()

    assert [(run.started_at, run.outcome) for run in waiting] == [(None, None)]
    assert again == too_early == at_last == []
    assert [(run.started_at, run.outcome) for run in running] == [(NOON + SECOND, None)]
    (last,) = over
    assert last.outcome is not None
    assert last.outcome.state is RunState.SUCCEEDED
    assert last.outcome.output.text == "log of f1"


async def test_runs_that_are_not_due_are_not_told() -> None:
    """Prefect makes its runs in advance; the ledger hears of fires only."""
    stage = Stage()
    stage.server.put("f1", "SCHEDULED", expected_start=NOON + timedelta(minutes=5))

    assert await stage.look() == []


async def test_a_long_run_is_followed_to_its_end() -> None:
    """A run that lasts longer than the look back is not forgotten, nor when its job ends."""
    stage = Stage()
    stage.server.put("f1", "RUNNING", started_at=NOON)
    await stage.look()

    stage.port.jobs.clear()
    stage.server.put("f1", "FAILED", finished_at=NOON + timedelta(hours=2))
    (over,) = await stage.look(after=timedelta(hours=3))

    assert over.outcome is not None
    assert over.outcome.state is RunState.FAILED


async def test_a_deleted_run_does_not_wait_for_ever() -> None:
    """A pause deletes the waiting run on the server: the ledger hears that it was skipped."""
    stage = Stage()
    stage.server.put("f1", "SCHEDULED")
    await stage.look()

    stage.server.kept.clear()
    told = [await stage.look(), await stage.look()]

    assert [[run.is_skipped for run in runs] for runs in told] == [[True], []]


async def test_what_happened_while_we_were_away_is_told_at_the_first_look() -> None:
    """On the user's own server runs go on without us."""
    stage = Stage()
    stage.server.put("long", "RUNNING", started_at=NOON, expected_start=NOON - timedelta(days=2))
    done = {"finished_at": NOON - timedelta(minutes=30)}
    stage.server.put("done", "COMPLETED", expected_start=NOON - timedelta(days=1), **done)

    told = await stage.look()

    assert sorted(run.reference["flow_run_id"] for run in told) == ["done", "long"]


async def test_a_run_has_all_nodes_of_its_workflow_in_their_order() -> None:
    """A node that the run never came to is told too, behind those it depends on."""
    stage = Stage()
    stage.server.put(
        "f1", "CANCELLED", started_at=NOON, finished_at=NOON + SECOND, expected_start=NOON
    )

    (run,) = await stage.look(after=timedelta(seconds=5))

    assert [(n.node, n.state, n.attempts) for n in run.nodes] == [
        ("a", RunState.SKIPPED, 0),
        ("b", RunState.SKIPPED, 0),
    ]
