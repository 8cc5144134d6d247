"""When the engine starts, how it is, and what happens when a part of it dies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.engine import EngineState, Health
from mahavishnu_sched_mcp.errors import BackendUnavailableError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.backends.prefect.installation import Installation
    from mahavishnu_sched_mcp.domain.clock import Clock

LOOK_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
PROCESS_CHECKS_PER_LOOK = 2

logger = structlog.get_logger()


class EngineLife:
    """Starts the installation once for all callers, watches it and starts it anew.

    Args:
        installation: The processes and the connection.
        look: Reads what changed on the server; called about once a second while it is ready.
        clock: Says for how long a start has been going on.
    """

    def __init__(
        self, installation: Installation, *, look: Callable[[], Awaitable[None]], clock: Clock
    ) -> None:
        self._installation = installation
        self._look = look
        self._clock = clock
        self._state = EngineState.IDLE
        self._trouble = ""
        self._start: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._started_at = 0.0
        self._is_stopping = False

    def health(self) -> Health:
        """Say how the engine is, from memory."""
        return Health(
            state=self._state,
            detail=self._detail(),
            url=self._installation.addresses.ui if self._state is EngineState.READY else None,
            figures=dict(self._installation.figures),
        )

    async def ensure_started(self) -> None:
        """Start where it is not yet; callers at the same time share one start.

        Raises:
            BackendUnavailableError: it could not start, or the server does not answer now.
        """
        if self._is_stopping:
            msg = "Backend 'prefect' is stopping."
            raise BackendUnavailableError(msg, hint="Ask get_status how it is, and try again.")
        if self._state is EngineState.READY and self._installation.trouble is None:
            return
        if self._watch is not None and self._installation.trouble is None:
            # Everything runs, the server alone was silent: the watch says when it answers.
            await self._installation.probe()
            return
        if self._start is None or self._start.done():
            self._start = asyncio.create_task(self._bring_up(), name="prefect-start")
            self._start.add_done_callback(_retrieve)
        await _share(self._start)

    async def stop(self) -> None:
        """End everything. Idempotent; also valid before a start."""
        self._is_stopping = True
        try:
            ending = [task for task in (self._watch, self._start) if task is not None]
            for task in ending:
                task.cancel()
            if ending:
                await asyncio.wait(ending)
            self._watch = self._start = None
            await self._installation.stop()
        finally:
            self._is_stopping = False
            if self._state is not EngineState.IDLE:
                self._state = EngineState.STOPPED

    def _detail(self) -> str:
        match self._state:
            case EngineState.STARTING:
                seconds = self._clock.monotonic() - self._started_at
                return f"{self._installation.step}, for {seconds:.0f} s"
            case EngineState.UNAVAILABLE:
                return self._trouble
            case _:
                return ""

    async def _bring_up(self) -> None:
        self._state, self._started_at = EngineState.STARTING, self._clock.monotonic()
        try:
            await self._installation.start()
        except SchedulerError as error:
            self._report(str(error))
            raise
        except asyncio.CancelledError:
            self._state = EngineState.STOPPED
            raise
        except Exception as error:
            # Guard: whatever the library raises at its start, callers get one of ours.
            self._report(f"Backend 'prefect' did not start: {type(error).__name__}: {error}")
            raise BackendUnavailableError(
                self._trouble, hint="Run `mahavishnu-sched-mcp doctor`."
            ) from error
        self._state = EngineState.READY
        seconds = round(self._clock.monotonic() - self._started_at, 1)
        logger.info("prefect_started", seconds=seconds, **self._installation.figures)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._supervise(), name="prefect-watch")

    async def _supervise(self) -> None:
        while True:
            trouble = self._installation.trouble
            if trouble is not None:
                await self._start_again(trouble)
            await self._try_look()
            await self._wait_for_trouble()

    async def _start_again(self, trouble: str) -> None:
        pause = FIRST_PAUSE_SECONDS
        while self._installation.trouble is not None:
            if self._start is None or self._start.done():
                self._report(f"Backend 'prefect': {trouble}. Starting it again in {pause:g} s.")
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                await self.ensure_started()
            except SchedulerError as error:
                trouble = error.message.removeprefix("Backend 'prefect'").strip(" .:")

    async def _wait_for_trouble(self) -> None:
        for _ in range(PROCESS_CHECKS_PER_LOOK):
            await asyncio.sleep(LOOK_SECONDS / PROCESS_CHECKS_PER_LOOK)
            if self._installation.trouble is not None:
                return

    async def _try_look(self) -> None:
        try:
            await self._look()
        except BackendUnavailableError as error:
            if self._state is EngineState.READY:
                self._report(str(error))
            return
        except Exception as error:  # noqa: BLE001 - guard of the loop: the next look may succeed
            logger.warning("prefect_look_failed", error=f"{type(error).__name__}: {error}")
            return
        if self._state is EngineState.UNAVAILABLE:
            logger.info("prefect_answered_again")
            self._state = EngineState.READY

    def _report(self, trouble: str) -> None:
        self._state, self._trouble = EngineState.UNAVAILABLE, trouble
        logger.warning("prefect_unavailable", reason=trouble)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take a failed start's error, so that it is not reported as lost when nobody waits."""
    if not task.cancelled():
        task.exception()


async def _share(start: asyncio.Task[None]) -> None:
    """Wait for a start that others wait for too: giving up must not end theirs."""
    try:
        await asyncio.shield(start)
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if start.cancelled() and (waiting is None or not waiting.cancelling()):
            msg = "Backend 'prefect' was stopped while it started."
            raise BackendUnavailableError(
                msg, hint="Ask get_status how it is, and try again."
            ) from None
        raise
