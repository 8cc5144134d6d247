"""The executor: every task ends in an outcome, whatever it does."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.tasks.context import RunContext, TaskFailedError, current_run
from mahavishnu_sched_mcp.tasks.mark import task

from .fakes import a_run, an_executor, wait_until

ACCOUNT = contextvars.ContextVar("account", default="nobody")


def name_thread() -> dict[str, object]:
    """Say where and for whom this runs."""
    return {
        "run": current_run().run_id,
        "account": ACCOUNT.get(),
        "main": threading.current_thread() is threading.main_thread(),
        "daemon": threading.current_thread().daemon,
    }


async def name_loop() -> dict[str, object]:
    """Say where and for whom this runs, from the event loop."""
    return name_thread()


async def test_an_async_function_runs_on_the_loop_and_knows_its_run() -> None:
    """`current_run()` works inside a task, and outside it is refused."""
    async with an_executor(name_loop) as executor:
        ACCOUNT.set("alice")
        outcome = await executor.execute("name_loop", {}, context=a_run("run-7"))

    assert outcome.value == {"run": "run-7", "account": "alice", "main": True, "daemon": False}
    with pytest.raises(LookupError, match="no run is going on"):
        current_run()


async def test_an_ordinary_function_runs_in_a_daemon_thread_and_knows_its_run() -> None:
    """The loop goes on meanwhile; context variables are the caller's; exit never waits for it."""
    async with an_executor(name_thread) as executor:
        ACCOUNT.set("alice")
        outcome = await executor.execute("name_thread", {}, context=a_run("run-8"))

    assert outcome.value == {"run": "run-8", "account": "alice", "main": False, "daemon": True}


class Opaque:
    def __repr__(self) -> str:
        """Show something."""
        return "<opaque>"


class Silent:
    def __repr__(self) -> str:
        """Show nothing, badly."""
        raise OSError


@pytest.mark.parametrize(
    ("value", "text", "kept"),
    [
        (None, "", None),
        ("plain\n", "plain\n", "plain\n"),
        ({"b": (1, 2), 3: "é"}, '{"b":[1,2],"3":"é"}', {"b": [1, 2], "3": "é"}),
        (False, "false", False),
        (Opaque(), "<opaque>", None),
        (float("nan"), "nan", None),
        (Silent(), "<Silent that cannot be shown>", None),
        ("\ud800", "?", "?"),
    ],
    ids=["none", "text", "json", "false", "object", "nan", "no-repr", "surrogate"],
)
async def test_a_return_value_becomes_output(value: object, text: str, kept: object) -> None:
    """Text stays as it is, JSON is compact, anything else is shown and has no value."""

    async def give() -> object:
        return value

    async with an_executor(give) as executor:
        outcome = await executor.execute("give", {}, context=a_run())

    assert outcome.state is RunState.SUCCEEDED
    assert (outcome.output.text, outcome.value) == (text, kept)


async def test_output_over_the_cap_is_cut() -> None:
    """A large return value cannot fill the ledger."""

    async def shout(times: int) -> str:
        return "a" * times

    async with an_executor(shout, max_output_bytes=100) as executor:
        outcome = await executor.execute("shout", {"times": 1000}, context=a_run())

    assert (outcome.output.bytes, outcome.output.truncated) == (1000, True)
    assert len(outcome.output.text) < 200


def leave() -> None:
    """End the interpreter, or so it thinks."""
    sys.exit(4)


def press_control_c() -> None:
    """Raise what a keyboard raises."""
    raise KeyboardInterrupt


def cancel_itself() -> None:
    """Raise what only the loop should."""
    raise asyncio.CancelledError


def stop_iterating() -> None:
    """Raise what a future cannot carry."""
    raise StopIteration


def raise_two_lines() -> None:
    """Fail at length."""
    msg = "disk is full\nsecond line"
    raise OSError(msg)


def raise_group() -> None:
    """Fail as a task group does."""
    msg = "two"
    raise ExceptionGroup(msg, [ValueError("the first")])


