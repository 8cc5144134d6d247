"""Fakes and factories of the task tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mahavishnu_sched_mcp.tasks.command import CommandSpec
from mahavishnu_sched_mcp.tasks.context import RunContext
from mahavishnu_sched_mcp.tasks.executor import TaskExecutor
from mahavishnu_sched_mcp.tasks.registry import TaskRegistry

SHELL = "/bin/sh"
TWO_O_CLOCK = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)


class RecordingPorts:
    """Ports that answer what they were told to and keep what they were given."""

    def __init__(self, *, parts: Mapping[str, object] | None = None) -> None:
        """Answer these parts to each probe and measurement."""
        self.parts = dict(parts or {})
        self.kept: list[tuple[str, str]] = []
        self.status = self.metrics = self.reminders = self.retention = self

    async def probe(self) -> Mapping[str, object]:
        """Answer the parts."""
        return self.parts

    async def measure(self) -> Mapping[str, object]:
        """Answer the parts."""
        return self.parts

    async def remove_old(self) -> Mapping[str, object]:
        """Answer the parts."""
        return self.parts

    async def remind(self, message: str, *, context: RunContext) -> None:
        """Keep the message with its run."""
        self.kept.append((message, context.run_id))


RUN_ID = f"run-{os.getpid()}"
"""No other test process has it: what carries a run's id is ended with the run."""


def a_run(run_id: str = RUN_ID, *, node: str | None = None) -> RunContext:
    """Make a run of a job, due at two o'clock."""
    return RunContext(
        job_id="apscheduler:nightly",
        run_id=run_id,
        attempt=1,
        scheduled_for=TWO_O_CLOCK,
        node=node,
    )


def a_shell(script: str, **fields: Any) -> CommandSpec:
    """Make a command of a fixed script; real commands have no shell, tests may start one."""
    return CommandSpec(argv=(SHELL, "-c", script), **fields)


@contextlib.asynccontextmanager
async def an_executor(
    *functions: Callable[..., Any],
    commands: Mapping[str, CommandSpec] | None = None,
    ports: RecordingPorts | None = None,
    max_output_bytes: int = 10_000,
    threads: int = 2,
) -> AsyncIterator[TaskExecutor]:
    """Open an executor over callables and commands, and close it after."""
    registry = TaskRegistry(commands=commands)
    for function in functions:
        registry.register_callable(function)
    executor = TaskExecutor(
        registry,
        ports=ports or RecordingPorts(),
        max_output_bytes=max_output_bytes,
        max_runtime_seconds=20,
        threads=threads,
    )
    try:
        yield executor
    finally:
        await executor.aclose(grace_seconds=0.1)


async def wait_until(
    condition: Callable[[], bool], *, description: str, deadline_seconds: float = 8
) -> None:
    """Look at a condition again and again, and say what never became true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_seconds
    while not condition():
        if loop.time() > end:
            msg = f"not within {deadline_seconds} s: {description}"
            raise AssertionError(msg)
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that waits to be reaped does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def an_executable(path: Path, text: str) -> Path:
    """Write a script only its owner may change, and make it executable."""
    path.write_text(text, encoding="utf-8")
    os.chmod(path, 0o755)  # noqa: PTH101, S103 - what the product asks of operators
    return path


def read_pid(path: Path) -> int | None:
    """Read a process id somebody is about to write."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None
