"""Supervisors as real processes: nothing gets away from them, and nothing outlives its server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.tasks.process_tree import Process, find_descendants
from mahavishnu_sched_mcp.tasks.supervisor import SUPERVISOR_NAME

from .detached import DETACHES, HIDES, LEAVES, a_detached
from .fakes import a_run, a_shell, an_executor, is_alive, read_pid, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs Linux: only there orphans get a new parent of choice"
)
SIGNALS = """
import signal
print([number.name for number in signal.valid_signals()
       if signal.getsignal(number) is signal.SIG_IGN and number not in (13, 25)],
      signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def supervisors() -> list[Process]:
    """List the supervisors of this process."""
    return [one for one in find_descendants(os.getpid()) if one.name == SUPERVISOR_NAME[:15]]


@pytest.mark.parametrize("script", [DETACHES, HIDES], ids=["marked", "without-environment"])
async def test_whoever_leaves_group_session_and_environment_ends_with_its_run(
    script: str, tmp_path: Path
) -> None:
    """A double fork makes an orphan; the supervisor is its new parent and ends it."""
    path = tmp_path / "pid"

    async with an_executor(commands={"flee": a_detached(script, str(path))}) as executor:
        executor._processes.grace_seconds = 0.2
        going = asyncio.create_task(
            executor.execute("flee", {}, context=a_run(), timeout_seconds=15)
        )
        await wait_until(path.exists, description="it got away")
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        pid = read_pid(path)

        assert pid is not None
        assert not is_alive(pid)


async def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """A daemon started by a command is no service: when the command ends, so does it."""
    path = tmp_path / "pid"

    async with an_executor(commands={"leave": a_detached(LEAVES, str(path))}) as executor:
        outcome = await executor.execute("leave", {}, context=a_run())
        pid = read_pid(path)

        assert outcome.state is RunState.SUCCEEDED
        assert pid is not None
        assert not is_alive(pid)


async def test_a_stopped_process_is_continued_to_hear_sigterm() -> None:
    """One that stopped itself ends within the grace instead of being killed after it."""
    script = "trap 'echo heard; exit 0' TERM; kill -STOP $$; sleep 60"

    async with an_executor(commands={"stop": a_shell(script)}) as executor:
        outcome = await executor.execute("stop", {}, context=a_run(), timeout_seconds=0.3)

    assert outcome.state is RunState.TIMED_OUT
    assert outcome.output.text == "heard\n"


async def test_a_program_starts_with_the_systems_own_signal_handling() -> None:
    """Nothing of how Python or the guardian treat signals is inherited."""
    async with an_executor(commands={"signals": a_detached(SIGNALS)}) as executor:
        outcome = await executor.execute("signals", {}, context=a_run())

    assert outcome.output.text == "[] set()\n"


async def test_a_command_whose_supervisor_is_killed_ends_and_says_so(tmp_path: Path) -> None:
    """What is left is found by its marks and killed; the run is a failure."""
    path = tmp_path / "pid"

    async with an_executor(commands={"flee": a_detached(DETACHES, str(path))}) as executor:
        going = asyncio.create_task(executor.execute("flee", {}, context=a_run()))
        await wait_until(path.exists, description="it runs")
        (supervisor,) = supervisors()
        os.kill(supervisor.pid, signal.SIGKILL)
        outcome = await going
        pid = read_pid(path)

    assert outcome.state is RunState.FAILED
    assert outcome.reason == "killed together with the process that supervised it"
    assert pid is not None
    assert not is_alive(pid)


async def test_a_supervisor_told_to_end_kills_its_tree_first(tmp_path: Path) -> None:
    """SIGTERM to a supervisor is the way for others to end an execution as a whole."""
    path = tmp_path / "pid"

    async with an_executor(commands={"flee": a_detached(HIDES, str(path))}) as executor:
        going = asyncio.create_task(executor.execute("flee", {}, context=a_run()))
        await wait_until(path.exists, description="it runs")
        (supervisor,) = supervisors()
        os.kill(supervisor.pid, signal.SIGTERM)
        outcome = await going
        pid = read_pid(path)

    assert outcome.reason == "killed by signal 9"
    assert pid is not None
    assert not is_alive(pid)


async def test_a_killed_guardian_takes_no_execution_with_it(tmp_path: Path) -> None:
    """Killing the guardian's whole group leaves the supervisors, and so what they supervise."""
    path = tmp_path / "pid"
    script = f"echo $$ > {path}; sleep 0.5; echo done"

    async with an_executor(commands={"nap": a_shell(script)}) as executor:
        going = asyncio.create_task(executor.execute("nap", {}, context=a_run()))
        await wait_until(lambda: read_pid(path) is not None, description="it runs")
        guardian = executor._processes._guardian._process
        assert guardian is not None
        os.killpg(guardian.pid, signal.SIGKILL)
        outcome = await going

    assert outcome.output.text == "done\n"


async def test_nothing_is_left_of_an_executor_that_closed() -> None:
    """Neither the guardian nor a supervisor nor what one supervised."""
    async with an_executor(commands={"nap": a_shell("sleep 60")}) as executor:
        going = asyncio.create_task(executor.execute("nap", {}, context=a_run()))
        await wait_until(lambda: len(supervisors()) == 1, description="it runs")
        guardian = executor._processes._guardian._process
        await executor.aclose(grace_seconds=0.1)
        outcome = await going

    assert outcome.state is RunState.INTERRUPTED
    assert supervisors() == []
    assert guardian is not None
    assert not is_alive(guardian.pid)
