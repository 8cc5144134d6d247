"""What the ledger keeps of a flow run: its own words, one line a failure, its nodes in order."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.backends.prefect.log import exception_of, failure_text, own_text
from mahavishnu_sched_mcp.backends.prefect.records import (
    RUN_TAG,
    Addresses,
    FlowRunRecord,
    TaskRunRecord,
)
from mahavishnu_sched_mcp.backends.prefect.states import mirrored
from mahavishnu_sched_mcp.domain.run import RunError, RunState

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UI = Addresses(ui="http://127.0.0.1:4200")
BOOM = "boom"


def a_failed_run(message: str, **changes: Any) -> FlowRunRecord:
    """Make a flow run that failed a minute after noon."""
    values = {
        "id": "f1",
        "deployment_id": "d1",
        "state_type": "FAILED",
        "state_name": "Failed",
        "message": message,
        "expected_start": NOON,
        "started_at": NOON,
        "finished_at": NOON + MINUTE,
        "run_count": 2,
        "tags": ("nightly", f"{RUN_TAG}r1"),
    }
    return FlowRunRecord.model_validate(values | changes)


def a_node(name: str, state: str, **changes: Any) -> TaskRunRecord:
    """Make a task run."""
    values = {"id": f"t-{name}", "name": name, "state_type": state, "state_name": state.title()}
    return TaskRunRecord.model_validate(values | changes)


def break_down() -> None:
    """Fail."""
    raise ValueError(BOOM)


def break_down_twice() -> None:
    """Fail because of a failure."""
    try:
        break_down()
    except ValueError as error:
        raise OSError(BOOM) from error


def break_down_together() -> None:
    """Fail as a group of tasks does."""
    try:
        break_down()
    except ValueError as error:
        raise ExceptionGroup(BOOM, [error]) from None


def a_traceback(fail: Callable[[], None] = break_down) -> str:
    """Give what Python writes of a real exception."""
    try:
        fail()
    except (ValueError, OSError, ExceptionGroup) as error:
        return "".join(traceback.format_exception(error))
    return ""


def test_a_failed_workflow_tells_one_line_a_node() -> None:
    """The output ends as Oneiric's reason reads; reason and error have no words of Prefect's."""
    record = a_failed_run(
        "Flow run encountered an exception: NodeFailedError: "
        "node 'move' failed: ExitStatus: exit status 3"
    )
    message = "Task run encountered an exception NodeFailedError: ExitStatus: exit status 3"
    node = a_node("move", "FAILED", message=message, run_count=3, started_at=NOON)

    run = mirrored(record, addresses=UI, cap=1000, nodes=[node], log="12:00:01 [move] moving")

    assert (run.run_id, run.attempts, run.finished_at) == ("r1", 2, NOON + MINUTE)
    assert run.outcome is not None
    assert run.outcome.state is RunState.FAILED
    assert run.outcome.reason == "node 'move' failed: ExitStatus: exit status 3"
    assert run.outcome.error == RunError(type="ExitStatus", message="exit status 3")
    assert run.outcome.output.text == (
        "12:00:01 [move] moving\nnode 'move' failed: ExitStatus: exit status 3"
    )
    assert [(n.node, n.state, n.attempts, n.reason) for n in run.nodes] == [
        ("move", RunState.FAILED, 3, "ExitStatus: exit status 3")
    ]
    assert run.reference["url"] == "http://127.0.0.1:4200/runs/flow-run/f1"


def test_an_operators_flow_tells_its_exception_in_one_line() -> None:
    """An exception of several lines is one line, at the end of what the flow logged."""
    record = a_failed_run("Flow run encountered an exception: OSError: disk\nfull")

    run = mirrored(record, addresses=UI, cap=1000, log="12:00:01 sweeping")

    assert run.outcome is not None
    assert run.outcome.reason == "OSError: disk full"
    assert run.outcome.error == RunError(type="OSError", message="disk full")
    assert run.outcome.output.text == "12:00:01 sweeping\nOSError: disk full"


def test_output_over_the_limit_is_cut() -> None:
    """The limit for outputs is one for all engines."""
    run = mirrored(a_failed_run("no"), addresses=UI, cap=20, log="x" * 100)

    assert run.outcome is not None
    assert run.outcome.output.truncated
    assert run.outcome.output.bytes == 103


@pytest.mark.parametrize(
    "entry",
    [
        "Beginning flow run 'a' for flow 'b'",
        'Finished in state Failed("Flow run encountered an exception: ValueError: boom")',
        "Finished in state Completed()",
        f"Task run failed with exception: ValueError('boom')\n{a_traceback()}",
        f"Encountered exception during execution: ValueError('boom')\n{a_traceback()}",
        "Received non-final state 'AwaitingRetry' when proposing final state 'Failed'",
        "All states completed.",
    ],
)
def test_what_prefect_logs_by_itself_is_left_out(entry: str) -> None:
    """A run's output is what its flow and its tasks wrote."""
    assert own_text(entry) == ""


