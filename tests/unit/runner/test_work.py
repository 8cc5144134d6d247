"""What queue workers and mirrored engines write into the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.backends.protocol import MirroredRun
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobDefinition, JobKind, JobState
from mahavishnu_sched_mcp.domain.run import Cause, NodeRun, Outcome, Run, RunState
from mahavishnu_sched_mcp.leadership import Leadership
from mahavishnu_sched_mcp.ledger import Ledger, jobs, run_lists, runs
from mahavishnu_sched_mcp.runner import outcomes
from mahavishnu_sched_mcp.runner.work import Mirror
from tests.factories import MINUTE, TWO_O_CLOCK, ManualClock, a_cron

DUE = TWO_O_CLOCK + MINUTE
DONE = Outcome(state=RunState.SUCCEEDED)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open an empty ledger."""
    opened = Ledger(tmp_path / "ledger.db")
    await opened.open()
    yield opened
    await opened.close()


async def a_job(
    ledger: Ledger, *, backend: Backend = Backend.PREFECT, reference: bool = True
) -> Job:
    """Write an active deployment that Prefect has confirmed."""
    request = a_cron("* * * * *")
    job = Job(
        serial=0,
        job_id=f"{backend}:sweep",
        definition=JobDefinition(
            backend=backend,
            kind=JobKind.DEPLOYMENT,
            target="code_sweep",
            trigger_requested=request.as_requested(),
        ),
        name="sweep",
        state=JobState.PENDING,
        trigger=request.resolve(
            now=TWO_O_CLOCK, default_timezone="UTC", min_interval=timedelta(seconds=1)
        ),
        next_run_at=DUE,
        created_at=TWO_O_CLOCK,
        created_by="test",
    )

    def write(db: object) -> Job:
        made = jobs.insert(db, job, fingerprint="f")  # type: ignore[arg-type]  # the writer's connection
        if reference:
            jobs.record_receipt(db, made.serial, revision=1, reference={"deployment_id": "d"})  # type: ignore[arg-type]  # the same
        return jobs.require(db, made.serial)  # type: ignore[arg-type]  # the same

    return await ledger.write(write)


async def a_mirror(ledger: Ledger) -> Mirror:
    """Make a leader's mirror with a clock that stands."""
    clock = ManualClock(DUE + MINUTE)
    leadership = Leadership(ledger._path.with_name("leader.lock"), ledger=ledger, clock=clock)
    assert await leadership._try()
    return Mirror(ledger=ledger, leadership=leadership, clock=clock)


def the_run(ledger: Ledger, job: Job) -> Run:
    """Give the only run of a job."""
    found, total, _ = ledger.read(
        lambda db: run_lists.select(
            db,
            job_id=job.job_id,
            state=None,
            since=None,
            until=None,
            include_system=True,
            before=None,
            limit=9,
        )
    )
    assert total == 1
    return found[0]


async def test_a_mirrored_fire_has_one_record_from_first_to_last(ledger: Ledger) -> None:
    """Seen scheduled, running and done, and again and again: one run, one count."""
    job, mirror = await a_job(ledger), await a_mirror(ledger)
    seen = MirroredRun(scheduled_for=DUE, reference={"flow_run_id": "f", "url": "http://x"})
    node = NodeRun(node="lint", state=RunState.SUCCEEDED)
    states = [
        seen,
        seen.model_copy(update={"started_at": DUE}),
        seen.model_copy(update={"started_at": DUE, "nodes": (node,)}),
        seen.model_copy(update={"started_at": DUE, "finished_at": DUE + MINUTE, "outcome": DONE}),
    ]
    found: list[str] = []
    for state in [*states, states[-1], seen]:
        await mirror.mirror(job.serial, [state])
        found.append(the_run(ledger, job).state.value)
    run = the_run(ledger, job)

    assert found == ["pending", "running", "running", "succeeded", "succeeded", "succeeded"]
    assert (run.cause, run.scheduled_for, run.nodes) == (Cause.SCHEDULE, DUE, (node,))
    assert (run.started_at, run.finished_at) == (DUE, DUE + MINUTE)
    assert [attempt.outcome for attempt in run.attempts] == [RunState.SUCCEEDED]
    assert run.reference == {"flow_run_id": "f", "url": "http://x"}
    assert ledger.read(lambda db: jobs.require(db, job.serial)).counts.succeeded == 1


