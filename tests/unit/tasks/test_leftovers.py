"""Ending what still works for runs whose server is gone, on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.tasks import leftovers
from mahavishnu_sched_mcp.tasks.leftovers import end_leftovers

from .detached import HIDES, LEAVES, a_detached
from .fakes import a_run, an_executor, is_alive, read_pid, wait_until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs Linux: looks into /proc"
)

type Starts = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Starts]:
    """Start processes that work for a run and have no supervisor; all are gone at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(run_id: str, script: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-IS", "-c", script, *words]
        process = subprocess.Popen(
            command, env={"MAHAVISHNU_RUN_ID": run_id}, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def run_of(tmp_path: Path, number: int = 1) -> str:
    """Give a run id no other test has."""
    return f"run-of-{tmp_path.name}-{os.getpid()}-{number}"


def test_it_ends_the_processes_of_these_runs_and_no_others(tmp_path: Path, start: Starts) -> None:
    """One look for all runs; a run that is not named goes on, also one named nearly alike."""
    nap = "import time; time.sleep(60)"
    ours = [start(run_of(tmp_path, number), nap) for number in range(8)]
    other = start(run_of(tmp_path, 0) + "0", nap)

    left = end_leftovers({run_of(tmp_path, number) for number in range(8)}, within=5)

    assert left == frozenset()
    assert [process.wait() for process in ours] == [-signal.SIGKILL] * 8
    assert is_alive(other.pid)


def test_one_that_left_group_session_and_parent_is_found_by_its_mark(
    tmp_path: Path, start: Starts
) -> None:
    """The run's id in the environment is enough."""
    path = tmp_path / "pid"
    assert start(run_of(tmp_path), LEAVES, str(path)).wait() == 0
    pid = read_pid(path)
    assert pid is not None
    assert is_alive(pid)

    left = end_leftovers([run_of(tmp_path)], within=5)

    assert left == frozenset()
    assert not is_alive(pid)


async def test_one_without_environment_is_found_through_its_supervisor(tmp_path: Path) -> None:
    """A supervised tree is ended as a whole, whatever its processes did to hide."""
    path = tmp_path / "pid"
    run = a_run(run_of(tmp_path))

    async with an_executor(commands={"flee": a_detached(HIDES, str(path))}) as executor:
        going = asyncio.create_task(executor.execute("flee", {}, context=run))
        await wait_until(path.exists, description="it got away")
        left = await asyncio.to_thread(end_leftovers, [run.run_id], within=5)
        pid = read_pid(path)
        outcome = await going

    assert left == frozenset()
    assert pid is not None
    assert not is_alive(pid)
    assert outcome.reason == "killed by signal 9"


async def test_a_stopped_supervisor_is_continued_to_do_its_work(tmp_path: Path) -> None:
    """The old leader and all its processes may have been stopped; they are ended all the same."""
    path = tmp_path / "pid"
    run = a_run(run_of(tmp_path))

    async with an_executor(commands={"flee": a_detached(HIDES, str(path))}) as executor:
        going = asyncio.create_task(executor.execute("flee", {}, context=run))
        await wait_until(path.exists, description="it got away")
        for tree in leftovers._find(frozenset([run.run_id])).values():
            for process in tree:
                os.kill(process.pid, signal.SIGSTOP)
        left = await asyncio.to_thread(end_leftovers, [run.run_id], within=5)
        pid = read_pid(path)
        await going

    assert left == frozenset()
    assert pid is not None
    assert not is_alive(pid)


def test_the_caller_and_its_ancestors_are_spared(tmp_path: Path) -> None:
    """A server that was itself started inside a run does not end itself."""
    run_id = run_of(tmp_path)
    program = (
        "from mahavishnu_sched_mcp.tasks.leftovers import end_leftovers;"
        f"print(end_leftovers(['{run_id}'], within=2) == frozenset())"
    )
    shell = f'"{sys.executable}" -c "{program}"; echo shell'

    done = subprocess.run(
        ["/bin/sh", "-c", shell],
        env={**os.environ, "MAHAVISHNU_RUN_ID": run_id},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "True\nshell\n", done.stderr


def test_what_cannot_be_ended_in_time_is_named(tmp_path: Path, start: Starts) -> None:
    """The caller learns for which runs something is left."""
    run_id = run_of(tmp_path)
    process = start(run_id, "import time; time.sleep(60)")
    calls: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leftovers, "send_signal", lambda *words, **more: calls.append((words, more)))
        left = end_leftovers([run_id, "run-nobody-knows"], within=0.1)

    assert left == {run_id}
    assert is_alive(process.pid)
    assert calls


def test_without_proc_it_waits_for_the_supervisors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other systems than Linux the supervisors end their groups by themselves."""
    monkeypatch.setattr(leftovers, "PROC", tmp_path / "none")

    assert end_leftovers([run_of(tmp_path)], within=0.05) == frozenset()
    assert end_leftovers([], within=60) == frozenset()
