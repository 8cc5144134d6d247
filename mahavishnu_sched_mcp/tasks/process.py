"""One execution of a program: started, drained, watched, and ended with all its descendants."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from mahavishnu_sched_mcp.tasks.capture import Capture
from mahavishnu_sched_mcp.tasks.context import OWN_PREFIX
from mahavishnu_sched_mcp.tasks.guardian import Guardian, Program, Supervised
from mahavishnu_sched_mcp.tasks.process_tree import Traces, find_members, send_signal

_log = structlog.get_logger()

_LAST_WORDS_SECONDS = 0.5
_KILL_SECONDS = 3.0
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an execution ended.

    Attributes:
        code: The exit status, minus the signal's number where one killed it; None where its time
            was up, or somebody killed its supervisor.
        is_timed_out: Its time was up.
    """

    code: int | None
    is_timed_out: bool = False


class ProcessRunner:
    """Runs the programs of one process.

    Attributes:
        grace_seconds: How long SIGTERM is given before SIGKILL; may be shortened meanwhile.
        max_output_bytes: The most to keep of what a program writes.
    """

    def __init__(self, *, max_output_bytes: int, grace_seconds: float = 2.0) -> None:
        """Start nothing yet.

        Args:
            max_output_bytes: The most to keep of what a program writes.
            grace_seconds: How long SIGTERM is given before SIGKILL.
        """
        self.grace_seconds = grace_seconds
        self.max_output_bytes = max_output_bytes
        self._guardian = Guardian()

    async def run(
        self,
        program: Program,
        *,
        capture: Capture,
        timeout_seconds: float,
        extras: Sequence[socket.socket] = (),
    ) -> Ending:
        """Run a program to its end, and leave none of its descendants behind.

        At the limit and when cancelled: SIGTERM to the tree, the grace, then SIGKILL, also to
        descendants that left group and session.

        Args:
            program: What to start.
            capture: Drains what it writes; open.
            timeout_seconds: The limit.
            extras: What it gets as descriptors 3, 4, ...; closed here once it has them.

        Raises:
            ProgramStartError: it could not be started.
            OSError: the same.
        """
        supervised = await self._guardian.order(
            program, output=capture.writer, extras=[extra.fileno() for extra in extras]
        )
        capture.close_writer()
        for extra in extras:
            extra.close()
        try:
            return await self._accompany(supervised, program, capture, timeout_seconds)
        finally:
            self._guardian.release(supervised)

    async def close(self) -> None:
        """End the guardian, and with it whatever is still running. Idempotent."""
        await self._guardian.close()

    async def _accompany(
        self, supervised: Supervised, program: Program, capture: Capture, timeout_seconds: float
    ) -> Ending:
        try:
            async with asyncio.timeout(timeout_seconds):
                await supervised.wait_started()
                await supervised.wait_ended()
        except TimeoutError:
            await _complete(self._stop(supervised, program))
            return Ending(code=None, is_timed_out=True)
        except asyncio.CancelledError:
            await _complete(self._stop(supervised, program))
            raise
        # What it left ends with it; a service belongs to the service manager.
        if not await supervised.wait_gone(timeout_seconds=_KILL_SECONDS):
            _log.error("processes_survived", run_id=program.run_id)
        if supervised.is_lost:
            await _complete(self._stop(supervised, program))
        await capture.wait_ended(timeout_seconds=_LAST_WORDS_SECONDS)
        return Ending(code=supervised.code)

    async def _stop(self, supervised: Supervised, program: Program) -> None:
        """End a tree: ask, wait, then kill."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        supervised.ask()
        while loop.time() < asked + self.grace_seconds:
            if await supervised.wait_gone(timeout_seconds=_PAUSE_SECONDS):
                break
        supervised.kill()
        is_gone = await supervised.wait_gone(timeout_seconds=_KILL_SECONDS)
        if supervised.is_lost:
            is_gone = await _sweep(supervised, program)
        if not is_gone:
            _log.error("processes_survived", run_id=program.run_id)


async def _sweep(supervised: Supervised, program: Program) -> bool:
    """Kill by its traces what nobody supervises any more, and say whether all is gone."""
    marks = tuple(
        f"{name}={value}"
        for name, value in program.environment.items()
        if name.startswith(OWN_PREFIX)
    )
    traces = Traces(marks=marks, group=supervised.group)
    send_signal(signal.SIGKILL, group=supervised.group, processes=())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _KILL_SECONDS
    while found := await asyncio.to_thread(find_members, traces):
        if loop.time() > deadline:
            return False
        send_signal(signal.SIGKILL, group=None, processes=found)
        await asyncio.sleep(_PAUSE_SECONDS)
    return True


async def _complete(cleaning: Coroutine[Any, Any, None]) -> None:
    """Carry a clean-up through, also when it is cancelled meanwhile, and tell of that after."""
    task = asyncio.ensure_future(cleaning)
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError
    task.result()
