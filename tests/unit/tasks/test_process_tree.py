"""Finding and ending the processes of an execution, on real ones."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.tasks import process_tree
from mahavishnu_sched_mcp.tasks.process_tree import Traces, find_members, main, sweep

from .fakes import a_run, a_shell, an_executor

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs Linux: looks into /proc"
)


async def a_sleeper(mark: str) -> asyncio.subprocess.Process:
    """Start a process of its own session that carries a mark."""
    name, _, value = mark.partition("=")
    return await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", "sleep 60 & wait", env={name: value}, start_new_session=True
    )


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Give a mark no other process has."""
    return f"MAHAVISHNU_RUN_ID={tmp_path}"


async def test_members_are_known_by_mark_by_group_and_by_descent(mark: str) -> None:
    """Each trace alone finds the process; a mark that only begins alike does not."""
    process = await a_sleeper(mark)
    try:
        by_mark = find_members(Traces(marks=(mark,)))
        by_group = find_members(Traces(marks=(), group=process.pid))
        known = find_members(Traces(marks=()), known=by_mark)
        nobody = find_members(Traces(marks=(mark[:-1],))) | find_members(Traces(marks=()))
    finally:
        sweep([Traces(marks=(mark,), group=process.pid)])
        await process.wait()

    assert process.pid in {member.pid for member in by_mark}
    assert by_mark <= by_group | known
    assert process.pid in {member.pid for member in by_group & known}
    assert nobody == frozenset()


async def test_a_sweep_leaves_nobody(mark: str) -> None:
    """Marked processes are killed, also those whose group nobody told."""
    process = await a_sleeper(mark)

    sweep([Traces(marks=(mark,))])

    assert await process.wait() == -signal.SIGKILL
    assert find_members(Traces(marks=(mark,))) == frozenset()


async def test_the_watchman_ends_what_was_announced_and_not_let_go(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its input ends the server is gone: what runs then is killed, what was over is not."""
    running, over = await a_sleeper(f"{mark}-1"), await a_sleeper(f"{mark}-2")
    said = [
        {"key": 1, "marks": [f"{mark}-1"], "group": None},
        {"key": 2, "marks": [f"{mark}-2"], "group": over.pid},
        {"key": 1, "marks": [f"{mark}-1"], "group": running.pid},
        {"end": 2},
        {"end": 3},
    ]
    lines = "".join(f"{json.dumps(line)}\n" for line in said)
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # these signals are the test's own

    main()
    try:
        survivors = find_members(Traces(marks=(f"{mark}-2",)))
    finally:
        sweep([Traces(marks=(f"{mark}-2",), group=over.pid)])
        await over.wait()

    assert await running.wait() == -signal.SIGKILL
    assert over.pid in {member.pid for member in survivors}


async def test_without_proc_the_group_is_ended_still(
    mark: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On other systems than Linux a command's process group is what ends."""
    monkeypatch.setattr(process_tree, "_PROC", tmp_path / "none")
    process = await a_sleeper(mark)

    assert find_members(Traces(marks=(mark,), group=process.pid)) == frozenset()
    sweep([Traces(marks=(mark,), group=process.pid)])

    assert await process.wait() == -signal.SIGKILL


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
