"""Find and end all processes of an execution; as a script, the watchman for a dead server.

Standard library only, and nothing of this package: the watchman is started as
`python -I -S process_tree.py` in some milliseconds. Every process of an execution carries the
run's marks in its environment, so one that left group, session and parent is still found.

The watchman reads one JSON object a line: `{"key": …, "marks": […], "group": …}` announces an
execution or names its group, `{"end": key}` lets go of it. When the input ends, the server is
gone, however it went, and what is left of its commands is killed. (PR_SET_PDEATHSIG would end the
direct child only, and would need Python code between fork and exec.)
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_PROC = Path("/proc")
_PAUSE_SECONDS = 0.05
_SWEEP_SECONDS = 10.0
_QUIET_LOOKS = 2


class Process(NamedTuple):
    """A living process.

    Attributes:
        started: Clock ticks since boot; tells it apart from a later one of the same id.
    """

    pid: int
    parent: int
    group: int
    started: int


class Traces(NamedTuple):
    """By what the processes of one execution are known.

    Attributes:
        marks: `NAME=value` entries that all stand in their environment.
        group: The process group the command leads; None where it was just being started.
    """

    marks: tuple[str, ...]
    group: int | None = None


def find_members(traces: Traces, *, known: frozenset[Process] = frozenset()) -> frozenset[Process]:
    """Find the living processes of an execution: by group, mark, descent, or known before.

    A process that ended and waits to be reaped does not count. Empty where there is no /proc.

    Args:
        traces: By what they are known.
        known: What an earlier look found; those still alive stay members.
    """
    living = _list_living()
    identities = {(process.pid, process.started) for process in known}
    found = {
        process.pid
        for process in living
        if process.group == traces.group
        or (process.pid, process.started) in identities
        or _carries(process.pid, traces.marks)
    }
    size = -1
    while size != len(found):
        size = len(found)
        found |= {process.pid for process in living if process.parent in found}
    return frozenset(process for process in living if process.pid in found)


def send_signal(
    number: signal.Signals, *, group: int | None, processes: frozenset[Process]
) -> None:
    """Signal a group at one stroke, then the processes that are not in it.

    Args:
        number: The signal.
        group: None where there is none.
        processes: Those that are gone meanwhile are passed over.
    """
    if group is not None:
        _deliver(os.killpg, group, number)
    for process in processes:
        if process.group != group:
            _deliver(os.kill, process.pid, number)


def sweep(executions: list[Traces]) -> None:
    """Kill all processes of these executions, for at most ten seconds.

    Args:
        executions: By what they are known.
    """
    for traces in executions:
        send_signal(signal.SIGKILL, group=traces.group, processes=frozenset())
    deadline, quiet = time.monotonic() + _SWEEP_SECONDS, 0
    # A command caught between fork and exec carries no mark yet: one empty look is not enough.
    while quiet <= _QUIET_LOOKS and time.monotonic() < deadline:
        quiet += 1
        for traces in executions:
            found = find_members(traces)
            send_signal(signal.SIGKILL, group=None, processes=found)
            quiet = 0 if found else quiet
        time.sleep(_PAUSE_SECONDS)


def main() -> None:
    """Watch over a server until its end of the pipe closes, then end what it had running."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it outlives its server by a moment, on purpose
    executions: dict[int, Traces] = {}
    for line in sys.stdin:
        said = json.loads(line)
        if "end" in said:
            executions.pop(said["end"], None)
        else:
            executions[said["key"]] = Traces(marks=tuple(said["marks"]), group=said["group"])
    if executions:
        sweep(list(executions.values()))


def _list_living() -> list[Process]:
    if not _PROC.is_dir():
        return []
    pids = [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]  # noqa: PTH208 - names only
    read = (_read(pid) for pid in pids if pid != os.getpid())
    return [process for process in read if process is not None]


def _read(pid: int) -> Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # it ended meanwhile
    # The name in parentheses may contain anything, parentheses too: count from the last one.
    state, parent, group, *rest = text.rpartition(")")[2].split()
    if state in {"Z", "X"}:
        return None
    return Process(pid=pid, parent=int(parent), group=int(group), started=int(rest[16]))


def _carries(pid: int, marks: tuple[str, ...]) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended, or belongs to someone else
    return bool(marks) and all(mark.encode() in environment for mark in marks)


def _deliver(call: Callable[[int, int], None], target: int, number: signal.Signals) -> None:
    try:
        call(target, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or it became someone else's


if __name__ == "__main__":
    main()
