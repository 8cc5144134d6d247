"""What still works for runs whose server is gone: found and ended before anything runs again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping

import structlog

from mahavishnu_sched_mcp.tasks.guardian import RUN_MARK
from mahavishnu_sched_mcp.tasks.process_tree import (
    PROC,
    Process,
    list_living,
    read_environment,
    send_signal,
    with_descendants,
)
from mahavishnu_sched_mcp.tasks.supervisor import SUPERVISOR_NAME

_log = structlog.get_logger()

_VARIABLE = b"MAHAVISHNU_RUN_ID="
_LINK = f"/memfd:{RUN_MARK}"
_DELETED = " (deleted)"
_PAUSE_SECONDS = 0.02
_QUIET_LOOKS = 2
_UNSEEN_SECONDS = 0.5
_KERNEL_NAME_LENGTH = 15


def end_leftovers(run_ids: Collection[str], *, within: float) -> frozenset[str]:
    """Kill every process that works for these runs, and wait until none is left.

    Found are the supervisors of these runs, the processes that carry a run's id in their
    environment, and all descendants of both. A supervisor is asked, not killed: it kills its
    whole tree, also what left group and session and emptied its environment, and ends after it.
    Out of sight is only what did all of that and whose supervisor somebody killed.

    Blocks; call it in a thread. The caller and its ancestors are never touched. Where there is no
    /proc nothing can be found: there the supervisors end their groups as soon as their server is
    gone, and this waits half a second for it.

    Args:
        run_ids: The runs; ids of runs of other data folders differ.
        within: Seconds to try for at most.

    Returns:
        The runs whose processes are still there; empty when all are gone.
    """
    wanted = frozenset(run_ids)
    if not wanted:
        return frozenset()
    if not PROC.is_dir():
        time.sleep(min(within, _UNSEEN_SECONDS))
        return frozenset()
    deadline, quiet = time.monotonic() + within, 0
    # One that is just being started carries no mark yet: one empty look is not enough.
    while True:
        found = _find(wanted)
        quiet = 0 if found else quiet + 1
        if quiet >= _QUIET_LOOKS:
            return frozenset()
        if found and time.monotonic() > deadline:
            left = {process.pid: run_id for run_id, tree in found.items() for process in tree}
            _log.error("leftovers_survived", pids=sorted(left), runs=sorted(found))
            return frozenset(found)
        for tree in found.values():
            _end(tree)
        time.sleep(_PAUSE_SECONDS)


def _find(wanted: frozenset[str]) -> Mapping[str, frozenset[Process]]:
    """Look once at all processes, and give those of each run that has any."""
    living = list_living()
    parents = {process.pid: process.parent for process in living}
    spared = _ancestors(parents)
    seeds: dict[str, set[int]] = {}
    for process in living:
        run_id = None if process.pid in spared else _run_of(process)
        if run_id in wanted:
            seeds.setdefault(run_id, set()).add(process.pid)
    return {run_id: with_descendants(pids, living=living) for run_id, pids in seeds.items()}


def _ancestors(parents: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    pid = os.getppid()
    while pid and pid not in found:
        found.add(pid)
        pid = parents.get(pid, 0)
    return found


def _run_of(process: Process) -> str | None:
    """Say for which run a process works; None where it bears no mark."""
    if _is_supervisor(process):
        return _marked_run(process.pid)
    for entry in read_environment(process.pid):
        if entry.startswith(_VARIABLE):
            return entry.removeprefix(_VARIABLE).decode(errors="replace")
    return None


def _marked_run(pid: int) -> str | None:
    folder = PROC / str(pid) / "fd"
    try:
        for link in folder.iterdir():
            target = str(link.readlink())
            if target.startswith(_LINK):
                return target.removeprefix(_LINK).removesuffix(_DELETED)
    except OSError:
        return None  # it ended meanwhile, or belongs to someone else
    return None


def _end(tree: Iterable[Process]) -> None:
    supervisors = [process for process in tree if _is_supervisor(process)]
    others = [process for process in tree if not _is_supervisor(process)]
    send_signal(signal.SIGTERM, group=None, processes=supervisors)
    send_signal(signal.SIGCONT, group=None, processes=supervisors)
    send_signal(signal.SIGKILL, group=None, processes=others)


def _is_supervisor(process: Process) -> bool:
    return process.name == SUPERVISOR_NAME[:_KERNEL_NAME_LENGTH]
