"""What a whole process shows: a silent stdout, light imports, work that survives a kill."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.backends.oneiric.queues.sqlite import SqliteQueueAdapter
from mahavishnu_sched_mcp.domain.clock import SystemClock

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

IMPORT = """
import sys
import mahavishnu_sched_mcp.backends.oneiric.backend
heavy = {"oneiric", "prefect", "apscheduler", "fastmcp"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""

START = """
import asyncio, pathlib, sys
from mahavishnu_sched_mcp.backends.oneiric.backend import OneiricBackend
from mahavishnu_sched_mcp.domain.catalog import TaskEntry
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.workflow import Node, Workflow

async def main():
    backend = OneiricBackend(
        workflows={"etl": Workflow(name="etl", nodes=(Node(id="e", task="extract"),))},
        tasks={"extract": TaskEntry(name="extract", source="callable")},
        work=None, clock=SystemClock(), queue_path=pathlib.Path(sys.argv[1]),
        concurrency=0, worker_name="child",
    )
    await backend.ensure_started()
    await backend.stop()
    print("stopped", file=sys.stderr)

asyncio.run(main())
"""

LEAVE = """
import asyncio, sys, time
from mahavishnu_sched_mcp.backends.oneiric.daemon import DaemonThread

async def main():
    call = asyncio.ensure_future(DaemonThread("slow").call(lambda: time.sleep(600)))
    await asyncio.sleep(0.05)

asyncio.run(main())
"""

HOLD = """
import asyncio, pathlib, sys
from mahavishnu_sched_mcp.backends.oneiric.queues.sqlite import SqliteQueueAdapter
from mahavishnu_sched_mcp.domain.clock import SystemClock

async def main():
    queue = SqliteQueueAdapter(pathlib.Path(sys.argv[1]), clock=SystemClock())
    await queue.init()
    await queue.enqueue({"workflow": "etl", "metadata": {"run_id": "run-1"}})
    await queue.enqueue({"workflow": "etl", "metadata": {"run_id": "run-2"}})
    held = await queue.read(count=1, block_ms=0)
    print(held[0].payload["metadata"]["run_id"], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class LateClock(SystemClock):
    """The machine's clock, some time ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        """Give the wall clock's instant, moved ahead."""
        return super().now() + self._ahead


def run_python(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)


def test_importing_the_backend_imports_no_engine() -> None:
    """A server whose users never need a queue does not pay for one."""
    assert run_python(IMPORT).stderr == ""


def test_the_exit_waits_for_no_blocked_call() -> None:
    """A slow import or a locked file never holds up the end of the process."""
    assert run_python(LEAVE).returncode == 0


@pytest.mark.slow
def test_the_engine_writes_nothing_to_stdout(tmp_path: Path) -> None:
    """Stdout belongs to the MCP client, even where nobody configured the logs."""
    done = run_python(START, str(tmp_path / "queue.db"))

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith("stopped\n")


async def test_a_killed_consumers_message_is_delivered_again(tmp_path: Path) -> None:
    """Kill -9 between reading and acknowledging loses nothing: the lease ends."""
    path = tmp_path / "queue.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        held = await asyncio.wait_for(child.stdout.readline(), 20)
    finally:
        child.kill()
        await child.wait()
    assert held == b"run-1\n"

    now = SqliteQueueAdapter(path, clock=SystemClock())
    later = SqliteQueueAdapter(path, clock=LateClock(timedelta(seconds=31)))
    await now.init()
    await later.init()
    at_once = await now.read(count=5, block_ms=0)
    after_the_lease = await later.read(count=1, block_ms=0)
    await now.cleanup()
    await later.cleanup()

    assert [(m.payload["metadata"]["run_id"], m.deliveries) for m in at_once] == [("run-2", 1)]
    assert [(m.payload["metadata"]["run_id"], m.deliveries) for m in after_the_lease] == [
        ("run-1", 2)
    ]
