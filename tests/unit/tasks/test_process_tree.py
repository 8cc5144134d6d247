"""Finding the processes of an execution, on real ones."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.tasks import process_tree
from mahavishnu_sched_mcp.tasks.process_tree import (
    Traces,
    find_descendants,
    find_members,
    send_signal,
)

from .fakes import a_run, a_shell, an_executor

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs Linux: looks into /proc"
)


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Give a mark no other process has."""
    return f"MAHAVISHNU_RUN_ID={tmp_path}"


@pytest.fixture
async def sleeper(mark: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a shell and its child, of a session of their own, that carry the mark."""
    name, _, value = mark.partition("=")
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", "sleep 60 & wait", env={name: value}, start_new_session=True
    )
    yield process
    send_signal(signal.SIGKILL, group=process.pid, processes=())
    await process.wait()


async def test_members_are_known_by_mark_by_group_and_by_descent(
    mark: str, sleeper: asyncio.subprocess.Process
) -> None:
    """Each trace alone finds the process; a mark that only begins alike does not."""
    by_mark = find_members(Traces(marks=(mark,)))
    by_group = find_members(Traces(marks=(), group=sleeper.pid))
    below = find_descendants(os.getpid())
    nobody = find_members(Traces(marks=(mark[:-1],))) | find_members(Traces(marks=()))

    assert sleeper.pid in {member.pid for member in by_mark}
    assert sleeper.pid in {member.pid for member in by_group}
    assert sleeper.pid in {member.pid for member in below}
    assert nobody == frozenset()


async def test_one_that_ended_is_no_member_while_it_waits_to_be_reaped(
    mark: str, sleeper: asyncio.subprocess.Process
) -> None:
    """A zombie is not alive, whatever its parent does."""
    send_signal(signal.SIGKILL, group=sleeper.pid, processes=())
    await sleeper.wait()

    assert find_members(Traces(marks=(mark,))) == frozenset()


async def test_without_proc_a_group_is_signalled_still(
    sleeper: asyncio.subprocess.Process, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On other systems than Linux a program's process group is what ends."""
    monkeypatch.setattr(process_tree, "PROC", tmp_path / "none")

    found = find_members(Traces(marks=(), group=sleeper.pid))
    send_signal(signal.SIGKILL, group=sleeper.pid, processes=found)

    assert found == frozenset()
    assert await sleeper.wait() == -signal.SIGKILL


@pytest.mark.parametrize("is_warm", [False, True], ids=["first-command", "later-command"])
async def test_a_cancellation_at_any_moment_leaves_no_process(*, is_warm: bool) -> None:
    """Before, during and after the start, and twice: the tree is gone when it is raised."""
    commands = {"nap": a_shell("sleep 60 & sleep 60"), "nothing": a_shell("")}
    async with an_executor(commands=commands) as executor:
        executor._processes.grace_seconds = 0.1
        for moment in range(12):
            if is_warm:
                await executor.execute("nothing", {}, context=a_run())
            run = a_run(f"cancelled-{moment}")
            going = asyncio.create_task(executor.execute("nap", {}, context=run))
            for _ in range(moment):
                await asyncio.sleep(0)
            going.cancel()
            await asyncio.sleep(0)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
        await executor.aclose(grace_seconds=0.1)

        left = [
            find_members(Traces(marks=(f"MAHAVISHNU_RUN_ID=cancelled-{moment}",)))
            for moment in range(12)
        ]

    assert left == [frozenset()] * 12
