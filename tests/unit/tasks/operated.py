"""A module as an operator lists it under `tasks.modules`, for calls in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable
from datetime import datetime
from pathlib import Path

from mahavishnu_sched_mcp.tasks.context import TaskFailedError, current_run
from mahavishnu_sched_mcp.tasks.mark import task


@task
def describe(at: datetime) -> dict[str, object]:
    """Say where and for which run this runs."""
    return {
        "pid": os.getpid(),
        "main": threading.current_thread() is threading.main_thread(),
        "run": current_run().run_id,
        "upstream": current_run().upstream,
        "year": at.year,
        "environment": sorted(os.environ),
        "input": os.read(0, 10).decode(),
        "files": sorted(int(name) for name in os.listdir("/proc/self/fd")),  # noqa: PTH208
    }


@task
def hang(path: str, hold: bool = True) -> None:
    """Write the process id, say something, then hold on until the end."""
    print("began")  # noqa: T201 - its output is what is looked at
    Path(path).write_text(f"{os.getpid()}\n", encoding="utf-8")
    try:
        while hold:
            time.sleep(0.01)
    finally:
        print("tidied")  # noqa: T201


@task
def chatter(times: int = 1) -> str:
    """Write to both streams in turn, and return a word."""
    for _ in range(times):
        print("out")  # noqa: T201
        print("err", file=sys.stderr)  # noqa: T201
    return "word"


@task
def fail_loudly(how: str) -> object:
    """End in one of the ways functions end."""
    if how == "raise":
        msg = "disk is full\nsecond line"
        raise OSError(msg)
    if how == "show":
        msg = "2 differ"
        raise TaskFailedError(msg, output=["a", "b"])
    if how == "leave":
        sys.exit(4)
    if how == "vanish":
        os._exit(0)
    if how == "status":
        os._exit(3)
    if how == "large":
        return "x" * 2_000_000
    os.kill(os.getpid(), signal.SIGKILL)
    return None


@task
def linger() -> str:
    """Leave a thread behind that never ends."""
    threading.Thread(target=threading.Event().wait).start()
    return "done"


@task
def wrap() -> Awaitable[str]:
    """Return something to await."""

    async def inner() -> str:
        return current_run().run_id

    return inner()


@task(timeout_seconds=30)
def limited() -> int:
    """Say which process this is."""
    return os.getpid()


@task
def unlimited() -> int:
    """Say which process this is."""
    return os.getpid()


@task(timeout_seconds=30)
async def asynchronous() -> int:
    """Say which process this is."""
    return os.getpid()
