"""Threads for functions that are not async: bounded in number, and never in the way of an exit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class ThreadPool:
    """A bounded number of daemon threads, one for each call.

    `concurrent.futures` is not used because the interpreter waits for its threads at exit: one
    function that never returns would keep the server from stopping.
    """

    def __init__(self, size: int) -> None:
        """Start no thread yet.

        Args:
            size: How many calls run at once; a call that outlives its run keeps its place.
        """
        self._size = size
        self._places = asyncio.Semaphore(size)

    async def run[T](self, call: Callable[[], T], *, name: str) -> T:
        """Call a function in a thread of its own, as soon as a place is free.

        When the waiting coroutine is cancelled the thread goes on, for a thread cannot be
        stopped; its place is free again when the function returns.

        Args:
            call: Must not raise anything.
            name: The thread's name, for debuggers.
        """
        if self._places.locked():
            _log.warning("thread_awaited", task=name, threads=self._size)
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def deliver(result: T) -> None:
            self._places.release()
            if not answer.done():
                answer.set_result(result)

        def work() -> None:
            result = call()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(deliver, result)

        try:
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError:
            self._places.release()
            raise
        return await answer
