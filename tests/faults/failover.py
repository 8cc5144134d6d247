"""Several servers on one data dir, of which the leading one is killed or stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from tests.e2e.servers import wait_until
from tests.faults.reference import UNFINISHED, Span, discrepancies
from tests.faults.stage import Stage, Wire

if TYPE_CHECKING:
    from pathlib import Path

EVERY_SECOND = {"type": "interval", "seconds": 1}
SLOW = "apscheduler:slow"
_QUEUED = "oneiric:queued"
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "apscheduler:quick": ("schedule_internal_task", {"task": "witness"}),
    "apscheduler:longer": (
        "schedule_internal_task",
        {"task": "witness", "params": {"milliseconds": 400}},
    ),
    "apscheduler:delicate": (
        "schedule_internal_task",
        {"task": "delicate", "params": {"milliseconds": 200}},
    ),
    _QUEUED: ("enqueue_workflow", {"workflow_key": "witnessed"}),
}
"""Jobs of every second: what may run twice, what may not, and what goes through the queue."""


class TakeOver(NamedTuple):
    """One change of the lead.

    Attributes:
        term: The new one.
        struck: When the old leader was killed or stopped, in monotonic nanoseconds.
        told: When `get_status` of a survivor named the new leader.
        believed: When a survivor was last asked and named the old one as running.
    """

    term: int
    struck: int
    told: int
    believed: int


@dataclass
class Troupe:
    """The servers of one data dir, and the jobs they fire.

    Attributes:
        born: Before any job was made.
    """

    stage: Stage
    wires: list[Wire] = field(default_factory=list)
    take_overs: list[TakeOver] = field(default_factory=list)
    born: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, folder: Path) -> Troupe:
        """Write the settings; nothing is started yet."""
        workflow = {"nodes": [{"id": "only", "task": "witness"}]}
        return cls(Stage.of(folder, workflows={"witnessed": workflow}))

    async def begin(self, *, servers: int) -> None:
        """Start the servers and make the jobs."""
        await self.join(servers)
        for job_id, (tool, arguments) in JOBS.items():
            name = job_id.partition(":")[2]
            await self.wires[0].call(tool, id=name, trigger=EVERY_SECOND, **arguments)

    async def join(self, servers: int) -> None:
        """Start servers until there are so many."""
        missing = servers - len(self.wires)
        self.wires += await asyncio.gather(*(Wire.start(self.stage.place) for _ in range(missing)))

    async def leader(self) -> Wire:
        """Give the leading server, once there is one that has fired in its term."""

        async def look() -> Wire | None:
            said = (await self.wires[0].call("get_status"))["leader"]
            found = [wire for wire in self.wires if wire.process.pid == said["pid"]]
            return found[0] if found and said["is_running"] else None

        wire = await wait_until(look, "a server of ours to lead", seconds=30)

        async def has_fired() -> bool | None:
            return self.first_fires().get(self.term()) is not None or None

        await wait_until(has_fired, "the leader to fire", seconds=30)
        return wire

    async def watch(self, gone: int, *, struck: int, seconds: float) -> None:
        """Ask a survivor who leads until it is another one than the process that is gone."""
        believed = struck
        survivor = next(wire for wire in self.wires if wire.process.pid != gone)

        async def look() -> dict[str, Any] | None:
            nonlocal believed
            asked = time.monotonic_ns()
            said: dict[str, Any] = (await survivor.call("get_status"))["leader"]
            if said["pid"] != gone:
                return said if said["is_running"] else None
            if said["is_running"]:
                believed = asked
            return None

        said = await wait_until(look, "another server to lead", seconds=seconds)
        told = time.monotonic_ns()
        self.take_overs.append(TakeOver(said["term"], struck, told, believed))

    async def kill_leader(self) -> None:
        """Kill -9 the leader, and watch a survivor take over."""
        victim = await self.leader()
        self.wires.remove(victim)
        struck = time.monotonic_ns()
        await victim.kill()
        await self.watch(victim.process.pid, struck=struck, seconds=20)

    async def stop_leader(self) -> tuple[Wire, int]:
        """Stop the leader between two of its transactions, and say when that was.

        One that is stopped in the middle of one keeps SQLite's write lock, and nobody writes
        until it goes on: it is let go on, and stopped again.
        """
        victim = await self.leader()
        while True:
            os.kill(victim.process.pid, signal.SIGSTOP)
            struck = time.monotonic_ns()
            if self._is_writable():
                return victim, struck
            os.kill(victim.process.pid, signal.SIGCONT)
            await asyncio.sleep(0.01)  # lets it finish its transaction, which nothing tells of

    async def end(self) -> tuple[list[str], dict[str, dict[str, Any]]]:
        """Pause all jobs, wait until nothing goes on, and compare fires with records.

        Returns:
            What does not agree, and every run by its id.
        """
        wire = self.wires[0]
        before = datetime.now(UTC)
        await asyncio.gather(*(wire.call("pause_job", job_id=job_id) for job_id in JOBS))
        after = datetime.now(UTC)

        async def look() -> bool | None:
            left = [run for one in UNFINISHED for run in await wire.runs(state=one)]
            for run in left:  # what a queue brings while its job is paused waits for the resume
                if run["job_id"] == _QUEUED and run["state"] == "pending":
                    await wire.call("cancel_run", run_id=run["run_id"])
            return None if left else True

        await wait_until(look, "every run to be over", seconds=60)
        objections, runs = list[str](), dict[str, dict[str, Any]]()
        for job_id in JOBS:
            job, found = await wire.call("get_job", job_id=job_id), await wire.runs(job_id=job_id)
            objections += discrepancies(
                job, found, [Span(job["trigger"], self.born, before, after)]
            )
            runs |= {run["run_id"]: run for run in found}
        return objections, runs

    async def close(self) -> None:
        """End every server as a client does."""
        await asyncio.gather(*(wire.close() for wire in self.wires))

    def term(self) -> int:
        """Read the newest term."""
        return int(self._rows("select term from leader")[0][0])

    def attempts(self, *, term: int) -> list[tuple[Any, ...]]:
        """Read what the ledger says of the attempts of a term."""
        return self._rows("select * from attempt where term = ? order by run_id, number", term)

    def begun(self, *, term: int) -> list[int]:
        """Read when the attempts of a term began, in microseconds of the wall clock."""
        rows = self._rows("select started_at from attempt where term = ?", term)
        return [int(row[0]) for row in rows]

    def term_began(self) -> int:
        """Read when the newest term began, in microseconds of the wall clock."""
        return int(self._rows("select started_at from leader")[0][0])

    def first_fires(self) -> dict[int, int]:
        """Give when in each term the first command was seen to start, in nanoseconds."""
        rows = self._rows("select run_id, number, term from attempt")
        terms = {(run_id, number): term for run_id, number, term in rows}
        found: dict[int, int] = {}
        for seen in self.stage.witness.sightings():
            term = terms.get((seen.run_id, seen.attempt))
            if term is not None and seen.word == "START":
                found[term] = min(seen.at, found.get(term, seen.at))
        return found

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        connection = apsw.Connection(str(self.stage.ledger), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5000)
        try:
            return connection.execute(sql, values).fetchall()  # type: ignore[arg-type]  # plain values
        finally:
            connection.close()

    def _is_writable(self) -> bool:
        connection = apsw.Connection(str(self.stage.ledger))
        try:
            connection.execute("begin immediate")
            connection.execute("rollback")
        except apsw.BusyError:
            return False
        finally:
            connection.close()
        return True


def is_alive(pid: int) -> bool:
    """Whether a process runs; a dead one whose parent is stopped is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a kernel file
            return stat.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def percentiles(times: list[int]) -> str:
    """Say p50/p99/max of nanoseconds in seconds."""
    ordered = sorted(times)
    chosen = [ordered[max(0, -(-len(ordered) * one // 100) - 1)] for one in (50, 99, 100)]
    return "/".join(f"{one / 1e9:.2f}" for one in chosen) + " s"
