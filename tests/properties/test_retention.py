"""What retention leaves is what its rules say, whatever the past was."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Counts, JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.ledger.database import connect, query
from mahavishnu_sched_mcp.ledger.instant import to_micros
from mahavishnu_sched_mcp.ledger.schema import migrate
from tests.unit.ledger.past import DAY, NOW, a_job, a_key, a_run, is_over, sweep

HOUR = timedelta(hours=1)
AGES = st.sampled_from(
    [-DAY, timedelta(0), HOUR / 400, HOUR, 2 * DAY, 6 * DAY, 8 * DAY, 20 * DAY, 31 * DAY, 90 * DAY]
)
OPEN = {"pending", "running"}
OVER = {"completed", "cancelled"}
UNDECIDED = {"interrupted", "dead"}


type Rows = dict[str, dict[Any, dict[str, Any]]]


class PastRun(NamedTuple):
    """A run of the past: how it is, how old, which earlier one it replays, how old its key."""

    state: RunState
    age: timedelta
    fires: int
    replays: int | None
    key_age: timedelta | None


class PastJob(NamedTuple):
    """A job of the past with its runs."""

    name: str
    backend: Backend
    runs: list[PastRun]
    over_since: timedelta | None
    is_heard: bool
    key_age: timedelta | None


RUNS = st.builds(
    PastRun,
    state=st.sampled_from(RunState),
    age=AGES,
    fires=st.sampled_from([1, 1, 120]),
    replays=st.none() | st.integers(0, 8),
    key_age=st.none() | st.none() | AGES,
)
JOBS = st.builds(
    PastJob,
    name=st.sampled_from(["a", "b"]),
    backend=st.sampled_from([Backend.APSCHEDULER, Backend.APSCHEDULER, Backend.PREFECT]),
    runs=st.lists(RUNS, max_size=9),
    over_since=AGES,
    is_heard=st.booleans(),
    key_age=st.none() | st.none() | AGES,
)


@pytest.fixture(scope="module")
def db() -> Iterator[apsw.Connection]:
    """Open one ledger; every example takes back what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder) / "ledger.db")
        migrate(connection)
        yield connection
        connection.close()


