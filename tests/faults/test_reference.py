"""The judges themselves: a history with a flaw is never let pass."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.reference import STATES, Span, discrepancies, nominals
from tests.faults.witness import Witness

if TYPE_CHECKING:
    from pathlib import Path

_START = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_TRIGGER = {"type": "interval", "seconds": 60, "start_at": (_START + _MINUTE).isoformat()}
_END = _START + 5 * _MINUTE


def a_run(minute: int, *, fires: int = 1, **changes: Any) -> dict[str, Any]:
    """Record the fire of a minute, or of so many from there on."""
    attempt = {"number": 1, "outcome": "succeeded"}
    return {
        "run_id": f"run-{minute}",
        "cause": "schedule",
        "state": "succeeded" if fires == 1 else "missed",
        "fires": fires,
        "scheduled_for": (_START + minute * _MINUTE).isoformat(),
        "last_scheduled_for": (_START + (minute + fires - 1) * _MINUTE).isoformat(),
        "attempts": [attempt],
    } | changes


def a_job(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a job whose counts are those of its runs."""
    counts = {state: sum(run["fires"] for run in runs if run["state"] == state) for state in STATES}
    return {"job_id": "apscheduler:tick", "counts": counts}


SOUND = [a_run(1), a_run(2, fires=3), a_run(5)]
FLAWED = {
    "no record": [a_run(1), a_run(2, fires=3)],
    "2 records": [*SOUND, a_run(3)],
    "nothing was due": [*SOUND, a_run(6)],
    "says 2 fires, 3 were due": [a_run(1), a_run(2, fires=3) | {"fires": 2}, a_run(5)],
}


def objections(runs: list[dict[str, Any]], job: dict[str, Any] | None = None) -> list[str]:
    """Judge a history of five minutes."""
    return discrepancies(job or a_job(runs), runs, [Span(_TRIGGER, _START, _END, _END)])


def test_a_history_without_a_flaw_passes() -> None:
    """Two fires and a gap of three account for five minutes."""
    assert objections(SOUND) == []


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_flawed_history_does_not_pass(flaw: str) -> None:
    """A fire that is absent, doubled, invented or miscounted is named."""
    assert any(flaw in objection for objection in objections(FLAWED[flaw]))


def test_counts_that_are_not_the_records_do_not_pass() -> None:
    """What a job says of itself has to be the sum of its records."""
    job = a_job(SOUND)
    job["counts"]["missed"] += 1

    assert len(objections(SOUND, job)) == 1


def test_cron_fires_are_those_of_the_zone() -> None:
    """Two in the morning is two in the morning there."""
    trigger = {"type": "cron", "expression": "0 2 * * *", "timezone": "Europe/Paris"}

    found = nominals(trigger, after=_START - timedelta(days=1), until=_START)

    assert found == [datetime(2026, 12, 1, 1, 0, tzinfo=UTC)]


def witnessed(folder: Path, *lines: str) -> Witness:
    """Write down what was seen of the run of the first minute."""
    due = (_START + _MINUTE).isoformat()
    text = "".join(f"{line.format(due=due)}\n" for line in lines)
    (folder / "witness.log").write_text(text, encoding="ascii")
    return Witness(("witness",), folder / "witness.log")


ONCE = ("run-1 1 {due} START 7 100", "run-1 1 {due} END 7 200")
STRANGE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "without a record": (a_run(1), (*ONCE, "run-9 1 {due} START 8 300")),
    "ran twice": (a_run(1), (*ONCE, "run-1 1 {due} START 8 300")),
    "attempt 2 ran without a record": (a_run(1), (*ONCE, "run-1 2 {due} START 8 300")),
    "nobody saw its end": (a_run(1), ONCE[:1]),
    "the record says": (a_run(1), tuple(line.replace("{due}", _END.isoformat()) for line in ONCE)),
    "yet another one followed": (
        a_run(1)
        | {
            "attempts": [
                {"number": 1, "outcome": "succeeded"},
                {"number": 2, "outcome": "succeeded"},
            ]
        },
        (*ONCE, "run-1 2 {due} START 8 300", "run-1 2 {due} END 8 400"),
    ),
    "went on after": (
        a_run(1)
        | {
            "attempts": [
                {"number": 1, "outcome": "interrupted"},
                {"number": 2, "outcome": "succeeded"},
            ]
        },
        (*ONCE, "run-1 2 {due} START 8 150", "run-1 2 {due} END 8 400"),
    ),
}


def test_an_execution_on_record_passes(tmp_path: Path) -> None:
    """One start, one end, one attempt that succeeded."""
    assert witnessed(tmp_path, *ONCE).objections({"run-1": a_run(1)}) == []


@pytest.mark.parametrize("what", STRANGE)
def test_an_execution_that_is_not_on_record_does_not_pass(tmp_path: Path, what: str) -> None:
    """Whatever ran and is not explained by the history is named."""
    run, lines = STRANGE[what]

    assert any(what in one for one in witnessed(tmp_path, *lines).objections({"run-1": run}))


def test_the_witness_says_what_it_was_told(tmp_path: Path) -> None:
    """The program, compiled or not, writes the lines that are read back."""
    witness = Witness.build(tmp_path)
    told = {
        "MAHAVISHNU_RUN_ID": "run-1",
        "MAHAVISHNU_ATTEMPT": "1",
        "MAHAVISHNU_SCHEDULED_FOR": "2026-12-01T02:01:00Z",
    }

    subprocess.run([*witness.argv, str(witness.file), "0"], check=True, env=told, timeout=20)

    assert [one.word for one in witness.sightings()] == ["START", "END"]
    assert witness.objections({"run-1": a_run(1)}) == []
