"""From what a function returned or raised to the outcome of its run."""

from __future__ import annotations

import json
from pathlib import Path
from traceback import walk_tb

from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import Outcome, RunError, RunState
from mahavishnu_sched_mcp.tasks.context import TaskFailedError

_MESSAGE_LENGTH = 2000
_REASON_LENGTH = 300


def succeeded(value: object, *, cap: int) -> Outcome:
    """Keep a return value: text as it is, JSON compact, anything else as Python shows it.

    Args:
        value: What the function returned; None is no output.
        cap: The most bytes of output to keep.
    """
    kept, text = _as_json(value)
    return Outcome(state=RunState.SUCCEEDED, output=Output.of(text, cap=cap), value=kept)


def failed(error: BaseException, *, cap: int) -> Outcome:
    """Keep what was raised: its type and message, and its output if it carries one.

    Args:
        error: What the task raised.
        cap: The most bytes of output to keep.
    """
    kind, message = type(error).__name__, _message(error)
    first_line = (message.splitlines() or [""])[0]
    reason = f"{kind}: {first_line}" if first_line else kind
    shown = _as_json(error.output)[1] if isinstance(error, TaskFailedError) else ""
    return Outcome(
        state=RunState.FAILED,
        reason=reason[:_REASON_LENGTH],
        output=Output.of(shown, cap=cap),
        error=RunError(type=kind, message=message[:_MESSAGE_LENGTH]),
    )


def timed_out(limit: float, *, output: Output | None = None) -> Outcome:
    """Say that the time was up.

    Args:
        limit: Seconds the run was given.
        output: What it had written until then.
    """
    reason = f"timed out after {limit:g} s"
    return Outcome(
        state=RunState.TIMED_OUT,
        reason=reason,
        output=output or Output(),
        error=RunError(type="TimeoutError", message=reason),
    )


def ended(code: int | None, *, output: Output) -> Outcome:
    """Say how a program ended by itself.

    Args:
        code: Its exit status, minus the signal's number where one killed it; None where the
            process that supervised it was killed.
        output: What it wrote.
    """
    if code == 0:
        return Outcome(state=RunState.SUCCEEDED, output=output, value=output.text)
    if code is None:
        kind, reason = "Lost", "killed together with the process that supervised it"
    elif code > 0:
        kind, reason = "ExitStatus", f"exit status {code}"
    else:
        kind, reason = "Signal", f"killed by signal {-code}"
    error = RunError(type=kind, message=reason)
    return Outcome(state=RunState.FAILED, reason=reason, output=output, error=error)


def silent(output: Output) -> Outcome:
    """Say that a function's process ended well and told nothing.

    Args:
        output: What it wrote.
    """
    reason = "its process ended before the function returned"
    error = RunError(type="ExitStatus", message=reason)
    return Outcome(state=RunState.FAILED, reason=reason, output=output, error=error)


def unstartable(what: str, *, why: str) -> Outcome:
    """Say that a program could not be started.

    Args:
        what: The kind of task and its name.
        why: Without paths.
    """
    reason = f"{what} could not be started: {why}; `mahavishnu-sched-mcp doctor` checks it"
    error = RunError(type="StartError", message=reason)
    return Outcome(state=RunState.FAILED, reason=reason, error=error)


def interrupted() -> Outcome:
    """Say that the server stopped under the run."""
    return Outcome(state=RunState.INTERRUPTED, reason="the server stopped")


def innermost_frame(error: BaseException) -> str:
    """Name file and line where something was raised, for the log; never values.

    Args:
        error: What was raised.
    """
    frames = list(walk_tb(error.__traceback__))
    if not frames:
        return ""
    frame, line = frames[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line}"


def _as_json(value: object) -> tuple[object, str]:
    """Give the value as JSON values (None where it is none) and as text."""
    if value is None:
        return None, ""
    if isinstance(value, str):
        text = _valid(value)
        return text, text
    try:
        text = _valid(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError):
        return None, _valid(_show(value))
    return json.loads(text), text


def _valid(text: str) -> str:
    """Replace lone surrogates, which no JSON text and no database can carry."""
    return text.encode("utf-8", "replace").decode()


def _message(error: BaseException) -> str:
    """Read the message of an exception, and of the first one inside a group."""
    text = _show(error, how=str)
    if isinstance(error, BaseExceptionGroup):
        inner = error.exceptions[0]
        text = f"{text}: {type(inner).__name__}: {_message(inner)}"
    return _valid(text)


def _show(value: object, *, how: type[str] | None = None) -> str:
    try:
        return str(value) if how is str else repr(value)
    # The task's own __str__ or __repr__ may raise anything.
    except Exception:  # noqa: BLE001 - said above
        return f"<{type(value).__name__} that cannot be shown>"
