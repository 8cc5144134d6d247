"""Names the tasks that block the event loop, while they do it or right after.

An async task that computes, or calls something that waits, holds up everything else in the
server. Two ways to catch it complete each other: each step of a task's coroutine is timed, which
misses nothing but sees that coroutine only; and a thread looks where the loop hangs, which gives
the line, and also sees what the task started beside itself. A call into C that keeps the
interpreter's lock stops the thread too: it looks as soon as the call returns.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from types import CoroutineType, FrameType
from typing import Any

from mahavishnu_sched_mcp.tasks.blockage import Blockage
from mahavishnu_sched_mcp.tasks.context import RunContext

LONGEST_STEP_SECONDS = 0.25
"""A task may hold the loop so long at a stretch."""
_LOOK_SECONDS = 0.1


class Watchdog:
    """Watches the event loop while async tasks run; nothing is done while none does."""

    def __init__(self, report: Callable[[Blockage], None]) -> None:
        """Start no thread yet.

        Args:
            report: Told of each blockage, on the loop.
        """
        self._report = report
        self._running = 0
        self._lookout: _Lookout | None = None

    async def watch[T](self, work: Awaitable[T], *, task: str, run: RunContext, home: str) -> T:
        """Await a task's work, and tell when it blocks the loop.

        Args:
            work: What its function returned.
            task: Its name.
            run: The run it is part of.
            home: The module of its function: lines of that module are the ones to show.
        """
        if self._lookout is None:
            self._lookout = _Lookout(self._report)
        watched = _Watched(work, task=task, run=run, home=home, lookout=self._lookout)
        _current.set(watched)
        self._running += 1
        self._lookout.wake()
        try:
            return await watched
        finally:
            self._running -= 1
            if not self._running and self._lookout is not None:
                self._lookout.rest()

    def close(self) -> None:
        """End the thread; the next task starts another one. Idempotent."""
        lookout, self._lookout = self._lookout, None
        if lookout is not None:
            lookout.end()


class _Watched[T]:
    """A task's work, awaited step by step with a look at the clock.

    Attributes:
        began: When the present step began.
        where: Where the thread saw it hang in the present step.
    """

    def __init__(
        self, work: Awaitable[T], *, task: str, run: RunContext, home: str, lookout: _Lookout
    ) -> None:
        self.task, self.run, self.home = task, run, home
        self.began = 0.0
        self.where = ""
        self._work = work
        self._lookout = lookout

    def __await__(self) -> Generator[Any, Any, T]:
        """Hand every step through unchanged."""
        steps = self._work.__await__()
        sent: Any = None
        raised: BaseException | None = None
        while True:
            self.where = ""
            self.began = time.monotonic()
            self._lookout.stepping = self
            try:
                awaited = _step(steps, sent, raised)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self._lookout.stepping = None
                seconds = time.monotonic() - self.began
                if seconds > LONGEST_STEP_SECONDS:
                    self._lookout.tell(self, seconds=seconds, where=self.where or self._guess())
            sent = raised = None
            try:
                sent = yield awaited
            # Whatever is thrown in is for the task, cancellation and its end above all.
            except BaseException as error:  # noqa: BLE001 - said above
                raised = error

    def _guess(self) -> str:
        """Say where it is after the step: the line it awaits something in, if it still runs."""
        work: Any = self._work
        code = getattr(work, "cr_code", None)
        place = f"{self.home}.{code.co_qualname}" if code is not None else self.home
        found = ""
        while isinstance(work, CoroutineType) and work.cr_frame is not None:
            found = _place(work.cr_frame) if _is_at(work.cr_frame, self.home) else found
            work = work.cr_await
        return f"{found} or before" if found else place


_current: ContextVar[_Watched[Any] | None] = ContextVar("mahavishnu_watched", default=None)
"""Inherited by the asyncio tasks that a task starts, and so says whose they are."""


class _Lookout:
    """The thread that looks where the loop hangs.

    Attributes:
        stepping: What the loop does at this moment, where that is the step of a task.
    """

    def __init__(self, report: Callable[[Blockage], None]) -> None:
        self.stepping: _Watched[Any] | None = None
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._asked: float | None = None
        self._seen: tuple[_Watched[Any], str] | None = None
        self._is_ended = False
        self._awake = threading.Event()
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    def wake(self) -> None:
        self._awake.set()

    def rest(self) -> None:
        self._awake.clear()

    def end(self) -> None:
        self._is_ended = True
        self._awake.set()

    def tell(self, watched: _Watched[Any], *, seconds: float, where: str) -> None:
        self._seen = None
        self._report(Blockage(task=watched.task, run=watched.run, seconds=seconds, where=where))

    def _look(self) -> None:
        while not self._is_ended:
            self._awake.wait()
            time.sleep(_LOOK_SECONDS)
            now, stepping, asked = time.monotonic(), self.stepping, self._asked
            if stepping is not None:
                if now - stepping.began > _LOOK_SECONDS:
                    stepping.where = self._where(stepping.home)
            elif asked is None:
                self._asked, self._seen = now, None
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:
                    return  # the loop is closed
            elif now - asked > _LOOK_SECONDS:
                self._see()

    def _answer(self) -> None:
        """Be called by the loop as soon as it can: late means that something blocked it."""
        asked, self._asked = self._asked, None
        seen, self._seen = self._seen, None
        seconds = time.monotonic() - (asked or 0.0)
        if asked is not None and seen is not None and seconds > LONGEST_STEP_SECONDS:
            self.tell(seen[0], seconds=seconds, where=seen[1])

    def _see(self) -> None:
        """Look whose asyncio task hangs; one that no task of the catalog started is no concern."""
        hanging = asyncio.current_task(self._loop)
        watched = None if hanging is None else hanging.get_context().get(_current)
        if watched is not None and self.stepping is None:
            self._seen = (watched, self._where(watched.home))

    def _where(self, home: str) -> str:
        """Name the innermost line of a module in the loop's thread; else the innermost of all."""
        innermost = frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - its only way
        while frame is not None:
            if _is_at(frame, home):
                return _place(frame)
            frame = frame.f_back
        return "" if innermost is None else _place(innermost)


def _step[T](steps: Generator[Any, Any, T], sent: object, raised: BaseException | None) -> object:
    return steps.send(sent) if raised is None else steps.throw(raised)


def _is_at(frame: FrameType, home: str) -> bool:
    return frame.f_globals.get("__name__") == home


def _place(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__", "?")
    return f"{name}.{frame.f_code.co_qualname}:{frame.f_lineno}"
