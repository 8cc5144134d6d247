"""The embedded queue: durable messages in one SQLite file, no broker needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import apsw
import structlog

from mahavishnu_sched_mcp.backends.oneiric.daemon import DaemonThread
from mahavishnu_sched_mcp.backends.oneiric.queues.table import QueueTable, Row
from mahavishnu_sched_mcp.backends.protocol import QueueMessage
from mahavishnu_sched_mcp.errors import BackendUnavailableError, InvalidArgumentsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mahavishnu_sched_mcp.domain.clock import Clock

# Other processes may put messages into the file; SQLite does not tell us.
_POLL = 0.25

_log = structlog.get_logger()


class SqliteQueueAdapter:
    """Messages in a table, leased with a fencing token; delivered at least once, oldest first.

    Several processes may share the file. A message is kept until it is acknowledged; what was
    read and neither acknowledged nor extended is due again after the lease.

    Attributes:
        queue_depth: Messages waiting or leased, as last seen; read by Oneiric's bridge.
        lease_seconds: How long a delivery belongs to its reader.
    """

    def __init__(
        self, path: Path, *, queue: str = "workflows", lease_seconds: float = 30, clock: Clock
    ) -> None:
        self.queue_depth = 0
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._table = QueueTable(
            path, queue=queue, lease=int(lease_seconds * 1000), holder=uuid.uuid4().hex
        )
        self._thread = DaemonThread(f"queue-{queue}")
        self._arrived = asyncio.Event()
        self._is_closed = False

    async def init(self) -> None:
        """Open the file.

        Raises:
            BackendUnavailableError: it cannot be opened or is not a queue of this version.
        """
        await self._call(self._table.open)
        await self.depth()

    async def health(self) -> bool:
        """Whether the file answers."""
        try:
            await self.depth()
        except BackendUnavailableError:
            return False
        return True

    async def cleanup(self) -> None:
        """Give back what this adapter leased and close the file. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._ask(self._table.close)
        finally:
            self._thread.stop()

    async def enqueue(self, data: Mapping[str, object]) -> str:
        """Store one message durably; a second one with the same `metadata.run_id` is dropped.

        One that is sent again while it is leased is delivered once more after its
        acknowledgement: a run's next attempt may be sent before the last one is acknowledged.

        Args:
            data: A JSON object. `metadata.not_before` (RFC 3339) delays it.

        Returns:
            The message's id.

        Raises:
            BackendUnavailableError: not known to be stored.
            InvalidArgumentsError: it is no JSON, or its delay is no instant.
        """
        metadata = data.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        body = _encode(data)
        run_id = metadata.get("run_id")
        visible_at = _milliseconds(_not_before(metadata.get("not_before")))
        now = self._now()

        def store() -> tuple[int, int]:
            key = run_id if isinstance(run_id, str) else None
            number = self._table.insert(body, run_id=key, now=now, visible_at=visible_at)
            return number, self._table.count()

        number, self.queue_depth = await self._call(store)
        self._arrived.set()
        return str(number)

    async def read(self, *, count: int, block_ms: int) -> list[QueueMessage]:
        """Lease up to `count` messages, waiting up to `block_ms` for the first.

        Raises:
            BackendUnavailableError: the file does not answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + block_ms / 1000
        while True:
            self._arrived.clear()
            messages = await self._lease(count)
            left = deadline - loop.time()
            if messages or left <= 0:
                return messages
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _POLL)):
                    await self._arrived.wait()

    async def ack(self, messages: Sequence[QueueMessage]) -> int:
        """Remove messages for good; a lease that has passed on removes nothing."""

        def remove() -> tuple[int, int]:
            removed = sum(self._table.remove(int(m.message_id), m.lease) for m in messages)
            return removed, self._table.count()

        removed, self.queue_depth = await self._call(remove)
        self._arrived.set()
        return removed

    async def nack(self, message: QueueMessage, *, delay_s: float) -> None:
        """Give a message back, visible again after the delay (seconds)."""
        # 0 is visible at every time: a clock set back must not hide it.
        visible_at = self._now() + int(delay_s * 1000) if delay_s > 0 else 0
        await self._call(
            lambda: self._table.release(
                int(message.message_id), message.lease, visible_at=visible_at
            )
        )
        self._arrived.set()

    async def extend(self, message: QueueMessage) -> bool:
        """Prolong the lease while the work goes on; False when it was lost."""
        now = self._now()
        return await self._call(
            lambda: self._table.extend(int(message.message_id), message.lease, now=now)
        )

    async def depth(self) -> int:
        """How many messages wait or are leased."""
        self.queue_depth = await self._call(self._table.count)
        return self.queue_depth

    async def discard(self, run_id: str) -> bool:
        """Remove the waiting message of a run; one that is worked on is left alone."""
        now = self._now()
        return await self._call(lambda: self._table.discard(run_id, now=now))

    async def _lease(self, count: int) -> list[QueueMessage]:
        token, now = uuid.uuid4().hex, self._now()
        rows = await self._call(lambda: self._table.lease(token, count=count, now=now))
        messages = []
        for row in rows:
            try:
                messages.append(_message(row, token))
            except ValueError as error:
                await self._bury(row, reason=f"unreadable: {error}")
        return messages

    async def _bury(self, row: Row, *, reason: str) -> None:
        now = self._now()
        await self._call(lambda: self._table.bury(row.id, reason=reason, now=now))
        _log.error("message_buried", message_id=row.id, reason=reason)

    def _now(self) -> int:
        return _milliseconds(self._clock.now())

    async def _call[T](self, work: Callable[[], T]) -> T:
        if self._is_closed:
            msg = "The embedded queue is closed."
            raise BackendUnavailableError(msg, hint="`get_status` shows how the engines are.")
        return await self._ask(work)

    async def _ask[T](self, work: Callable[[], T]) -> T:
        try:
            return await self._thread.call(work)
        except (apsw.Error, OSError) as error:
            msg = f"The embedded queue does not answer: {type(error).__name__}: {_cause(error)}."
            raise BackendUnavailableError(
                msg, hint="`mahavishnu-sched-mcp doctor` checks its file and says how to mend it."
            ) from error


def _encode(data: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(dict(data), separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        msg = f"The message is no JSON: {error}."
        raise InvalidArgumentsError(
            msg, hint="Give `enqueue_workflow` a context and metadata of JSON values only."
        ) from error


def _message(row: Row, token: str) -> QueueMessage:
    payload: object = json.loads(row.body)
    if not isinstance(payload, dict):
        msg = "no JSON object"
        raise ValueError(msg)  # noqa: TRY004 - the same as broken JSON for the only caller
    return QueueMessage(
        message_id=str(row.id),
        lease=token,
        payload=payload,
        deliveries=row.deliveries,
        enqueued_at=datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=row.enqueued_at),
    )


def _not_before(text: object) -> datetime:
    if text is None:
        return datetime.fromtimestamp(0, UTC)
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        msg = f"metadata.not_before {text!r} is no instant with an offset."
        raise InvalidArgumentsError(msg, hint="Write it as '2026-12-01T09:00:00+01:00'.")
    return instant


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _cause(error: Exception) -> str:
    # An OSError's text names the path, which no answer may show.
    text = (error.strerror if isinstance(error, OSError) else str(error)) or "no reason given"
    return text.splitlines()[0].rstrip(".")
