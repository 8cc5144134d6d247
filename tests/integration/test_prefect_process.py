"""What becomes of Prefect's processes without their parent, and of calls without a server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.backends.prefect.backend import PrefectBackend
from mahavishnu_sched_mcp.backends.prefect.child import started_of
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.engine import EngineState
from mahavishnu_sched_mcp.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mahavishnu_sched_mcp.backends.protocol import MirroredRun
    from mahavishnu_sched_mcp.domain.job import Job

PARENT = """
import asyncio, os, pathlib, sys, time
from mahavishnu_sched_mcp.backends.prefect.child import ChildProcess
from mahavishnu_sched_mcp.backends.prefect.place import Place

place = Place(pathlib.Path(sys.argv[1]))
place.prepare()
environment = {**os.environ, "PREFECT_HOME": str(place.root), "PREFECT_API_URL": sys.argv[3]}
server, worker = ChildProcess("server", place=place), ChildProcess("worker", place=place)
server.start(["_prefect-server", "--port", sys.argv[2]], environment=environment)
ready = ["--ready-file", str(place.worker_ready)]
arguments = ["--pool", "p", "--owner", "o", "--limit", "1", *ready]
worker.start(["_prefect-worker", *arguments], environment=environment)
time.sleep(120)
"""


class EmptyLedger:
    """A ledger without jobs."""

    async def mirrored_jobs(self) -> Sequence[Job]:
        """Know none."""
        return []

    async def mirror(self, job_serial: int, runs: Sequence[MirroredRun]) -> None:
        """Expect nothing."""
        raise AssertionError((job_serial, runs))


def a_free_port() -> int:
    """Find a port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], *, seconds: float, description: str) -> None:
    """Poll a condition until it holds, or fail with its description."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {description}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    """However the parent ends, server and worker are gone within five seconds."""
    port = a_free_port()
    command = [
        sys.executable,
        "-c",
        PARENT,
        str(tmp_path),
        str(port),
        f"http://127.0.0.1:{port}/api",
    ]
    files = [tmp_path / "prefect" / f"{name}.pid" for name in ("server", "worker")]
    with subprocess.Popen(command) as parent:
        wait_until(
            lambda: all(path.exists() and path.read_text() for path in files),
            seconds=20,
            description="both children have been started",
        )
        pids = [json.loads(path.read_text())["pid"] for path in files]
        parent.kill()

    wait_until(
        lambda: [pid for pid in pids if started_of(pid)] == [],
        seconds=5,
        description="both children are gone",
    )


@pytest.mark.parametrize("suffix", ["", "/api"])
async def test_a_server_that_does_not_answer_is_said_so_within_two_seconds(
    tmp_path: Path, suffix: str
) -> None:
    """The caller learns at once what to start or to set, and nothing has been started."""
    url = f"http://127.0.0.1:{a_free_port()}{suffix}"
    backend = PrefectBackend(
        data_dir=tmp_path,
        config_path=None,
        flows={},
        workflows={},
        mirror=EmptyLedger(),
        clock=SystemClock(),
        server_url=url,
        api_key=None,
        ui=True,
        work_pool=None,
    )
    started = time.monotonic()

    with pytest.raises(BackendUnavailableError) as caught:
        await backend.ensure_started()

    assert time.monotonic() - started < 2
    assert caught.value.message == f"Backend 'prefect' did not answer at {url} within 0.5 s."
    assert "prefect server start" in caught.value.hint
    assert backend.health().state is EngineState.UNAVAILABLE
    assert backend.health().figures == {"server_pid": None, "worker_pid": None}
    await backend.stop()
