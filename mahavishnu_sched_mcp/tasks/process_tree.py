"""Find the processes of an execution, and signal them.

Standard library only, and nothing of this package: the supervisors use it, and they have to be
there in some milliseconds.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROC = Path("/proc")


class Process(NamedTuple):
    """A living process.

    Attributes:
        name: As the kernel knows it, at most 15 characters.
        started: Clock ticks since boot; tells it apart from a later one of the same id.
    """

    pid: int
    parent: int
    group: int
    name: str
    started: int


class Traces(NamedTuple):
    """By what the processes of one execution are known, where nobody supervises them any more.

    Attributes:
        marks: `NAME=value` entries that all stand in their environment.
        group: The process group the program leads; None where it was just being started.
    """

    marks: tuple[str, ...]
    group: int | None = None


def list_living() -> list[Process]:
    """List all processes but the caller; empty where there is no /proc.

    A process that ended and waits to be reaped does not count.
    """
    if not PROC.is_dir():
        return []
    pids = [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]  # noqa: PTH208 - names only
    read = (_read(pid) for pid in pids if pid != os.getpid())
    return [process for process in read if process is not None]


def find_members(traces: Traces) -> frozenset[Process]:
    """Find the living processes of an execution: by group, by mark and by descent.

    Args:
        traces: By what they are known.
    """
    living = list_living()
    found = {
        process.pid
        for process in living
        if process.group == traces.group or _carries(process.pid, traces.marks)
    }
    return with_descendants(found, living=living)


def find_descendants(ancestor: int) -> frozenset[Process]:
    """Find all living processes below one, however far down.

    Args:
        ancestor: Its process id.
    """
    found = with_descendants({ancestor}, living=list_living())
    return frozenset(process for process in found if process.pid != ancestor)


def with_descendants(pids: Iterable[int], *, living: Iterable[Process]) -> frozenset[Process]:
    """Add to some processes all that descend from them.

    Args:
        pids: Where to begin.
        living: All processes, from one look.
    """
    found, size = set(pids), -1
    while size != len(found):
        size = len(found)
        found |= {process.pid for process in living if process.parent in found}
    return frozenset(process for process in living if process.pid in found)


def read_environment(pid: int) -> frozenset[bytes]:
    """Give the `NAME=value` entries a process was started with; none where it is not ours.

    Args:
        pid: Its process id.
    """
    try:
        return frozenset((PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()  # it ended, or belongs to someone else


def send_signal(number: signal.Signals, *, group: int | None, processes: Iterable[Process]) -> None:
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


def _read(pid: int) -> Process | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # it ended meanwhile
    # The name in parentheses may contain anything, parentheses too: count from the last one.
    before, _, after = text.rpartition(")")
    state, parent, group, *rest = after.split()
    if state in {"Z", "X"}:
        return None
    name = before.partition("(")[2]
    return Process(pid=pid, parent=int(parent), group=int(group), name=name, started=int(rest[16]))


def _carries(pid: int, marks: tuple[str, ...]) -> bool:
    environment = read_environment(pid) if marks else frozenset()
    return bool(environment) and all(mark.encode() in environment for mark in marks)


def _deliver(call: Callable[[int, int], None], target: int, number: signal.Signals) -> None:
    try:
        call(target, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or it became someone else's