@given(
    past=st.lists(JOBS, max_size=4),
    last_is_over=st.booleans(),
    runs_days=st.sampled_from([0.5, 7, 30]),
    runs_per_job=st.integers(1, 4),
    most=st.integers(1, 7),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_left_is_what_the_rules_say(
    db: apsw.Connection,
    *,
    past: list[PastJob],
    last_is_over: bool,
    runs_days: float,
    runs_per_job: int,
    most: int,
) -> None:
    """Runs, jobs and keys; unfinished runs all stay, and no count of a job falls."""
    db.execute("begin")
    try:
        _write(db, past, last_is_over=last_is_over)
        before = _read(db)
        fires = _fires(before)

        removed = sweep(db, runs_days=runs_days, runs_per_job=runs_per_job, most=most)

        after = _read(db)
        aged = to_micros(NOW - runs_days * DAY)
        oracle = Oracle(before, aged=aged, per_job=runs_per_job)
        assert {name: set(rows) for name, rows in after.items()} == oracle.left()
        assert {run for run, row in before["run"].items() if row["state"] in OPEN} <= set(
            after["run"]
        )
        assert all(_fires(after)[serial] == fires[serial] for serial in after["job"])
        assert removed["runs"] == len(before["run"]) - len(after["run"])
        again = sweep(db, runs_days=runs_days, runs_per_job=runs_per_job, most=most)
        assert again["jobs"] == 0
    finally:
        db.execute("rollback")


def _write(db: apsw.Connection, past: list[PastJob], *, last_is_over: bool) -> None:
    numbers = iter(range(10_000))
    for number, one in enumerate(past):
        job = a_job(db, one.name, backend=one.backend)
        made: list[str] = []
        for run in one.runs:
            nth = len(made) if run.replays is None else run.replays
            origin = made[nth] if nth < len(made) else None
            made.append(
                a_run(db, job, run.state, age=run.age, fires=run.fires, replay_of=origin)
            )  # fmt: skip
            if run.key_age is not None:
                a_key(db, f"k{next(numbers)}", job=job, run_id=made[-1], age=run.key_age)
        if one.key_age is not None:
            a_key(db, f"k{next(numbers)}", job=job, age=one.key_age)
        follows = any(later[:2] == one[:2] for later in past[number + 1 :])
        if follows or last_is_over:  # an id has one unfinished job at most
            is_over(db, job, since=one.over_since or DAY, state=JobState.COMPLETED)
            if not one.is_heard:
                db.execute(
                    "update job set applied_revision = revision - 1 where serial = ?", (job.serial,)
                )


def _read(db: apsw.Connection) -> Rows:
    names = {"run": "seq", "job": "serial", "idempotency_key": "key"}
    return {
        name: {row[key]: row for row in query(db, f"select * from {name}")}  # noqa: S608 - named above
        for name, key in names.items()
    }


def _fires(rows: Rows) -> dict[int, list[int]]:
    return {serial: [row[n] for n in Counts.model_fields] for serial, row in rows["job"].items()}


class Oracle:
    """The rules of docs/reference/retention.md, applied one after the other to plain rows."""

    def __init__(self, before: Rows, *, aged: int, per_job: int) -> None:
        """Take the rows as they were."""
        self.aged, self.per_job = aged, per_job
        self.jobs, self.runs = dict(before["job"]), dict(before["run"])
        self._by_id = {row["run_id"]: row for row in self.runs.values()}
        self.keys = {
            name: key
            for name, key in before["idempotency_key"].items()
            if key["created_at"] >= to_micros(NOW - 7 * DAY) or not self._is_done(key)
        }

    def left(self) -> dict[str, set[Any]]:
        """Say what has to be left."""
        self._drop_aged()
        self._drop_surplus()
        self._drop_jobs()
        return {"run": set(self.runs), "job": set(self.jobs), "idempotency_key": set(self.keys)}

    def _drop_aged(self) -> None:
        for seq, run in list(self.runs.items()):
            if self._may_go(run) and run["finished_at"] < self.aged:
                del self.runs[seq]

    def _drop_surplus(self) -> None:
        replayed = {run["replay_of"] for run in self.runs.values()}
        finished, dead = self._ranks(set(RunState) - OPEN), self._ranks({"dead"})
        for seq, run in list(self.runs.items()):
            waits = run["state"] in UNDECIDED and run["run_id"] not in replayed
            if waits and dead.get(seq, 0) < self.per_job:
                continue
            if finished.get(seq, 0) >= self.per_job and self._may_go(run):
                del self.runs[seq]

    def _drop_jobs(self) -> None:
        newest = max((job["change"] for job in self.jobs.values()), default=0)
        named = {key["job_serial"] for key in self.keys.values()}
        for serial, job in list(self.jobs.items()):
            own = {seq: run for seq, run in self.runs.items() if run["job_serial"] == serial}
            has_left = all(
                self._is_last(run) and self._is_free(run) and run["finished_at"] < self.aged
                for run in own.values()
            )
            is_held = serial in named or job["change"] == newest
            if has_left and not is_held and self._is_over_for_long(job):
                del self.jobs[serial]
                self.runs = {seq: run for seq, run in self.runs.items() if seq not in own}

    def _ranks(self, states: set[Any]) -> dict[int, int]:
        """Number the runs in these states within their job id, the newest is 0."""
        counted: dict[str, int] = defaultdict(int)
        ranks = {}
        for seq, run in sorted(self.runs.items(), reverse=True):
            if run["state"] in states:
                ranks[seq] = counted[run["job_id"]]
                counted[run["job_id"]] += 1
        return ranks

    def _is_done(self, key: dict[str, Any]) -> bool:
        if key["run_id"] is not None:
            return self._by_id[key["run_id"]]["state"] not in OPEN
        return self.jobs[key["job_serial"]]["state"] in OVER

    def _is_over_for_long(self, job: dict[str, Any]) -> bool:
        since = to_micros(NOW) if job["over_since"] is None else job["over_since"]
        is_heard = job["backend"] != "prefect" or job["applied_revision"] >= job["revision"]
        return job["state"] in OVER and is_heard and since < self.aged

    def _may_go(self, run: dict[str, Any]) -> bool:
        return self._is_free(run) and not self._is_last(run)

    def _is_free(self, run: dict[str, Any]) -> bool:
        if run["state"] in OPEN or run["scheduled_for"] > to_micros(NOW):
            return False
        is_prefect = self.jobs[run["job_serial"]]["backend"] == "prefect"
        rest = 25 * HOUR if is_prefect else timedelta(seconds=10)
        is_named = any(key["run_id"] == run["run_id"] for key in self.keys.values())
        is_replayed_now = any(
            other["replay_of"] == run["run_id"] and other["state"] in OPEN
            for other in self._by_id.values()
        )
        return not is_named and not is_replayed_now and run["finished_at"] <= to_micros(NOW - rest)

    def _is_last(self, run: dict[str, Any]) -> bool:
        return bool(self.jobs[run["job_serial"]]["last_run_id"] == run["run_id"])
