"""Runs one task of the catalog, whatever kind it is, and says how it ended."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from mahavishnu_sched_mcp.domain.run import Outcome
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, UnknownTaskError
from mahavishnu_sched_mcp.tasks.blockage import BlockageJournal
from mahavishnu_sched_mcp.tasks.command_process import run_command
from mahavishnu_sched_mcp.tasks.context import Ports, RunContext, enter_run
from mahavishnu_sched_mcp.tasks.function_process import run_function
from mahavishnu_sched_mcp.tasks.permission import PermissionLostError
from mahavishnu_sched_mcp.tasks.process import ProcessRunner
from mahavishnu_sched_mcp.tasks.registry import RegisteredTask, TaskRegistry
from mahavishnu_sched_mcp.tasks.result import (
    failed,
    innermost_frame,
    interrupted,
    succeeded,
    timed_out,
)
from mahavishnu_sched_mcp.tasks.threads import ThreadPool
from mahavishnu_sched_mcp.tasks.watchdog import Watchdog

_log = structlog.get_logger()

_FUNCTION_PATIENCE_SECONDS = 2.0
_PROCESS_PATIENCE_SECONDS = 10.0
"""A process's clean-up is bounded by itself; this bound is never reached."""


class TaskExecutor:
    """Runs tasks: async functions on the event loop, others in threads, commands as processes.

    A thread cannot be ended, so a function with a limit of its own gets a process instead where
    another process can find it: it stands in a module the operator listed, and is not async.

    Attributes:
        registry: The tasks it can run.
        blockages: What blocked the event loop.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        *,
        ports: Ports,
        max_output_bytes: int,
        max_runtime_seconds: float,
        threads: int = 8,
    ) -> None:
        """Start nothing yet.

        Args:
            registry: The tasks it can run.
            ports: What built-in tasks may use.
            max_output_bytes: The most to keep of a run's output.
            max_runtime_seconds: No run is given more time than this.
            threads: How many functions that are not async run at once.
        """
        self.registry = registry
        self._ports = ports
        self._cap = max_output_bytes
        self._longest = max_runtime_seconds
        self._threads = ThreadPool(threads)
        self.blockages = BlockageJournal(ports.reminders)
        self._watchdog = Watchdog(self.blockages.add)
        self._processes = ProcessRunner(max_output_bytes=max_output_bytes)
        self._grace_seconds = self._processes.grace_seconds
        self._patience_seconds = _FUNCTION_PATIENCE_SECONDS
        self._going: set[asyncio.Task[Outcome]] = set()
        self._is_closed = False

    def open(self) -> None:
        """Take tasks, also again after a close. Idempotent."""
        self._is_closed = False
        self._processes.grace_seconds = self._grace_seconds
        self._patience_seconds = _FUNCTION_PATIENCE_SECONDS

    def hurry(self, *, grace_seconds: float) -> None:
        """Give what has to end from now on so long only; `open` takes it back.

        Args:
            grace_seconds: For a command between SIGTERM and SIGKILL, and for a function to heed
                its cancellation.
        """
        self._processes.grace_seconds = min(self._processes.grace_seconds, grace_seconds)
        self._patience_seconds = min(self._patience_seconds, grace_seconds)

    async def execute(
        self,
        task: str,
        params: JsonObject,
        *,
        context: RunContext,
        timeout_seconds: float | None = None,
    ) -> Outcome:
        """Run a task and say how it ended; never raise for what the task does.

        When cancelled, end the task (a command with all its processes) and re-raise.

        Args:
            task: Its name in the catalog.
            params: Its arguments as JSON values; checked again here.
            context: The run it is part of, for `current_run()` and a command's environment.
            timeout_seconds: The limit asked for; None takes the task's own. Never more than
                `max_runtime_seconds`.
        """
        if self._is_closed:
            return interrupted()
        try:
            self.registry.validate(task, params)
        except (UnknownTaskError, InvalidArgumentsError) as error:
            return failed(error, cap=self._cap)
        found = self.registry.get(task)
        asked = timeout_seconds or found.entry.timeout_seconds
        limit = min(asked or self._longest, self._longest)
        if found.command is None and not (asked and _can_leave(found)):
            work = asyncio.create_task(
                self._guarded(self._call(found, params, context)),
                name=task,
                context=enter_run(context),
            )
            return await self._accompany(work, limit=limit)
        run = self._in_process(found, params, context=context, limit=limit)
        # A process keeps its own limit, because what it wrote until then is worth showing.
        work = asyncio.create_task(self._guarded(run), name=task)
        return await self._accompany(work, limit=None, patience=_PROCESS_PATIENCE_SECONDS)

    async def aclose(self, *, grace_seconds: float = 2.0) -> None:
        """End all that is still running, and take nothing more. Idempotent.

        Their runs end as interrupted.

        Args:
            grace_seconds: How long commands have between SIGTERM and SIGKILL.
        """
        self._is_closed = True
        self.hurry(grace_seconds=grace_seconds)
        for going in self._going:
            going.cancel()
        if self._going:
            await asyncio.wait(self._going, timeout=grace_seconds + self._patience_seconds)
        await self._processes.close()
        self._watchdog.close()

    def _in_process(
        self, found: RegisteredTask, params: JsonObject, *, context: RunContext, limit: float
    ) -> Coroutine[Any, Any, Outcome]:
        if found.command is None:
            return run_function(
                found,
                params=params,
                context=context,
                timeout_seconds=limit,
                processes=self._processes,
            )
        return run_command(
            found.command,
            params=params,
            context=context,
            timeout_seconds=limit,
            processes=self._processes,
        )

    async def _accompany(
        self, work: asyncio.Task[Outcome], *, limit: float | None, patience: float | None = None
    ) -> Outcome:
        self._going.add(work)
        work.add_done_callback(self._going.discard)
        try:
            await asyncio.wait({work}, timeout=limit)
        except asyncio.CancelledError:
            await self._end(work, patience=patience)
            raise
        if not work.done() and limit is not None:
            await self._end(work, patience=patience)
            return timed_out(limit)
        return interrupted() if work.cancelled() else work.result()

    async def _end(self, work: asyncio.Task[Outcome], *, patience: float | None) -> None:
        """Cancel and wait; a function that ignores it is left behind, a command never is."""
        work.cancel()
        await asyncio.wait({work}, timeout=self._patience_seconds if patience is None else patience)
        if not work.done():
            _log.warning("cancellation_ignored", task=work.get_name())

    async def _guarded(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Turn whatever a task raises into its outcome.

        SystemExit and KeyboardInterrupt would end the event loop, and the server with it, if
        they left an asyncio task.
        """
        try:
            return await work
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return self._raised(error)  # the task cancelled itself: its own affair
        except PermissionLostError:
            return interrupted()
        except GeneratorExit:
            raise  # the interpreter's own, when it drops a coroutine
        # A task may raise anything: this is the guard that keeps it the task's own affair.
        except BaseException as error:  # noqa: BLE001 - said above
            return self._raised(error)

    async def _call(self, found: RegisteredTask, params: JsonObject, run: RunContext) -> Outcome:
        arguments = found.arguments(params)
        if found.takes_ports:
            arguments["ports"] = self._ports
        function = found.called
        if _is_async(function):
            return await self._awaited(function(**arguments), found, run)
        call = functools.partial(self._call_in_thread, function, arguments)
        context = contextvars.copy_context()
        result = await self._threads.run(lambda: context.run(call), name=found.entry.name)
        if isinstance(result, Outcome):
            return result
        return await self._awaited(result, found, run)

    async def _awaited(
        self, work: Awaitable[object], found: RegisteredTask, run: RunContext
    ) -> Outcome:
        home = str(getattr(found.called, "__module__", ""))
        value = await self._watchdog.watch(work, task=found.entry.name, run=run, home=home)
        return succeeded(value, cap=self._cap)

    def _call_in_thread(
        self, function: Callable[..., Any], arguments: dict[str, Any]
    ) -> Outcome | Awaitable[object]:
        """Call a function; what it returns may still have to be awaited, on the loop."""
        try:
            value = function(**arguments)
            if inspect.isawaitable(value):
                return value
            return succeeded(value, cap=self._cap)
        # A task may raise anything, and a thread has nobody above it to tell.
        except BaseException as error:  # noqa: BLE001 - said above
            return self._raised(error)

    def _raised(self, error: BaseException) -> Outcome:
        _log.info("task_raised", error=type(error).__name__, at=innermost_frame(error))
        return failed(error, cap=self._cap)


def _can_leave(found: RegisteredTask) -> bool:
    """Whether another process can find and call it: not async, and in a listed module."""
    return found.module is not None and not _is_async(found.called)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async
    )
