"""One execution of a command: started, drained, watched, and ended with all its descendants."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

from mahavishnu_sched_mcp.domain.output import Output
from mahavishnu_sched_mcp.domain.run import Outcome, RunError, RunState
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.tasks.capture import Capture
from mahavishnu_sched_mcp.tasks.command import (
    NEUTRAL_FOLDER,
    OWN_PREFIX,
    Command,
    resolve_executable,
)
from mahavishnu_sched_mcp.tasks.context import RunContext
from mahavishnu_sched_mcp.tasks.guardian import Guardian
from mahavishnu_sched_mcp.tasks.permission import is_permitted
from mahavishnu_sched_mcp.tasks.process_tree import Traces, find_members, send_signal
from mahavishnu_sched_mcp.tasks.result import interrupted, timed_out

_log = structlog.get_logger()

_LAST_WORDS_SECONDS = 0.5
_KILL_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.2


class CommandRunner:
    """Runs the commands of one process.

    Attributes:
        grace_seconds: How long SIGTERM is given before SIGKILL; may be shortened meanwhile.
    """

    def __init__(self, *, max_output_bytes: int, grace_seconds: float = 2.0) -> None:
        """Start nothing yet.

        Args:
            max_output_bytes: The most to keep of what a command writes.
            grace_seconds: How long SIGTERM is given before SIGKILL.
        """
        self.grace_seconds = grace_seconds
        self._cap = max_output_bytes
        self._guardian = Guardian()

    async def run(
        self, command: Command, *, params: JsonObject, context: RunContext, timeout_seconds: float
    ) -> Outcome:
        """Run a command to its end, and leave none of its process group behind.

        At the limit and when cancelled: SIGTERM to the tree, the grace, then SIGKILL, also to
        descendants that left the group.

        Args:
            command: What to start.
            params: Checked arguments.
            context: The run; its ids stand in the command's environment.
            timeout_seconds: The limit.
        """
        try:
            executable = str(resolve_executable(command.spec.argv[0], name=command.name))
        except SettingsError as error:
            _log.warning("command_refused", command=command.name, reason=str(error))
            return _unstartable(command, "its executable is missing or no longer safe")
        environment = command.environment(context)
        marks = tuple(
            f"{name}={value}" for name, value in environment.items() if name.startswith(OWN_PREFIX)
        )
        key = await self._guardian.begin(marks)
        try:
            with Capture(cap=self._cap) as capture:
                if not await is_permitted():
                    return interrupted()
                start = asyncio.create_subprocess_exec(
                    *command.argv(params),
                    executable=executable,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=capture.writer,
                    stderr=capture.writer,
                    env=environment,
                    cwd=command.spec.cwd or NEUTRAL_FOLDER,
                    start_new_session=True,
                )
                process = await self._started(start, marks=marks)
                self._guardian.follow(key, group=process.pid)
                capture.close_writer()
                return await self._accompany(process, capture, marks, timeout_seconds)
        except OSError as error:
            return _unstartable(command, error.strerror or type(error).__name__)
        finally:
            self._guardian.end(key)

    async def close(self) -> None:
        """End the guardian, and with it whatever is still running. Idempotent."""
        await self._guardian.close()

    async def _started(
        self, start: Coroutine[Any, Any, asyncio.subprocess.Process], *, marks: tuple[str, ...]
    ) -> asyncio.subprocess.Process:
        """Wait for the start; a cancellation in its middle must not leave a process."""
        try:
            return await start
        except asyncio.CancelledError:
            await _complete(self._stop(Traces(marks=marks), process=None))
            raise

    async def _accompany(
        self,
        process: asyncio.subprocess.Process,
        capture: Capture,
        marks: tuple[str, ...],
        timeout_seconds: float,
    ) -> Outcome:
        traces = Traces(marks=marks, group=process.pid)
        try:
            async with asyncio.timeout(timeout_seconds):
                code = await process.wait()
            await capture.wait_ended(timeout_seconds=_LAST_WORDS_SECONDS)
        except TimeoutError:
            await _complete(self._stop(traces, process=process))
            return timed_out(timeout_seconds, output=capture.output())
        except asyncio.CancelledError:
            await _complete(self._stop(traces, process=process))
            raise
        # What it left in its own group ends with it; a service belongs to the service manager.
        send_signal(signal.SIGKILL, group=process.pid, processes=frozenset())
        await capture.wait_ended(timeout_seconds=_LAST_WORDS_SECONDS)
        return _ended(code, capture.output())

    async def _stop(self, traces: Traces, *, process: asyncio.subprocess.Process | None) -> None:
        """End a tree: ask, wait, then kill; the tree is looked up before anyone is signalled."""
        loop = asyncio.get_running_loop()
        known = await asyncio.to_thread(find_members, traces)
        send_signal(signal.SIGTERM, group=traces.group, processes=known)
        asked, pause = loop.time(), _FIRST_PAUSE_SECONDS
        while loop.time() < asked + self.grace_seconds:
            known = await asyncio.to_thread(find_members, traces, known=known)
            if not known and (process is None or process.returncode is not None):
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        send_signal(signal.SIGKILL, group=traces.group, processes=known)
        deadline = loop.time() + _KILL_SECONDS
        while known := await asyncio.to_thread(find_members, traces, known=known):
            send_signal(signal.SIGKILL, group=traces.group, processes=known)
            if loop.time() > deadline:
                _log.error("processes_survived", pids=sorted(one.pid for one in known))
                return
            await asyncio.sleep(_FIRST_PAUSE_SECONDS)
        if process is not None:
            await process.wait()


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


def _ended(code: int, output: Output) -> Outcome:
    if code == 0:
        return Outcome(state=RunState.SUCCEEDED, output=output, value=output.text)
    reason = f"exit status {code}" if code > 0 else f"killed by signal {-code}"
    error = RunError(type="ExitStatus" if code > 0 else "Signal", message=reason)
    return Outcome(state=RunState.FAILED, reason=reason, output=output, error=error)


def _unstartable(command: Command, why: str) -> Outcome:
    reason = (
        f"command '{command.name}' could not be started: {why};"
        " `mahavishnu-sched-mcp doctor` checks it"
    )
    error = RunError(type="StartError", message=reason)
    return Outcome(state=RunState.FAILED, reason=reason, error=error)
