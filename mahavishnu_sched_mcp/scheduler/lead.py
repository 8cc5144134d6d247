"""What only the leading process does: fire, run, hand over, mirror."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.backends.protocol import Draining
from mahavishnu_sched_mcp.domain.engine import Backend, Health
from mahavishnu_sched_mcp.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import SchedulerBackend
    from mahavishnu_sched_mcp.dispatcher import Dispatcher
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.runner import Runner

_log = structlog.get_logger()

ENGINE_SECONDS = 0.8
"""Engines get so long to stop: a client gives a stdio server 2 s in all."""

_UNHURRIED_SECONDS = 15.0
"""Nobody waits for the end of a process that goes on as a follower."""


class Lead:
    """The engines and those who serve them, waiting for the lead or having it.

    Args:
        engines: The engines that are switched on.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        runner: Runner,
        dispatcher: Dispatcher,
        engines: Mapping[Backend, SchedulerBackend],
    ) -> None:
        self._leadership = leadership
        self._runner = runner
        self._dispatcher = dispatcher
        self.engines = engines

    @property
    def is_leader(self) -> bool:
        """Whether this process fires."""
        return self._leadership.is_leader

    def has_newest_term(self) -> bool:
        """Whether this process fires by the ledger, too."""
        return self._leadership.has_newest_term()

    def is_somebody_leading(self) -> bool:
        """Whether any process of the data dir fires now."""
        return self._leadership.is_somebody_leading()

    async def start(self, prepare: Callable[[], Coroutine[None, None, None]]) -> None:
        """Take the lead if it is free, else wait for it in the background.

        Args:
            prepare: Run beside the start of the engines when the lead is taken.
        """

        async def elected(_: int) -> None:
            await self._runner.lead()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(prepare())
                    group.create_task(self._dispatcher.start())
            except ExceptionGroup as failures:  # one refusal says enough, and is handled by type
                raise failures.exceptions[0] from failures

        await self._leadership.start(elected, self._step_down)

    async def stop(self, *, drain: float) -> None:
        """End everything in the reverse order of its start, then give up the lead.

        Also where this process does not lead: it may have begun to, or not yet have ended it.

        Args:
            drain: Seconds that runs in this process may still take.
        """
        await self._leadership.retire()
        await self._dispatcher.stop()
        await self._drain(seconds=drain)
        await self._stop_engines(within=ENGINE_SECONDS)
        if self.is_leader:
            try:
                await self._runner.close_books()
            except SchedulerError as error:  # the next leader accounts for them instead
                _log.warning("books_not_closed", error=error.message)
        await self._leadership.stop()

    async def write[T](self, change: Callable[[apsw.Connection], T], *, durable: bool = True) -> T:
        """Commit a change that only the leader may make; see `Leadership.write`."""
        return await self._leadership.write(change, durable=durable)

    def health(self) -> dict[Backend, Health]:
        """Say how the engines of this process are now."""
        return self._dispatcher.health()

    async def _step_down(self) -> None:
        """End what only a leader does: another process leads, and has accounted for our runs."""
        await self._dispatcher.stop()
        await self._runner.stop(drain=0)
        await self._stop_engines(within=_UNHURRIED_SECONDS)

    async def _drain(self, *, seconds: float) -> None:
        """Let all that runs in this process go on for so long, whichever engine runs it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runner.stop(drain=seconds))
            for engine in self.engines.values():
                if isinstance(engine, Draining):
                    group.create_task(engine.drain(seconds=seconds))

    async def _stop_engines(self, *, within: float) -> None:
        try:
            async with asyncio.timeout(within), asyncio.TaskGroup() as group:
                for engine in self.engines.values():
                    group.create_task(self._stop_engine(engine))
        except TimeoutError:  # their processes end by themselves when this one is gone
            _log.warning("engines_slow_to_stop", seconds=within)

    async def _stop_engine(self, engine: SchedulerBackend) -> None:
        try:
            await engine.stop()
        except Exception:  # noqa: BLE001 - the guard of the way out
            # One engine's defect must not keep the others from ending.
            _log.exception("engine_stop_failed", backend=engine.name)
