"""A thread that the end of the process never waits for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

type _Call = tuple[Future[Any], Callable[[], Any]]


class DaemonThread:
    """Run blocking calls one after another beside the event loop.

    asyncio joins the threads of `to_thread` when the loop closes; a slow import or a locked
    file would then hold up the exit. This thread is a daemon: it is left behind instead.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] | None = None

    async def call[T](self, work: Callable[[], T]) -> T:
        """Run a blocking call in the thread, after those asked for before.

        A cancelled wait takes a call that has not begun off the list; one that has begun goes
        on and its result is dropped.

        Raises:
            BaseException: whatever the call raises.
        """
        future: Future[T] = Future()
        self._open().put((future, work))
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Let the thread end after the calls it already has. Idempotent."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None

    def _open(self) -> SimpleQueue[_Call | None]:
        if self._calls is None:
            self._calls = SimpleQueue()
            threading.Thread(
                target=_work_off, args=(self._calls,), name=self._name, daemon=True
            ).start()
        return self._calls


def _work_off(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        future, work = call
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = work()
        # Loop guard: the exception is not swallowed, it is raised again in the caller's task.
        except BaseException as error:  # noqa: BLE001 - handed over whole to the caller
            future.set_exception(error)
        else:
            future.set_result(result)
