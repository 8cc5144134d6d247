"""The ledger as the rest of the house sees it: read, write, and hear of changes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import (
    InternalError,
    InvalidStateError,
    LedgerCorruptError,
    SchedulerError,
    StorageFullError,
)
from mahavishnu_sched_mcp.ledger.archive import Archive, Archivist
from mahavishnu_sched_mcp.ledger.database import (
    RESTORE,
    close_last,
    connect,
    query,
    translated_errors,
)
from mahavishnu_sched_mcp.ledger.hold import Hold, held_alone, identity_of
from mahavishnu_sched_mcp.ledger.inspection import inspect, is_new, mark_of
from mahavishnu_sched_mcp.ledger.mark import commits_of
from mahavishnu_sched_mcp.ledger.reserve import Reserve
from mahavishnu_sched_mcp.ledger.schema import migrate
from mahavishnu_sched_mcp.ledger.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw


_log = structlog.get_logger()
_LOOK_SECONDS = 0.1
"""How often other processes' commits are looked for: SQLite tells nobody by itself."""
_CLOSE_SECONDS = 5.0


class Ledger:
    """One process's hold on the ledger's file.

    Reads happen on the event loop (a WAL reader waits for nobody), writes in the writer's
    thread. `open` and `close` belong to the lifespan; both may be called twice.

    Args:
        path: The file, made where none was ever made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hold = Hold(path.parent)
        self._mark = mark_of(path)
        self._archive = Archive(path)
        self._reserve = Reserve(path.with_name("ledger.reserve"))
        self._reader: apsw.Connection | None = None
        self._writer: Writer | None = None
        self._archivist: Archivist | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._version = 0
        self._damage: LedgerCorruptError | None = None
        self._identity = identity_of(path)

    async def open(self) -> None:
        """Look the file over, bring its schema up to date and start to watch it.

        Nothing is written to a file that is damaged, lost or newer than this version.

        Raises:
            LedgerCorruptError: it is; names the newest backup that can be restored.
            StorageFullError: no room.
            InternalError: it is being restored, or cannot be opened.
        """
        if self._reader is not None:
            return
        self._hold.take()
        try:
            self._open()
        except BaseException as error:
            self._hold.release()
            if isinstance(error, LedgerCorruptError):
                raise self._archive.advised(error) from error
            raise
        self._watcher = asyncio.create_task(self._watch(), name="ledger-watch")

    async def close(self) -> None:
        """Commit what waits, empty the log and let go of the file."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._archivist is not None:
            self._archivist.close()
            self._archivist = None
        is_closed, is_sound = self._reader is not None, self._damage is None
        if self._writer is not None:
            is_closed = self._writer.close(timeout=_CLOSE_SECONDS)
            is_sound &= is_closed and self._writer.damage is None
            self._writer = None
        if self._reader is not None:
            if is_sound:
                close_last(self._reader)
            else:
                self._reader.close()
            self._reader = None
        self._mark.close()
        self._hold.release()
        if is_closed and is_sound:
            self._seal()

    def read[T](self, query: Callable[[apsw.Connection], T]) -> T:
        """Answer a question from what is committed.

        Raises:
            LedgerCorruptError: damaged; from now on nothing is written either.
        """
        assert self._reader is not None, "the ledger is not open"  # noqa: S101 - the lifespan opens it
        try:
            with translated_errors():
                return query(self._reader)
        except LedgerCorruptError as error:
            self._note_damage(error)
            raise self._damage or error from error

    async def write[T](
        self,
        change: Callable[[apsw.Connection], T],
        *,
        durable: bool = True,
        essential: bool = False,
    ) -> T:
        """Commit one change and give its result, once it is committed.

        Args:
            durable: Sync the disk first; leave it out only for bookkeeping that a power loss
                may take.
            essential: What takes work away or records an end: on a full disk it may use the
                room that is kept for this, and may be run again after a rollback.

        Raises:
            StorageFullError: no room; nothing was changed.
            LedgerCorruptError: damaged; nothing was changed.
        """
        assert self._writer is not None, "the ledger is not open"  # noqa: S101 - the lifespan opens it
        if self._damage is not None:
            raise self._damage
        submitted = self._writer.submit(change, durable=durable, essential=essential)
        result: T = await asyncio.wrap_future(submitted)
        self._require_in_place()
        self._tell()
        return result

    def troubles(self) -> list[str]:
        """Say what is wrong with the ledger itself now, for who looks after it."""
        found = []
        damage = self._damage or (None if self._writer is None else self._writer.damage)
        if damage is not None:
            found.append(f"The ledger is damaged, nothing fires: {damage.hint}")
        if self._writer is not None and self._writer.is_full:
            found.append("The disk of the data dir is full: free some space. Until then only")
            found[-1] += " cancel_job, cancel_run and pause_job change anything."
        if self._writer is not None and self._writer.is_log_long:
            found.append("A program has been reading the ledger's file for long: its log grows.")
            found[-1] += " End that program."
        return found

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

    def _open(self) -> None:
        try:
            connection, checkpoints, reader = self._connections()
        except StorageFullError:  # SQLite needs some room even to read
            self._reserve.give_back()
            connection, checkpoints, reader = self._connections()
        self._reserve.make()
        self._damage = None
        self._identity = identity_of(self._path)
        self._writer = Writer(connection, checkpoints, mark=self._mark, reserve=self._reserve)
        self._reader = reader
        self._archivist = Archivist(self._archive, on_failure=self._note_failed_backup)

    def _connections(self) -> tuple[apsw.Connection, apsw.Connection, apsw.Connection]:
        """Give the writer's, the checkpoints' and the reader's, to a ledger of our schema."""
        if not is_new(self._path):
            inspect(self._path)
        with contextlib.ExitStack() as opened:
            connection = connect(self._path)
            opened.callback(connection.close)
            migrate(connection, before=self._archive.keep_before_migration)
            self._keep_mark(connection)
            checkpoints = connect(self._path)
            opened.callback(checkpoints.close)
            reader = connect(self._path, read_only=True)
            opened.pop_all()
        return connection, checkpoints, reader

    def _keep_mark(self, connection: apsw.Connection) -> None:
        """Take the seal off; make the mark where it is missing, once the tables are on the disk."""
        with translated_errors():
            commits = commits_of(connection)
        try:
            if self._mark.is_there:
                self._mark.unseal(commits)
                return
            with translated_errors():
                query(connection, "pragma wal_checkpoint(passive)")
            self._mark.make(commits)
        except OSError as error:
            if isinstance(error, SchedulerError):
                raise
            msg = f"The mark beside the ledger cannot be written: {error.strerror}."
            raise InternalError(msg, hint="See `mahavishnu-sched-mcp doctor`.") from error

    def _seal(self) -> None:
        """Seal the file, unless another process has it open or its log could not be emptied."""
        log = self._path.with_name(f"{self._path.name}-wal")
        with contextlib.suppress(InvalidStateError, OSError), held_alone(self._path.parent):
            if not log.exists() or log.stat().st_size == 0:
                self._mark.seal(self._path)

    def _require_in_place(self) -> None:
        """Acknowledge nothing that is in a file which is not the ledger any more.

        Raises:
            LedgerCorruptError: the file was removed or replaced while it was open.
        """
        if identity_of(self._path) == self._identity:
            return
        msg = "The ledger's file was removed or replaced while servers had it open."
        self._note_damage(LedgerCorruptError(msg, hint=RESTORE))
        assert self._damage is not None  # noqa: S101 - noted just now
        raise self._damage

    def _note_damage(self, error: LedgerCorruptError) -> None:
        if self._damage is None:
            self._damage = self._archive.advised(error)
            _log.error("ledger_damaged", error=error.message, ledger=str(self._path))

    def _note_failed_backup(self, error: SchedulerError) -> None:
        _log.error("ledger_not_backed_up", code=error.code, error=error.message)
        if isinstance(error, LedgerCorruptError):
            self._note_damage(error)

    def _tell(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _watch(self) -> None:
        seen = self._data_version()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._require_in_place()
                found = self._data_version()
            except LedgerCorruptError:
                continue  # noted: nothing is written any more
            except SchedulerError as error:  # a passing fault must not end the watch
                _log.warning("ledger_unreadable", code=error.code, error=error.message)
                continue
            if found != seen:
                seen = found
                self._tell()

    def _data_version(self) -> int:
        return self.read(lambda db: int(db.execute("pragma data_version").get))
