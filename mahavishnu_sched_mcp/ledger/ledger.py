"""The ledger as the rest of the house sees it: read, write, and hear of changes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.ledger.database import connect, migrate, translated_errors
from mahavishnu_sched_mcp.ledger.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw

_log = structlog.get_logger()
_LOOK_SECONDS = 0.1
"""How often other processes' commits are looked for: SQLite tells nobody by itself."""


class Ledger:
    """One process's hold on the ledger's file.

    Reads happen on the event loop (a WAL reader waits for nobody), writes in the writer's
    thread. `open` and `close` belong to the lifespan; both may be called twice.

    Args:
        path: The file, made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: apsw.Connection | None = None
        self._writer: Writer | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._version = 0

    async def open(self) -> None:
        """Open the file, bring its schema up to date and start to watch it.

        Raises:
            LedgerCorruptError: damaged, or written by a newer version.
            StorageFullError: no room.
        """
        if self._reader is not None:
            return
        connection = connect(self._path)
        migrate(connection)
        self._writer = Writer(connection, connect(self._path))
        self._reader = connect(self._path, read_only=True)
        self._watcher = asyncio.create_task(self._watch(), name="ledger-watch")

    async def close(self) -> None:
        """Commit what waits and let go of the file."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def read[T](self, query: Callable[[apsw.Connection], T]) -> T:
        """Answer a question from what is committed."""
        assert self._reader is not None, "the ledger is not open"  # noqa: S101 - the lifespan opens it
        with translated_errors():
            return query(self._reader)

    async def write[T](self, change: Callable[[apsw.Connection], T], *, durable: bool = True) -> T:
        """Commit one change and give its result, once it is committed.

        Args:
            durable: Sync the disk first; leave it out only for bookkeeping that a power loss
                may take.

        Raises:
            StorageFullError: no room; nothing was changed.
            LedgerCorruptError: damaged; nothing was changed.
        """
        assert self._writer is not None, "the ledger is not open"  # noqa: S101 - the lifespan opens it
        result: T = await asyncio.wrap_future(self._writer.submit(change, durable=durable))
        self._tell()
        return result

    @property
    def version(self) -> int:
        """A number that rises with every commit of any process; read it before you look."""
        return self._version

    async def changed(self, *, since: int, within: float) -> bool:
        """Wait for a commit of any process, at most so many seconds.

        Args:
            since: The `version` from before the caller looked: a commit in between counts.

        Returns:
            Whether something was committed.
        """
        if self._version != since:
            return True
        try:
            await asyncio.wait_for(self._changed.wait(), within)
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _watch(self) -> None:
        seen = self._data_version()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                found = self._data_version()
            except SchedulerError as error:  # a passing fault must not end the watch
                _log.warning("ledger_unreadable", code=error.code, error=error.message)
                continue
            if found != seen:
                seen = found
                self._tell()

    def _data_version(self) -> int:
        return self.read(lambda db: int(db.execute("pragma data_version").get))
