"""Functions in processes of their own: what they see and say, and that they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_sched_mcp.domain.run import Outcome, RunState
from mahavishnu_sched_mcp.tasks.context import RunContext
from mahavishnu_sched_mcp.tasks.executor import TaskExecutor
from mahavishnu_sched_mcp.tasks.registry import TaskRegistry

from .fakes import RUN_ID, RecordingPorts, a_run, is_alive, read_pid, wait_until

MODULE = f"{__package__}.operated"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@contextlib.asynccontextmanager
async def operated(*, max_output_bytes: int = 10_000) -> AsyncIterator[TaskExecutor]:
    """Open an executor over the operator's module, and close it after."""
    executor = TaskExecutor(
        TaskRegistry(modules=[MODULE]),
        ports=RecordingPorts(),
        max_output_bytes=max_output_bytes,
        max_runtime_seconds=40,
    )
    try:
        yield executor
    finally:
        await executor.aclose(grace_seconds=0.1)


async def called(
    task: str, *, max_output_bytes: int = 10_000, timeout_seconds: float = 30, **params: Any
) -> Outcome:
    """Call a function of the module with a limit, and give its outcome."""
    async with operated(max_output_bytes=max_output_bytes) as executor:
        return await executor.execute(
            task, params, context=a_run(), timeout_seconds=timeout_seconds
        )


async def test_a_limit_gives_a_function_a_process_of_its_own() -> None:
    """The job's limit or the task's own; without one it is a thread, and async is the loop."""
    async with operated() as executor:
        outcomes = {
            name: await executor.execute(name, {}, context=a_run())
            for name in ("limited", "unlimited", "asynchronous")
        }
        outcomes["asked"] = await executor.execute(
            "unlimited", {}, context=a_run(), timeout_seconds=30
        )

    is_here = {name: outcome.value == os.getpid() for name, outcome in outcomes.items()}
    assert {outcome.state for outcome in outcomes.values()} == {RunState.SUCCEEDED}
    assert is_here == {"limited": False, "unlimited": True, "asynchronous": True, "asked": False}


async def test_the_function_knows_its_run_and_none_of_the_servers_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Arguments arrive as annotated; keys and tokens of the server stay there; no open file."""
    for name in ("MAHAVISHNU_HTTP__TOKEN", "PREFECT_API_KEY", "FASTMCP_KEY", "OPERATORS_OWN"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    context = RunContext.model_validate(a_run(node="n").model_dump() | {"upstream": {"m": [7]}})

    async with operated() as executor:
        outcome = await executor.execute(
            "describe", {"at": "2031-01-01T00:00:00Z"}, context=context, timeout_seconds=30
        )

    seen: Any = outcome.value
    assert (seen["run"], seen["upstream"], seen["year"]) == (RUN_ID, {"m": [7]}, 2031)
    assert (seen["main"], seen["input"]) == (True, "")
    assert len(seen["files"]) == 5  # the three, the way to the server, and the folder listed
    withheld = {"MAHAVISHNU_HTTP__TOKEN", "PREFECT_API_KEY", "FASTMCP_KEY"}
    assert withheld.isdisjoint(seen["environment"])
    marks = {name for name in seen["environment"] if name.startswith("MAHAVISHNU_")}
    assert {"OPERATORS_OWN", "PYTHONPATH"} <= set(seen["environment"])
    assert marks == {
        "MAHAVISHNU_ATTEMPT", "MAHAVISHNU_JOB_ID", "MAHAVISHNU_NODE", "MAHAVISHNU_RUN_ID",
        "MAHAVISHNU_SCHEDULED_FOR",
    }  # fmt: skip


async def test_the_limit_ends_the_process_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    """A thread would go on; here `finally` blocks run, and then nothing is left."""
    path = tmp_path / "pid"

    outcome = await called("hang", timeout_seconds=5, path=str(path))

    pid = read_pid(path)
    assert (outcome.state, outcome.reason) == (RunState.TIMED_OUT, "timed out after 5 s")
    assert outcome.output.text == "began\ntidied\n"
    assert pid is not None
    assert not is_alive(pid)


async def test_a_cancellation_ends_the_process(tmp_path: Path) -> None:
    """Stopping a run stops the function."""
    path = tmp_path / "pid"

    async with operated() as executor:
        going = asyncio.create_task(
            executor.execute("hang", {"path": str(path)}, context=a_run(), timeout_seconds=30)
        )
        await wait_until(
            lambda: read_pid(path) is not None, description="it runs", deadline_seconds=20
        )
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going

    pid = read_pid(path)
    assert pid is not None
    assert not is_alive(pid)


async def test_what_it_prints_comes_before_what_it_returns() -> None:
    """Both streams in the order of writing, then the value on a line of its own."""
    outcome = await called("chatter", times=2)

    assert outcome.output.text == "out\nerr\nout\nerr\nword"
    assert outcome.output.bytes == len(outcome.output.text)
    assert outcome.value == "word"


async def test_what_it_prints_is_capped() -> None:
    """Head and tail are kept, the true size is said, and the value is part of the tail."""
    outcome = await called("chatter", times=1000, max_output_bytes=100)

    assert (outcome.output.bytes, outcome.output.truncated) == (8004, True)
    assert outcome.output.text.startswith("out\nerr\n")
    assert outcome.output.text.endswith("err\nword")


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ("raise", "OSError", "OSError: disk is full"),
        ("show", "TaskFailedError", "TaskFailedError: 2 differ"),
        ("leave", "SystemExit", "SystemExit: 4"),
        ("vanish", "ExitStatus", "its process ended before the function returned"),
        ("status", "ExitStatus", "exit status 3"),
        ("kill", "Signal", "killed by signal 9"),
        ("large", "AnswerTooLargeError", None),
    ],
)
async def test_an_unhappy_end_says_how(how: str, kind: str, reason: str | None) -> None:
    """An exception as in a thread, an exit status or a signal as of a command."""
    outcome = await called("fail_loudly", how=how)

    assert outcome.state is RunState.FAILED
    assert outcome.error is not None
    assert outcome.error.type == kind
    assert reason is None or outcome.reason == reason
    assert outcome.output.text == ('["a","b"]' if how == "show" else "")


async def test_a_thread_it_left_behind_does_not_hold_the_run() -> None:
    """The run ends when the function returns."""
    outcome = await called("linger")

    assert (outcome.state, outcome.value) == (RunState.SUCCEEDED, "done")


async def test_it_may_return_something_to_await() -> None:
    """A wrapper that hides an async function still works, and knows its run."""
    assert (await called("wrap")).value == RUN_ID


async def test_a_python_that_cannot_be_started_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run says so, without paths."""
    async with operated() as executor:
        await executor.execute("limited", {}, context=a_run())
        monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
        outcome = await executor.execute("limited", {}, context=a_run())

    assert outcome.state is RunState.FAILED
    assert "task 'limited' could not be started" in str(outcome.reason)
    assert str(tmp_path) not in outcome.model_dump_json()
