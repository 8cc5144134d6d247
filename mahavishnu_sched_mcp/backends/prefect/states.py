"""Prefect's states in the ledger's words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.backends.prefect.log import exception_of, failure_text, own_text
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
# A task run without start may still have ended by itself: from a cache, or refused arguments.
_NEVER_BEGAN = {RunState.PENDING, RunState.CANCELLED, RunState.INTERRUPTED}
LONGEST_REASON = 300
ENDED_BEFORE = "the run ended before it"

_LAST = datetime.max.replace(tzinfo=UTC)


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
    cap: int,
    nodes: Sequence[TaskRunRecord] = (),
    declared: Sequence[str] = (),
    log: str = "",
) -> MirroredRun:
    """Express a flow run as the ledger records it.

    Args:
        record: The flow run.
        addresses: Where its page is.
        cap: The most bytes of its output to keep.
        nodes: Its task runs, where it has started.
        declared: The nodes of its workflow, each after those it depends on.
        log: What it logged, where it is over.
    """
    state = state_of(record.state_type, record.state_name)
    is_over = state.is_final and state is not RunState.SKIPPED
    told = _nodes(record, nodes, declared)
    return MirroredRun(
        run_id=record.run_id,
        scheduled_for=record.expected_start,
        started_at=record.started_at,
        finished_at=record.finished_at if state.is_final else None,
        attempts=max(1, record.run_count),
        outcome=_outcome(record, state, log, nodes=told, cap=cap) if is_over else None,
        is_skipped=state is RunState.SKIPPED,
        nodes=told,
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


def _outcome(
    record: FlowRunRecord, state: RunState, log: str, *, nodes: Sequence[NodeRun], cap: int
) -> Outcome:
    if state is RunState.SUCCEEDED:
        return Outcome(state=state, output=_output(log, own_text(record.message), cap=cap))
    reason = failure_text(record.message)[:LONGEST_REASON] or _REASONS[state]
    if state is RunState.CANCELLED:
        return Outcome(state=state, reason=reason, output=_output(log, cap=cap))
    lines = [f"node '{node.node}' failed: {node.reason}" for node in nodes if _is_broken(node)]
    if not any(line in reason or line.endswith(reason) for line in lines):
        lines.append(reason)
    return Outcome(
        state=state, reason=reason, output=_output(log, *lines, cap=cap), error=_error(record)
    )


def _output(*parts: str, cap: int) -> Output:
    return Output.of("\n".join(part for part in parts if part), cap=cap)


def _error(record: FlowRunRecord) -> RunError:
    text = failure_text(record.message)
    type_, message = exception_of(text) or (record.state_name, text)
    return RunError(type=type_, message=message)


def _nodes(
    record: FlowRunRecord, found: Sequence[TaskRunRecord], declared: Sequence[str]
) -> tuple[NodeRun, ...]:
    # A retried flow runs its nodes anew: the last run of each is how it is.
    nodes = {one.name: _node(one, flow_run=record) for one in found}
    if record.is_final and record.started_at is not None:
        never = {"state": RunState.SKIPPED, "attempts": 0, "reason": ENDED_BEFORE}
        missing = [name for name in declared if name not in nodes]
        nodes |= {name: NodeRun.model_validate({"node": name, **never}) for name in missing}
    place = {name: number for number, name in enumerate(declared)}
    return tuple(
        sorted(
            nodes.values(),
            key=lambda node: (node.started_at or _LAST, place.get(node.node, len(place))),
        )
    )


def _node(record: TaskRunRecord, *, flow_run: FlowRunRecord) -> NodeRun:
    state, reason = state_of(record.state_type, record.state_name), failure_text(record.message)
    finished_at = record.finished_at
    never_began = record.started_at is None and state in _NEVER_BEGAN
    if never_began and record.state_name == "NotReady":
        state, reason = RunState.SKIPPED, "a node before it did not succeed"
    elif never_began and (state.is_final or flow_run.is_final):
        state, reason = RunState.SKIPPED, ENDED_BEFORE
    elif flow_run.is_final and not state.is_final:
        # Prefect leaves a node as it was when its flow run was cancelled or lost.
        state = state_of(flow_run.state_type, flow_run.state_name)
        reason, finished_at = failure_text(flow_run.message), flow_run.finished_at
    is_bad = state.is_final and state is not RunState.SUCCEEDED
    return NodeRun(
        node=record.name,
        state=state,
        started_at=record.started_at,
        finished_at=finished_at,
        attempts=0 if never_began else max(1, record.run_count),
        reason=(reason[:LONGEST_REASON] or state.value) if is_bad else None,
    )


def _is_broken(node: NodeRun) -> bool:
    return node.state in {RunState.FAILED, RunState.TIMED_OUT}