async def test_a_run_that_was_first_seen_when_it_was_over_has_its_times(ledger: Ledger) -> None:
    """The server slept while Prefect worked."""
    job, mirror = await a_job(ledger), await a_mirror(ledger)

    await mirror.mirror(
        job.serial,
        [MirroredRun(scheduled_for=DUE, started_at=DUE, finished_at=DUE + MINUTE, outcome=DONE)],
    )
    run = the_run(ledger, job)

    assert (run.state, run.duration, run.lateness) == (RunState.SUCCEEDED, MINUTE, timedelta(0))


@pytest.mark.parametrize("reason", [None, "paused"])
async def test_a_run_that_never_starts_is_skipped(reason: str | None, ledger: Ledger) -> None:
    """With Prefect's reason, or the plain fact."""
    job, mirror = await a_job(ledger), await a_mirror(ledger)
    outcome = None if reason is None else Outcome(state=RunState.CANCELLED, reason=reason)

    await mirror.mirror(
        job.serial, [MirroredRun(scheduled_for=DUE, is_skipped=True, outcome=outcome)]
    )
    run = the_run(ledger, job)

    assert (run.state, run.reason) == (RunState.SKIPPED, reason or "skipped by Prefect")
    assert ledger.read(lambda db: jobs.require(db, job.serial)).counts.skipped == 1


async def test_a_run_we_asked_for_keeps_its_id(ledger: Ledger) -> None:
    """A manual run comes back under its own id and cause."""
    job, mirror = await a_job(ledger), await a_mirror(ledger)
    manual = Run(
        run_id="run-mine",
        job_id=job.job_id,
        job_serial=job.serial,
        scheduled_for=TWO_O_CLOCK,
        cause=Cause.MANUAL,
        state=RunState.PENDING,
    )
    await ledger.write(lambda db: runs.insert(db, manual, at=TWO_O_CLOCK))

    await mirror.mirror(
        job.serial,
        [MirroredRun(run_id="run-mine", scheduled_for=DUE, started_at=DUE, outcome=DONE)],
    )
    run = the_run(ledger, job)

    assert (run.run_id, run.cause, run.state) == ("run-mine", Cause.MANUAL, RunState.SUCCEEDED)


async def test_two_runs_of_one_fire_make_one_record(ledger: Ledger) -> None:
    """A second flow run with the same expected start, whatever its id, adds nothing."""
    job, mirror = await a_job(ledger), await a_mirror(ledger)

    await mirror.mirror(
        job.serial,
        [MirroredRun(scheduled_for=DUE), MirroredRun(run_id="run-2", scheduled_for=DUE)],
    )

    assert the_run(ledger, job).run_id != "run-2"


@pytest.mark.parametrize(
    ("backend", "reference", "is_given"),
    [
        (Backend.PREFECT, True, True),
        (Backend.PREFECT, False, False),
        (Backend.ONEIRIC, True, False),
    ],
)
async def test_only_confirmed_deployments_are_mirrored(
    backend: Backend, reference: bool, is_given: bool, ledger: Ledger
) -> None:
    """Without a receipt there is nothing to look at."""
    job = await a_job(ledger, backend=backend, reference=reference)

    found = await (await a_mirror(ledger)).mirrored_jobs()

    assert list(found) == ([job] if is_given else [])


async def test_a_run_is_cancelled_once(ledger: Ledger) -> None:
    """Two requests that meet count one cancelled fire."""
    job = await a_job(ledger)
    await (await a_mirror(ledger)).mirror(job.serial, [MirroredRun(scheduled_for=DUE)])
    run = the_run(ledger, job)

    for reason in ("first", "second"):
        await ledger.write(
            lambda db, reason=reason: outcomes.cancel_waiting(db, run, reason=reason, at=DUE)  # type: ignore[misc]  # bound now
        )

    assert the_run(ledger, job).reason == "first"
    assert ledger.read(lambda db: jobs.require(db, job.serial)).counts.cancelled == 1
