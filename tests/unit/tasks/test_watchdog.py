"""The watchdog: tasks that block the event loop are named, with the line where they do it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog

from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.tasks.context import RunContext

from .fakes import RecordingPorts, a_run, an_executor, wait_until

pytestmark = pytest.mark.timeout(60)
BLOCK_SECONDS = 0.4


async def sleeps() -> None:
    """Wait for the clock in the wrong way."""
    time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the fault


async def computes() -> None:
    """Compute for a while."""
    end = time.monotonic() + BLOCK_SECONDS
    while time.monotonic() < end:
        pass


async def matches() -> None:
    """Match a regular expression that keeps the interpreter's lock for a while."""
    for length in range(16, 40):
        began = time.monotonic()
        re.match("(a+)+$", "a" * length + "b")
        if time.monotonic() - began > BLOCK_SECONDS:
            return


async def rests() -> None:
    """Wait in the right way, for longer than a step may take."""
    await asyncio.sleep(0.4)


async def delegates() -> None:
    """Let a task of its own do the blocking."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.3))
        group.create_task(_late())


async def _late() -> None:
    await asyncio.sleep(0.15)
    time.sleep(0.8)  # noqa: ASYNC251 - the fault


async def blocked_by(
    function: Callable[[], Awaitable[None]], *, ports: RecordingPorts | None = None
) -> list[dict[str, Any]]:
    """Run a task, and give what the log says of blockages."""
    with structlog.testing.capture_logs() as logs:
        async with an_executor(function, ports=ports) as executor:
            outcome = await executor.execute(
                getattr(function, "__name__", ""), {}, context=a_run("run-3")
            )
            await asyncio.sleep(0.2)

    assert outcome.state is RunState.SUCCEEDED, outcome
    return [dict(line) for line in logs if line["event"] == "loop_blocked"]


@pytest.mark.parametrize("function", [sleeps, computes, matches])
async def test_a_task_that_blocks_the_loop_is_named_with_its_line(
    function: Callable[[], Awaitable[None]],
) -> None:
    """Waiting, computing, and a call that stops all threads: task, run, duration and place."""
    (line,) = await blocked_by(function)

    name = function.__name__
    assert (line["task"], line["run_id"], line["log_level"]) == (name, "run-3", "warning")
    assert line["duration_ms"] >= BLOCK_SECONDS * 1e3 * 0.9
    assert re.fullmatch(rf"{re.escape(__name__)}\.{name}:\d+( or before)?", line["where"])


async def test_what_a_task_starts_beside_itself_is_named_too() -> None:
    """The blocking may be in an asyncio task of the task's own."""
    found = await blocked_by(delegates)

    assert found[0]["task"] == "delegates"
    assert found[0]["where"].startswith(f"{__name__}._late:")


async def test_a_task_that_waits_well_is_not_named() -> None:
    """Only a step that holds the loop counts, however long the task takes."""
    assert await blocked_by(rests) == []


async def test_a_task_is_told_of_once_a_day_however_often_it_blocks() -> None:
    """One line in `get_status` is enough; the log has them all."""
    ports = RecordingPorts()

    async def nags() -> None:
        for _ in range(3):
            time.sleep(0.3)  # noqa: ASYNC251 - the fault
            await asyncio.sleep(0)

    found = await blocked_by(nags, ports=ports)

    assert len(found) == 3
    ((message, run_id),) = ports.kept
    assert run_id == "run-3"
    assert message.startswith("task 'nags' blocked the event loop for 3")


async def test_a_reminder_that_cannot_be_kept_does_no_harm() -> None:
    """Prefect's worker has no ledger: there the log is all."""

    class Forgetful(RecordingPorts):
        async def remind(self, message: str, *, context: RunContext) -> None:
            raise OSError(message, context)

    assert len(await blocked_by(sleeps, ports=Forgetful())) == 1


async def test_the_worst_of_each_task_is_kept_for_the_health_check() -> None:
    """How often, how long at most, and where."""

    async def nags(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the fault

    async with an_executor(nags) as executor:
        before = executor.blockages.shown()
        for number, seconds in enumerate((0.3, 0.6, 0.3)):
            run = a_run(f"run-{number}")
            await executor.execute("nags", {"seconds": seconds}, context=run)
        after: dict[str, Any] = dict(executor.blockages.shown())

    assert before == {"ok": True}
    assert after["ok"] is True
    assert (after["nags"]["blocked"], after["nags"]["run_id"]) == (3, "run-1")
    assert after["nags"]["longest_ms"] >= 590


async def test_steps_pass_through_unchanged() -> None:
    """Values, exceptions and cancellation reach the task as without a watchdog."""
    seen: list[str] = []

    async def works() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, OSError("thrown"))
        try:
            await future
        except OSError as error:
            seen.append(str(error))
        with_time = asyncio.timeout(0.01)
        try:
            async with with_time:
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timeout")
        return await asyncio.sleep(0, "value")

    async with an_executor(works) as executor:
        outcome = await executor.execute("works", {}, context=a_run())

    assert (seen, outcome.value) == (["thrown", "timeout"], "value")


async def test_the_thread_ends_with_the_executor() -> None:
    """Nothing watches where nothing can run."""

    def watchers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "watchdog"}

    before = watchers()
    async with an_executor(rests) as executor:
        await executor.execute("rests", {}, context=a_run())
        (started,) = watchers() - before

    await wait_until(lambda: not started.is_alive(), description="the thread ended")
