"""How late a fire starts, ours beside a plain asyncio timer with a task."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw

from tests.benchmarks.figures import Figure, milliseconds, percentile
from tests.benchmarks.wire import CHECKOUT, MeasuredServer, environment, our_server

MOST_MEDIAN_MS = 10.0

_JOBS = 20
_FIRES = 20
_SECOND = 1_000_000  # the ledger's instants are microseconds
_SETTINGS = "tasks: {modules: [tests.benchmarks.chore]}\n"
_SELECT = """
select job_id, scheduled_for, started_at, output from run
 where cause = 'schedule' and state = 'succeeded' and job_id like 'apscheduler:tick-%'
 order by job_id, scheduled_for
"""


def measure(folder: Path) -> list[Figure]:
    """Let jobs fire every second, then read the ledger; then the same with bare timers."""
    rows = _fire(folder)
    claimed = [(started - due) / _SECOND for _, due, started, _ in rows]
    begun = [(began - due) / _SECOND for _, due, _, began in rows]
    bare = _ring()
    what = f"{_JOBS} jobs at 1 s for {_FIRES} s"
    return [
        Figure(
            what=f"missing fires, {what} ({_JOBS * _FIRES} due)",
            ours=float(_JOBS * _FIRES - _in_step(rows)),
            unit="fires",
            most=0.0,
        ),
        *(
            Figure(
                what=f"lateness of {kind}, {what}: p{rank}",
                ours=milliseconds(percentile(late, rank)),
                beside=milliseconds(percentile(bare, rank)),
                most=MOST_MEDIAN_MS if rank == 50 else None,
            )
            for kind, late in (("the claim", claimed), ("the task's first line", begun))
            for rank in (50, 90, 99)
        ),
    ]


def _fire(folder: Path) -> list[tuple[str, int, int, int]]:
    """Give each fire's job, due time, claim and first line of the task, in microseconds."""
    settings = folder / "settings.yaml"
    settings.write_text(_SETTINGS, encoding="utf-8")
    data_dir = folder / "data"
    with MeasuredServer(our_server(data_dir, config=settings)) as server:
        server.greet()
        for number in range(_JOBS):
            server.call(
                "schedule_internal_task",
                {
                    "task": "note_instant",
                    "trigger": {"type": "interval", "seconds": 1},
                    "id": f"tick-{number:02}",
                    "max_runs": _FIRES,
                },
            )
        _await_completion(server)
    ledger = apsw.Connection(str(data_dir / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows: list[Any] = ledger.execute(_SELECT).fetchall()
    finally:
        ledger.close()
    return [(job, due, started, int(json.loads(output))) for job, due, started, output in rows]


def _await_completion(server: MeasuredServer) -> None:
    """Leave the server alone while it fires, then wait for the last run's end."""
    time.sleep(_FIRES + 0.5)
    deadline = time.monotonic() + 10
    while server.call("list_jobs", {})["total"] > 0:
        if time.monotonic() > deadline:
            msg = "The jobs were not completed in time."
            raise RuntimeError(msg)
        time.sleep(0.25)


def _in_step(rows: list[tuple[str, int, int, int]]) -> int:
    """Count the fires that are one second after the one before of the same job."""
    due: dict[str, list[int]] = {}
    for job, at, _, _ in rows:
        due.setdefault(job, []).append(at)
    return sum(
        1 + sum(later - earlier == _SECOND for earlier, later in pairwise(times))
        for times in due.values()
    )


def _ring() -> list[float]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("timers.py")), str(_JOBS), str(_FIRES)],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        check=True,
    )
    late: list[float] = json.loads(done.stdout)["late"]
    return late
