"""The watchman's side in the server: no command survives the server that started it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from pathlib import Path

import structlog

from mahavishnu_sched_mcp.tasks import process_tree
from mahavishnu_sched_mcp.tasks.process_tree import Traces

_log = structlog.get_logger()


class Guardian:
    """Tells a small child process which commands are running.

    The child notices the server's end, also by SIGKILL, because the pipe between them closes; it
    then kills what is left of the commands (see `process_tree`). It is started with the first
    command, and anew with the next one if someone ended it.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._executions: dict[int, Traces] = {}
        self._keys = itertools.count(1)

    async def begin(self, marks: tuple[str, ...]) -> int:
        """Announce an execution before its command is started.

        Args:
            marks: The `NAME=value` entries its processes will carry.

        Returns:
            The key for `follow` and `end`.
        """
        await self._ensure_started()
        key = next(self._keys)
        self._executions[key] = Traces(marks=marks)
        self._announce(key)
        return key

    def follow(self, key: int, *, group: int) -> None:
        """Name the process group of an announced execution.

        Args:
            key: As `begin` gave it.
            group: The group its command leads.
        """
        self._executions[key] = self._executions[key]._replace(group=group)
        self._announce(key)

    def end(self, key: int) -> None:
        """Let go of an execution that is over.

        Args:
            key: As `begin` gave it.
        """
        self._executions.pop(key, None)
        self._tell({"end": key})

    async def close(self) -> None:
        """End the child; it kills what is still announced. Idempotent."""
        async with self._starting:
            process, self._process = self._process, None
            self._executions.clear()
            if process is not None and process.stdin is not None:
                process.stdin.close()
                await process.wait()

    async def _ensure_started(self) -> None:
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(Path(process_tree.__file__)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
            _log.debug("guardian_started", pid=self._process.pid)
            for key in self._executions:
                self._announce(key)

    def _announce(self, key: int) -> None:
        self._tell({"key": key, **self._executions[key]._asdict()})

    def _tell(self, said: dict[str, object]) -> None:
        # Written at once, as long as the pipe has room for it (64 KiB; a line has some 100 bytes).
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # it ended; the next command starts it anew
                self._process.stdin.write(json.dumps(said).encode() + b"\n")
