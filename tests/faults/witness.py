"""What really ran, told by the commands themselves in a file that the server knows nothing of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

_SOURCE = Path(__file__).with_name("witness.c")
_FALLBACK = Path(__file__).with_name("witness_program.py")


class Sighting(NamedTuple):
    """One line of a witness.

    Attributes:
        nominal: For which instant the server said it was started.
        word: START or END.
        at: Nanoseconds of the machine's monotonic clock.
    """

    run_id: str
    attempt: int
    nominal: datetime
    word: str
    pid: int
    at: int


@dataclass(frozen=True)
class Witness:
    """An allow-listed command, and the file to which it appends.

    Attributes:
        argv: The program as the settings name it, up to its arguments.
        file: Outside the data dir.
    """

    argv: tuple[str, ...]
    file: Path

    @classmethod
    def build(cls, folder: Path) -> Self:
        """Compile the program into a folder; a Python one stands in where nothing compiles."""
        program, compiler = folder / "witness", shutil.which("gcc") or shutil.which("cc")
        argv: tuple[str, ...] = (sys.executable, "-I", "-S", str(_FALLBACK))
        if compiler is not None:
            made = subprocess.run(
                [compiler, "-O2", "-o", str(program), str(_SOURCE)],
                check=False,
                capture_output=True,
                timeout=60,
            )
            if made.returncode == 0:
                program.chmod(0o755)
                argv = (str(program),)
        return cls(argv, folder / "witness.log")

    def command(self, *, idempotent: bool) -> dict[str, Any]:
        """Declare it as an operator would under `tasks.commands`."""
        shape = {"type": "integer", "minimum": 0, "maximum": 60_000, "default": 0}
        return {
            "argv": [*self.argv, str(self.file), "{milliseconds}"],
            "params": {"milliseconds": shape},
            "idempotent": idempotent,
        }

    def sightings(self) -> list[Sighting]:
        """Read what was seen so far, in its order."""
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="ascii").splitlines()
        return [
            Sighting(run_id, int(attempt), datetime.fromisoformat(nominal), word, int(pid), int(at))
            for run_id, attempt, nominal, word, pid, at in map(str.split, lines)
        ]

    def objections(self, runs: dict[str, dict[str, Any]]) -> list[str]:
        """Say where the history and what was seen do not agree; empty where they do.

        Args:
            runs: Every run of the history by its id, of jobs whose target is the witness alone.
        """
        seen: dict[str, list[Sighting]] = defaultdict(list)
        for sighting in self.sightings():
            seen[sighting.run_id].append(sighting)
        untraced = [f"{run_id}: ran without a record" for run_id in seen.keys() - runs.keys()]
        return untraced + [
            f"{run_id}: {objection}"
            for run_id, run in runs.items()
            for objection in _objections(run, seen[run_id])
        ]


def _objections(run: dict[str, Any], seen: list[Sighting]) -> list[str]:
    """Check one run: each execution is an attempt on record, each but the last one cut short."""
    outcomes = {attempt["number"]: attempt["outcome"] for attempt in run["attempts"]}
    starts = [sighting for sighting in seen if sighting.word == "START"]
    found = [
        f"attempt {start.attempt} ran without a record"
        for start in starts
        if start.attempt not in outcomes
    ]
    numbers = [start.attempt for start in starts]
    found += [f"attempt {one} ran twice" for one in set(numbers) if numbers.count(one) > 1]
    last = max(outcomes, default=0)
    found += [
        f"attempt {number} was {outcome} and yet another one followed"
        for number, outcome in outcomes.items()
        if number < last and outcome not in {"interrupted", "failed", "timed_out"}
    ]
    if run["state"] == "succeeded" and (last, "END") not in {(s.attempt, s.word) for s in seen}:
        found.append("is recorded as succeeded and nobody saw its end")
    due = datetime.fromisoformat(run["last_scheduled_for"])
    found += [
        f"was told {start.nominal}, the record says {due}"
        for start in starts
        if abs((start.nominal - due).total_seconds()) > _ROUNDING
    ]
    return found + _overlaps(seen)


_ROUNDING = 0.001
"""The tools answer in milliseconds."""


def _overlaps(seen: list[Sighting]) -> list[str]:
    """Find attempts whose end was seen after the next one's start."""
    starts = {one.attempt: one.at for one in seen if one.word == "START"}
    ends = {one.attempt: one.at for one in seen if one.word == "END"}
    return [
        f"attempt {number} went on after attempt {number + 1} had started"
        for number, at in ends.items()
        if number + 1 in starts and at > starts[number + 1]
    ]
