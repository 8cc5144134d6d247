"""Damaged ledgers: every case ends healed, refused, or with the damaged row in quarantine."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.run import Run
from mahavishnu_sched_mcp.errors import LedgerCorruptError
from mahavishnu_sched_mcp.ledger.database import connect
from tests.factories import ManualClock, a_settings, an_app, an_interval, ring, settled
from tests.faults.tally import Tally, amount

JOBS = 12
CLOSED, KILLED = "closed", "killed"
type Damage = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Truth:
    """What was acknowledged, and the files that were left.

    Attributes:
        closed: The data dir after a clean stop.
        killed: The data dir as a kill leaves it, with commits that only the log holds.
    """

    closed: Path
    killed: Path
    jobs: dict[str, Job]
    runs: dict[str, Run]


@pytest.fixture
async def truth(tmp_path: Path) -> Truth:
    """Make a ledger with jobs in each state and some runs."""
    clock, folder = ManualClock(), tmp_path / "truth"
    async with an_app(folder, clock=clock) as app:
        reader = connect(folder / "ledger.db", read_only=True)
        for number in range(JOBS):
            await app.scheduler.schedule_internal_task(
                "greet", trigger=an_interval(60 + number), id=f"job-{number}", tags=["all"]
            )
            if number == 0:  # from here on a reader keeps the commits in the log
                reader.execute("begin")
                reader.execute("select count(*) from job").fetchall()
        await app.scheduler.pause_job("apscheduler:job-1", note="for a while")
        await ring(app, clock)
        await settled(app, "apscheduler:job-0")
        await app.scheduler.cancel_job("apscheduler:job-2")
        jobs, runs = await everything(app)
        # Not by this process: closing a file here would drop SQLite's locks on it.
        copy = ["cp", "-a", str(folder), str(tmp_path / KILLED)]
        await asyncio.to_thread(subprocess.run, copy, check=True)
        reader.close()
    return Truth(closed=folder, killed=tmp_path / KILLED, jobs=jobs, runs=runs)


async def everything(app: MahavishnuApp) -> tuple[dict[str, Job], dict[str, Run]]:
    """List all jobs, the ended ones too, and all runs."""
    going = (await app.scheduler.list_jobs(limit=200)).rows
    ended = (await app.scheduler.list_jobs(limit=200, state=JobState.CANCELLED)).rows
    runs = (await app.scheduler.list_runs(limit=200)).rows
    return {job.job_id: job for job in (*going, *ended)}, {run.run_id: run for run in runs}


def flip(file: Path, chance: random.Random) -> None:
    """Flip 1 to 64 bytes anywhere in a file."""
    content = bytearray(file.read_bytes())
    for _ in range(chance.randint(1, 64)):
        content[chance.randrange(len(content))] ^= chance.randint(1, 255)
    file.write_bytes(content)


def cut(file: Path, chance: random.Random) -> None:
    """Cut a file short, down to nothing at the worst."""
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])


def wipe_first_page(file: Path, _: random.Random) -> None:
    """Fill the first page with zeros."""
    content = file.read_bytes()
    file.write_bytes(bytes(4096) + content[4096:])


def remove(file: Path, _: random.Random) -> None:
    """Take a file away."""
    file.unlink()


def of_the_future(file: Path, _: random.Random) -> None:
    """Let a newer version have written it."""
    with apsw.Connection(str(file)) as connection:
        connection.execute("pragma user_version = 999")


def spoil_a_job(file: Path, chance: random.Random) -> None:
    """Make one value of one job's row unreadable."""
    values: list[tuple[str, str | int | bytes]] = [
        ("definition", '{"backend": "apsch'),
        ("definition", "[" * 5000),
        ("trigger", '{"type": "never"}'),
        ("tags", "[1"),
        ("reference", "nothing"),
        ("state", "acti\x00ve"),
        ("created_at", 2**62),
        ("origin", "elsewhere"),
    ]
    column, value = chance.choice(values)
    given = "cast(? as text)" if isinstance(value, bytes) else "?"
    with apsw.Connection(str(file)) as connection:
        connection.execute(f"update job set {column} = {given} where serial = 6", (value,))  # noqa: S608 - named above