@pytest.mark.parametrize("entry", ["hello Ann", "Finished in state of the art", "View at noon"])
def test_what_a_flow_logs_is_kept_as_it_is(entry: str) -> None:
    """Words that look like Prefect's are not taken for them."""
    assert own_text(entry) == entry


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (a_traceback(), "could not\nValueError: boom\nafterwards"),
        (
            a_traceback(break_down_twice),
            "could not\nValueError: boom\nOSError: boom\nafterwards",
        ),
        (
            a_traceback(break_down_together),
            "could not\nExceptionGroup: boom (1 sub-exception)\nValueError: boom\nafterwards",
        ),
    ],
    ids=["plain", "chained", "group"],
)
def test_a_traceback_keeps_its_exception_only(written: str, kept: str) -> None:
    """Frames are about the server's files; the exception is about the flow."""
    text = own_text(f"could not\n{written}afterwards")

    assert __file__ in written
    assert text == kept
    assert __file__ not in text


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Flow run encountered an exception: ValueError: no", "ValueError: no"),
        ("Task run encountered an exception NodeFailedError: T: no", "T: no"),
        ("Flow run encountered unexpected exception: OSError('no')", "OSError('no')"),
        ("its worker process ended", "its worker process ended"),
    ],
)
def test_a_failure_is_told_without_prefects_words(message: str, expected: str) -> None:
    """The reason begins with what happened."""
    assert failure_text(message) == expected


def test_a_failure_without_an_exception_names_none() -> None:
    """A reason in words is no exception; the type is then the state's name."""
    record = a_failed_run("exceeded 5 s", state_name="TimedOut")

    run = mirrored(record, addresses=UI, cap=100)

    assert exception_of("exceeded 5 s") is None
    assert run.outcome is not None
    assert run.outcome.error == RunError(type="TimedOut", message="exceeded 5 s")


def test_nodes_come_in_the_order_of_their_start_then_of_the_graph() -> None:
    """Nodes that never began follow in the graph's order: skipped, without an attempt."""
    nodes = [
        a_node("last", "PENDING", state_name="NotReady", message="Upstream task run 'x' did not"),
        a_node("second", "FAILED", started_at=NOON + MINUTE, run_count=1, message="no"),
        a_node("first", "COMPLETED", started_at=NOON, run_count=1),
    ]

    run = mirrored(
        a_failed_run("no"),
        addresses=UI,
        cap=100,
        nodes=nodes,
        declared=["first", "second", "unreached", "last"],
    )

    assert [(n.node, n.state, n.attempts) for n in run.nodes] == [
        ("first", RunState.SUCCEEDED, 1),
        ("second", RunState.FAILED, 1),
        ("unreached", RunState.SKIPPED, 0),
        ("last", RunState.SKIPPED, 0),
    ]
    assert run.nodes[3].reason == "a node before it did not succeed"


def test_a_node_going_on_ends_with_its_flow_run() -> None:
    """Prefect leaves it as running when the worker is gone; the ledger does not."""
    record = a_failed_run("its worker process ended", state_type="CRASHED", state_name="Crashed")
    nodes = [a_node("first", "RUNNING", started_at=NOON, run_count=1)]

    (node,) = mirrored(record, addresses=UI, cap=100, nodes=nodes).nodes

    assert (node.state, node.finished_at) == (RunState.INTERRUPTED, NOON + MINUTE)
    assert node.reason == "its worker process ended"


def test_a_node_from_a_cache_has_succeeded() -> None:
    """Prefect gives it no start; it is not taken for one that was never reached."""
    nodes = [a_node("cached", "COMPLETED"), a_node("waiting", "PENDING")]

    run = mirrored(a_failed_run("no"), addresses=UI, cap=100, nodes=nodes)

    assert [(n.state, n.attempts, n.reason) for n in run.nodes] == [
        (RunState.SUCCEEDED, 1, None),
        (RunState.SKIPPED, 0, "the run ended before it"),
    ]