def as_async(function: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """Make the same failure happen on the event loop."""

    @task(name=f"{function.__name__}_on_loop")
    async def fail() -> None:
        await asyncio.sleep(0)
        function()

    return fail


@pytest.mark.parametrize(
    ("function", "kind", "reason"),
    [
        (leave, "SystemExit", "SystemExit: 4"),
        (press_control_c, "KeyboardInterrupt", "KeyboardInterrupt"),
        (cancel_itself, "CancelledError", "CancelledError"),
        (raise_two_lines, "OSError", "OSError: disk is full"),
        (
            raise_group,
            "ExceptionGroup",
            "ExceptionGroup: two (1 sub-exception): ValueError: the first",
        ),
    ],
)
async def test_whatever_a_task_raises_is_the_tasks_failure(
    function: Callable[[], None], kind: str, reason: str
) -> None:
    """Neither SystemExit nor KeyboardInterrupt reaches the server, in a thread or on the loop."""
    async with an_executor(function, as_async(function)) as executor:
        for name in (function.__name__, f"{function.__name__}_on_loop"):
            outcome = await executor.execute(name, {}, context=a_run())

            assert outcome.state is RunState.FAILED
            assert outcome.reason == reason
            assert outcome.error is not None
            assert outcome.error.type == kind


async def test_a_function_may_raise_what_a_future_cannot_carry() -> None:
    """StopIteration in a thread is a failure like any other."""
    async with an_executor(stop_iterating) as executor:
        outcome = await executor.execute("stop_iterating", {}, context=a_run())

    assert outcome.reason == "StopIteration"


async def test_a_failure_can_show_something() -> None:
    """TaskFailedError carries output that is kept with the failed run."""

    async def compare() -> None:
        msg = "2 files differ"
        raise TaskFailedError(msg, output={"differ": ["a", "b"]})

    async with an_executor(compare) as executor:
        outcome = await executor.execute("compare", {}, context=a_run())

    assert outcome.reason == "TaskFailedError: 2 files differ"
    assert outcome.output.text == '{"differ":["a","b"]}'


@pytest.mark.parametrize(
    ("name", "params", "kind"),
    [
        ("nothing", {}, "UnknownTaskError"),
        ("plan", {}, "InvalidArgumentsError"),
        ("plan", {"at": "soon"}, "InvalidArgumentsError"),
    ],
)
async def test_arguments_are_checked_again_when_the_run_starts(
    name: str, params: dict[str, Any], kind: str
) -> None:
    """A catalog that changed since the job was made fails the run, not the server."""

    async def plan(at: datetime) -> None:
        raise AssertionError(at)

    async with an_executor(plan) as executor:
        outcome = await executor.execute(name, params, context=a_run())

    assert outcome.state is RunState.FAILED
    assert outcome.error is not None
    assert outcome.error.type == kind


async def test_the_shortest_limit_counts() -> None:
    """The call's limit, else the task's own, never more than the operator's."""

    @task(timeout_seconds=0.05)
    async def wait() -> None:
        await asyncio.Event().wait()

    async with an_executor(wait) as executor:
        own = await executor.execute("wait", {}, context=a_run())
        asked = await executor.execute("wait", {}, context=a_run(), timeout_seconds=0.02)
        executor._longest = 0.01
        longest = await executor.execute("wait", {}, context=a_run(), timeout_seconds=5)

    outcomes = [own, asked, longest]
    assert [outcome.state for outcome in outcomes] == [RunState.TIMED_OUT] * 3
    assert [outcome.reason for outcome in outcomes] == [
        f"timed out after {limit} s" for limit in (0.05, 0.02, 0.01)
    ]


async def test_the_limit_of_an_ordinary_function_leaves_its_thread_behind() -> None:
    """A thread cannot be stopped: the run is over, the place is free when the function returns."""
    gate = threading.Event()
    entered: list[str] = []

    def block(who: str) -> None:
        entered.append(who)
        gate.wait(10)

    async with an_executor(block, threads=1) as executor:
        first = await executor.execute("block", {"who": "a"}, context=a_run(), timeout_seconds=0.05)
        second = asyncio.create_task(executor.execute("block", {"who": "b"}, context=a_run()))
        await asyncio.wait({second}, timeout=0.05)
        waited = entered == ["a"]
        gate.set()
        outcome = await second

    assert first.state is RunState.TIMED_OUT
    assert waited
    assert outcome.state is RunState.SUCCEEDED
    assert entered == ["a", "b"]


async def test_cancelling_reaches_the_task_before_the_caller() -> None:
    """An async function can clean up; the cancellation is raised after that."""
    steps: list[str] = []

    async def tidy() -> None:
        steps.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("tidied")

    async with an_executor(tidy) as executor:
        going = asyncio.create_task(executor.execute("tidy", {}, context=a_run()))
        await wait_until(lambda: steps == ["started"], description="the task started")
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going

    assert steps == ["started", "tidied"]


async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run times out all the same; the task is left behind."""
    module = "mahavishnu_sched_mcp.tasks.executor._FUNCTION_PATIENCE_SECONDS"
    monkeypatch.setattr(module, 0.05)
    gate = asyncio.Event()

    async def ignore() -> str:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    async with an_executor(ignore) as executor:
        outcome = await executor.execute("ignore", {}, context=a_run(), timeout_seconds=0.05)
        gate.set()

    assert outcome.state is RunState.TIMED_OUT


async def test_an_ordinary_function_may_return_something_to_await() -> None:
    """A wrapper that hides an async function still works."""

    async def inner() -> str:
        return current_run().run_id

    def wrapper() -> Awaitable[str]:
        return inner()

    async with an_executor(wrapper) as executor:
        outcome = await executor.execute("wrapper", {}, context=a_run("run-5"))

    assert outcome.value == "run-5"


async def test_a_task_knows_its_node_and_what_came_before() -> None:
    """In a workflow `current_run()` has the node and the results of those it depends on."""

    async def verify() -> object:
        return [current_run().node, current_run().upstream["backup"]]

    context = RunContext.model_validate(
        {**a_run(node="verify").model_dump(), "upstream": {"backup": {"size": 7}}}
    )

    async with an_executor(verify) as executor:
        outcome = await executor.execute("verify", {}, context=context)

    assert outcome.value == ["verify", {"size": 7}]
