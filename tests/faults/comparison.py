"""What the ledger says beside what the model says, and what was seen at the doors."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.domain.job import Counts
from mahavishnu_sched_mcp.ledger.database import query
from tests.factories import TWO_O_CLOCK, ledger_of
from tests.faults.model import OPEN, OVERTAKEN, ModelJob

if TYPE_CHECKING:
    import apsw

    from tests.faults.machine import Life

BACKOFF = 600
SLACK = 30.0
"""Real seconds that may pass between two looks at a clock that was set."""

type Rows = dict[int, list[dict[str, Any]]]


def compare(life: Life) -> None:
    """Insist that ledger, model and doors agree on everything."""
    known = _rows(life)
    for serial, model in life.jobs.items():
        job, rows = known["job"][serial][0], known["run"][serial]
        outcomes = _outcomes(known["attempt"][serial])
        _match(model, rows, outcomes)
        found = [_as_told(row, outcomes[row["run_id"]]) for row in rows]
        wanted = [
            (run.first, run.last, run.fires, run.cause, run.state, run.outcomes)
            for run in model.runs
        ]
        assert found == wanted, _difference(life, serial, found, wanted)
        _check_reasons(model, rows)
        _check_waits(life, model, rows)
        assert (job["state"], _seconds(job["next_run_at"])) == (model.state, model.due)
        _check_sums(job, rows)
    _check_visits(life, known["attempt"])


def _difference(life: Life, serial: int, found: list[Any], wanted: list[Any]) -> str:
    """Show the records that only one of both has."""
    only = [one for one in found if one not in wanted], [one for one in wanted if one not in found]
    return f"at {life.now}, job {serial} {life.jobs[serial]}\nledger: {only[0]}\nmodel: {only[1]}"


def wake(life: Life, *, set_back: float) -> None:
    """Take over from the ledger how long retries wait after the clock was set back."""
    known = _rows(life)["run"]
    for serial, model in life.jobs.items():
        rows = {row["run_id"]: row for row in known[serial]}
        for run in model.runs:
            if run.wakes_at is not None:
                at = rows[run.run_id]["available_at"]
                found = float(life.now) if at is None else _exact(at)
                least = run.wakes_at - (set_back + SLACK if set_back >= 5 else 0)
                assert least - 1 <= found or at is None, "a retry comes too early"
                assert at is not None or least <= found, "a retry came too early"
                run.wakes_at = min(found, run.wakes_at)


def _rows(life: Life) -> dict[str, Rows]:
    def read(db: apsw.Connection) -> dict[str, Rows]:
        attempts = (
            "select attempt.*, run.job_serial from attempt join run using (run_id)"
            " order by run.seq, attempt.number"
        )
        return {
            "job": _by(query(db, "select * from job"), "serial"),
            "run": _by(query(db, "select * from run order by seq"), "job_serial"),
            "attempt": _by(query(db, attempts), "job_serial"),
        }

    return ledger_of(life.app).read(read)


def _by(rows: list[dict[str, Any]], column: str) -> Rows:
    found: Rows = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


def _outcomes(rows: list[dict[str, Any]]) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = defaultdict(list)
    for row in rows:
        found[row["run_id"]].append(row["outcome"])
    return found


def _as_told(row: dict[str, Any], outcomes: list[str | None]) -> tuple[object, ...]:
    first = _seconds(row["scheduled_for"])
    last = first if row["last_scheduled_for"] is None else _seconds(row["last_scheduled_for"])
    return first, last, row["fires"], row["cause"], row["state"], outcomes


def _match(
    model: ModelJob, rows: list[dict[str, Any]], outcomes: dict[str, list[str | None]]
) -> None:
    """Name the model's runs as the ledger does.

    A retry that is due at the instant of a fire that overtakes it may begin before it is stopped.
    """
    for run, row in zip(model.runs, rows, strict=False):
        run.run_id, seen = row["run_id"], outcomes[row["run_id"]]
        if run.reason == OVERTAKEN and run.outcomes and seen == [*run.outcomes, "cancelled"]:
            run.outcomes = seen


def _check_reasons(model: ModelJob, rows: list[dict[str, Any]]) -> None:
    for run, row in zip(model.runs, rows, strict=True):
        assert run.reason in {None, row["reason"]}
        assert run.state in {*OPEN, "succeeded"} or row["reason"], "no reason is given"
        assert (row["finished_at"] is None) == (run.state in OPEN)


def _check_waits(life: Life, model: ModelJob, rows: list[dict[str, Any]]) -> None:
    """Each wait is twice the one before and up to a quarter longer, and none is lost."""
    for run, row in zip(model.runs, rows, strict=True):
        if run.state != "pending":
            continue
        assert (run.wakes_at is None) == (row["available_at"] is None)
        if run.wakes_at is None:
            continue
        tries = sum(one != "interrupted" for one in run.outcomes)
        least = min(3600, BACKOFF * 2 ** (tries - 1))
        found = _exact(row["available_at"])
        if run.wakes_at == float("inf"):
            assert least <= found - life.now <= least * 1.25
        elif abs(run.wakes_at - found) > 1e-3:  # a new leader caps what a clock set back made long
            assert life.now + least <= found < run.wakes_at
        run.wakes_at = found


def _check_sums(job: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The job's counts are the sums of its records."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["state"]] += row["fires"]
    for state in Counts.model_fields:
        assert job[state] == sums[state], state


def _check_visits(life: Life, attempts: Rows) -> None:
    """Nothing ran twice, or without its attempt on record, or at a wrong time."""
    assert life.crowded == []
    known = {
        (row["run_id"], row["number"]): row["outcome"] for rows in attempts.values() for row in rows
    }
    seen = Counter((v.run_id, v.attempt) for door in life.doors.values() for v in door.visits)
    assert not [one for one, count in seen.items() if count > 1], "an attempt ran twice"
    assert seen.keys() <= known.keys(), "something ran without a record"
    unseen = {known[one] for one in known.keys() - seen.keys()}
    assert unseen <= {"interrupted"}, "an attempt is on record that nobody saw"


def _exact(micros: int) -> float:
    return micros / 1e6 - TWO_O_CLOCK.timestamp()


def _seconds(micros: int | None) -> int | None:
    if micros is None:
        return None
    instant = datetime.fromtimestamp(micros / 1e6, UTC) - TWO_O_CLOCK
    return round(instant.total_seconds())