def spoil_a_run(file: Path, chance: random.Random) -> None:
    """Make one value of one run's row unreadable."""
    column, value = chance.choice(
        [("reference", "{"), ("state", "sucdeeded"), ("cause", "?"), ("finished_at", "soon")]
    )
    with apsw.Connection(str(file)) as connection:
        connection.execute(f"update run set {column} = ? where seq = 1", (value,))  # noqa: S608 - named above


CASES: tuple[tuple[str, str, str, Damage], ...] = (
    ("flip the closed ledger", CLOSED, "", flip),
    ("flip the ledger of a killed server", KILLED, "", flip),
    ("flip its log", KILLED, "-wal", flip),
    ("cut the closed ledger", CLOSED, "", cut),
    ("cut the ledger of a killed server", KILLED, "", cut),
    ("cut its log", KILLED, "-wal", cut),
    ("wipe the first page", CLOSED, "", wipe_first_page),
    ("wipe the first page of a killed server", KILLED, "", wipe_first_page),
    ("remove the log", KILLED, "-wal", remove),
    ("remove the ledger", CLOSED, "", remove),
    ("a schema of the future", KILLED, "", of_the_future),
    ("spoil a job", KILLED, "", spoil_a_job),
    ("spoil a run", KILLED, "", spoil_a_run),
)


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_a_damaged_ledger_is_never_shown_as_if_nothing_were_wrong(
    truth: Truth, tmp_path: Path, tally: Tally
) -> None:
    """Every acknowledged job is listed as it was, or named as damaged, or nothing is listed."""
    seen: Counter[str] = Counter()
    for number in range(amount(300)):
        name, state, piece, damage = CASES[number % len(CASES)]
        data = tmp_path / f"case-{number}"
        shutil.copytree(truth.closed if state == CLOSED else truth.killed, data)
        damage(data / f"ledger.db{piece}", random.Random(number))
        found = await outcome(truth, data)
        assert found in allowed(name), f"case {number}, {name}: {found}"
        seen[found] += 1
        shutil.rmtree(data)

    tally(cases=amount(300), **seen)
    assert seen["refused"] > 0
    assert seen["quarantined"] > 0
    assert seen["healed"] > 0


def allowed(name: str) -> set[str]:
    """Say how a case may end.

    What stands in the rows of a killed server's ledger has no check of its own: a value that
    is another one and can still be read is not noticed there.
    """
    sound = {"healed", "refused", "quarantined"}
    return sound | {"altered"} if name == "flip the ledger of a killed server" else sound


async def outcome(truth: Truth, data: Path) -> str:
    """Start a scheduler on a data dir, and say what it makes of it."""
    before = contents(data)
    app = MahavishnuApp(a_settings(data), clock=ManualClock())
    await app.scheduler.start(lead=False)
    try:
        try:
            jobs, runs = await everything(app)
        except LedgerCorruptError as refused:
            if contents(data) != before:
                return "written to"
            return "refused" if refused.hint and "/" not in str(refused) else "unhelpful"
        return compared(truth, jobs, runs)
    finally:
        await app.stop_scheduler(drain=0)


def compared(truth: Truth, jobs: dict[str, Job], runs: dict[str, Run]) -> str:
    """Say how what is listed differs from what was acknowledged."""
    if jobs.keys() != truth.jobs.keys() or runs.keys() != truth.runs.keys():
        return "silently less"
    strange = [job.note for key, job in jobs.items() if job != truth.jobs[key]]
    strange += [run.reason or "" for key, run in runs.items() if run != truth.runs[key]]
    if not strange:
        return "healed"
    is_named = all("record in the ledger is damaged" in word for word in strange)
    return "quarantined" if is_named else "altered"


def contents(data: Path) -> dict[str, bytes]:
    """Give what the ledger's own files hold."""
    return {
        file.name: file.read_bytes()
        for file in data.iterdir()
        if file.name in {"ledger.db", "ledger.db-wal"} and file.stat().st_size > 0
    }
