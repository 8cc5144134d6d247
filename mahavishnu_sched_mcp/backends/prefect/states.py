"""Prefect's states in the ledger's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.protocol import MirroredRun
from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import NodeRun, Outcome, RunError, RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mahavishnu_sched_mcp.backends.prefect.records import (
        Addresses,
        FlowRunRecord,
        TaskRunRecord,
    )

SKIPPED_NAME = "Skipped"
OUTPUT_CAP_BYTES = 262_144

_FINAL = {
    "COMPLETED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CRASHED": RunState.INTERRUPTED,
    "CANCELLED": RunState.CANCELLED,
}
_STARTED = {"RUNNING", "CANCELLING", "PAUSED"}
_REASONS = {
    RunState.FAILED: "the flow failed",
    RunState.TIMED_OUT: "the flow exceeded its time limit",
    RunState.INTERRUPTED: "the flow run's process ended under it",
    RunState.CANCELLED: "cancelled",
}
_EXCEPTION = re.compile(r"exception: (?P<type>[\w.]+): (?P<message>.*)", re.DOTALL)


def state_of(state_type: str, state_name: str) -> RunState:
    """Say a Prefect state in the ledger's words."""
    if state_type == "FAILED" and state_name == "TimedOut":
        return RunState.TIMED_OUT
    if state_type == "CANCELLED" and state_name == SKIPPED_NAME:
        return RunState.SKIPPED
    if state_type in _FINAL:
        return _FINAL[state_type]
    return RunState.RUNNING if state_type in _STARTED else RunState.PENDING


def mirrored(
    record: FlowRunRecord,
    *,
    addresses: Addresses,
    nodes: Sequence[TaskRunRecord] = (),
    log: str = "",
) -> MirroredRun:
    """Express a flow run as the ledger records it.

    Args:
        record: The flow run.
        addresses: Where its page is.
        nodes: Its task runs, where it is over.
        log: What it logged, where it is over.
    """
    state = state_of(record.state_type, record.state_name)
    is_over = state.is_final and state is not RunState.SKIPPED
    return MirroredRun(
        run_id=record.run_id,
        scheduled_for=record.expected_start,
        started_at=record.started_at,
        finished_at=record.finished_at if state.is_final else None,
        attempts=max(1, record.run_count),
        outcome=_outcome(record, state, log) if is_over else None,
        is_skipped=state is RunState.SKIPPED,
        # A retried flow runs its nodes anew: the last run of each is how it is.
        nodes=tuple({node.name: _node(node) for node in nodes}.values()),
        reference={"flow_run_id": record.id, "url": addresses.flow_run(record.id)},
    )


def vanished(record: FlowRunRecord, *, addresses: Addresses) -> MirroredRun:
    """Express a flow run that has been deleted: it never starts, or nobody knows its end."""
    has_started = record.started_at is not None
    reason = "the flow run was deleted on the Prefect server"
    return MirroredRun(
        run_id=record.run_id,
        scheduled_for=record.expected_start,
        started_at=record.started_at,
        outcome=Outcome(state=RunState.INTERRUPTED, reason=reason) if has_started else None,
        is_skipped=not has_started,
        reference={"flow_run_id": record.id, "url": addresses.flow_run(record.id)},
    )


def _outcome(record: FlowRunRecord, state: RunState, log: str) -> Outcome:
    text = "\n".join(part for part in (log, record.message) if part)
    output = Output.of(text, cap=OUTPUT_CAP_BYTES)
    if state is RunState.SUCCEEDED:
        return Outcome(state=state, output=output)
    return Outcome(
        state=state,
        reason=_one_line(record.message) or _REASONS[state],
        output=output,
        error=None if state is RunState.CANCELLED else _error(record),
    )


def _error(record: FlowRunRecord) -> RunError:
    found = _EXCEPTION.search(record.message)
    if found:
        return RunError(type=found["type"], message=found["message"].strip())
    return RunError(type=record.state_name, message=record.message)


def _node(record: TaskRunRecord) -> NodeRun:
    state = state_of(record.state_type, record.state_name)
    has_failed = state.is_final and state is not RunState.SUCCEEDED
    never_starts = record.state_name == "NotReady"
    return NodeRun(
        node=record.name,
        state=RunState.SKIPPED if never_starts else state,
        started_at=record.started_at,
        finished_at=record.finished_at,
        attempts=max(1, record.run_count),
        reason=_one_line(record.message) or None if has_failed or never_starts else None,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
