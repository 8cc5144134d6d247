"""Reads a queue and runs what it finds, a few at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.run import Outcome, RunError, RunState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.backends.protocol import QueueBackend, QueueMessage, WorkPort
    from mahavishnu_sched_mcp.domain.run import Run
    from mahavishnu_sched_mcp.domain.value import JsonObject

_BLOCK_MS = 1000
_PAUSE_AFTER_FAILURE = 1.0

_log = structlog.get_logger()


type Executor = Callable[[Run, JsonObject], Awaitable[Outcome]]
"""Executes the work of one message (its payload), as part of a run already begun."""


class QueueWorker:
    """Takes messages one by one: begin, execute, finish, acknowledge.

    The ledger decides whether a message is run (`WorkPort.begin`); a message is acknowledged
    only after its outcome is committed, so a crash anywhere delivers it again.

    Attributes:
        processed: Messages whose run was finished here.
        failed: Those of them that did not succeed.
    """

    def __init__(
        self,
        queue: QueueBackend,
        *,
        work: WorkPort,
        execute: Executor,
        name: str,
        concurrency: int,
        extend_every: timedelta = timedelta(seconds=10),
    ) -> None:
        self.processed = 0
        self.failed = 0
        self._queue = queue
        self._work = work
        self._execute = execute
        self._name = name
        self._concurrency = concurrency
        self._extend_every = extend_every
        self._reading: asyncio.Task[None] | None = None
        self._running: dict[asyncio.Task[None], QueueMessage] = {}
        self._has_room = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many messages are worked on at this moment."""
        return len(self._running)

    def start(self) -> None:
        """Begin to read. Idempotent; with a concurrency of 0 nothing is ever read."""
        if self._reading is None and self._concurrency > 0:
            self._has_room.set()
            self._reading = asyncio.create_task(self._read_on())

    async def drain(self, *, seconds: float) -> None:
        """Read nothing more, and let what runs go on for so long."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def stop(self) -> None:
        """Read nothing more, cancel what runs and give its messages back. Idempotent."""
        running = dict(self._running)
        tasks = [*running, *([self._reading] if self._reading else [])]
        self._reading = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for message in running.values():
            # Acknowledged meanwhile or given back: the fencing token makes it a no-op.
            await self._queue.nack(message, delay_s=0)

    async def _read_on(self) -> None:
        while True:
            await self._has_room.wait()
            try:
                messages = await self._queue.read(
                    count=self._concurrency - self.in_flight, block_ms=_BLOCK_MS
                )
            # Loop guard: no failure of a broker may end the reading for good.
            except Exception:  # noqa: BLE001 - see above; it is logged whole
                _log.exception("queue_read_failed", worker=self._name)
                await asyncio.sleep(_PAUSE_AFTER_FAILURE)
                continue
            for message in messages:
                self._launch(message)

    def _launch(self, message: QueueMessage) -> None:
        task = asyncio.create_task(self._serve(message))
        self._running[task] = message
        task.add_done_callback(self._on_served)
        if self.in_flight >= self._concurrency:
            self._has_room.clear()

    def _on_served(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._has_room.set()

    async def _serve(self, message: QueueMessage) -> None:
        try:
            await self._process(message)
        # Loop guard: one message must not end the worker. It stays un-acknowledged, so it is
        # delivered again when its lease ends, and the ledger decides anew.
        except Exception:  # noqa: BLE001 - see above; it is logged whole
            _log.exception("message_failed", message_id=message.message_id, worker=self._name)

    async def _process(self, message: QueueMessage) -> None:
        run_id = _run_id(message)
        if run_id is None:
            _log.error("message_dropped", message_id=message.message_id, reason="no run_id")
            await self._queue.ack([message])
            return
        run = await self._work.begin(run_id, worker=self._name)
        if run is None:
            _log.info("message_dropped", run_id=run_id, reason="not to be run")
            await self._queue.ack([message])
            return
        outcome = await self._attend(message, run)
        await self._work.finish(run_id, outcome)
        self.processed += 1
        self.failed += outcome.state is not RunState.SUCCEEDED
        await self._queue.ack([message])

    async def _attend(self, message: QueueMessage, run: Run) -> Outcome:
        lease = asyncio.create_task(self._keep_lease(message, run_id=run.run_id))
        try:
            return await self._execute(run, message.payload)
        # Loop guard: a defect of the engine is this run's failure, on record, not a silence.
        except Exception as error:  # noqa: BLE001 - see above; it is logged whole
            _log.exception("execution_failed", run_id=run.run_id)
            return _broken(error)
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)

    async def _keep_lease(self, message: QueueMessage, *, run_id: str) -> None:
        is_held = True
        while is_held:
            await asyncio.sleep(self._extend_every.total_seconds())
            try:
                is_held = await self._queue.extend(message)
            # Loop guard: a broker that is away for a moment must not cost the lease.
            except Exception:  # noqa: BLE001 - see above; it is logged whole
                _log.exception("lease_extension_failed", run_id=run_id)
        # The work goes on: whoever has the message now is refused by `begin`.
        _log.warning("lease_lost", run_id=run_id, message_id=message.message_id)


def _broken(error: Exception) -> Outcome:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    failure = RunError(type=type(error).__name__, message=str(error))
    text = f"the workflow engine failed: {failure.type}: {failure.message}"
    return Outcome(state=RunState.FAILED, reason=text.splitlines()[0], error=failure)


def _run_id(message: QueueMessage) -> str | None:
    metadata = message.payload.get("metadata")
    found = metadata.get("run_id") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None
