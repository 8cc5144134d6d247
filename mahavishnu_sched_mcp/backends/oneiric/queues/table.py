"""The queue's table in SQLite: blocking calls, made from one thread only."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apsw import SQLiteValue

SCHEMA_VERSION = 1

_BUSY_TIMEOUT_MS = 10_000

# A message is leased when it has a token; `resent` marks a leased one that was sent again:
# its acknowledgement then makes it wait once more instead of removing it. Who sends it again
# knows of no attempt that still counts: the lease of another holder is void, as after its death.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    run_id TEXT,
    body BLOB NOT NULL,
    enqueued_at INTEGER NOT NULL,
    visible_at INTEGER NOT NULL DEFAULT 0,
    leased_until INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    holder TEXT,
    resent INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS message_run ON message (queue, run_id)
    WHERE run_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS dead (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    run_id TEXT,
    body BLOB NOT NULL,
    enqueued_at INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    reason TEXT NOT NULL,
    died_at INTEGER NOT NULL
);
PRAGMA user_version = {SCHEMA_VERSION};
"""

_INSERT = """
INSERT INTO message (queue, run_id, body, enqueued_at, visible_at)
VALUES (:queue, :run_id, :body, :now, :visible_at)
ON CONFLICT (queue, run_id) WHERE run_id IS NOT NULL DO UPDATE SET
    resent = (holder IS :holder),
    body = CASE WHEN token IS NULL THEN body ELSE excluded.body END,
    visible_at = CASE WHEN token IS NULL THEN visible_at ELSE excluded.visible_at END,
    token = CASE WHEN holder IS :holder THEN token END,
    holder = CASE WHEN holder IS :holder THEN holder END,
    leased_until = CASE WHEN holder IS :holder THEN leased_until ELSE 0 END
RETURNING id
"""

# A lease further ahead than two terms was written before the wall clock was set back.
_DUE = """
SELECT id FROM message
WHERE queue = :queue AND visible_at <= :now
    AND (leased_until <= :now OR leased_until > :now + 2 * :lease)
ORDER BY id LIMIT :count
"""

_LEASE = f"""
UPDATE message SET leased_until = :now + :lease, deliveries = deliveries + 1,
    token = :token, holder = :holder, resent = 0
WHERE id IN ({_DUE})
RETURNING id, CAST(body AS BLOB), deliveries, enqueued_at
"""  # noqa: S608 - both parts are constants of this module

_FREE = "token = NULL, holder = NULL, leased_until = 0, resent = 0"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A leased row; `body` as it was stored, perhaps broken. Times in ms since the epoch."""

    id: int
    body: bytes
    deliveries: int
    enqueued_at: int


class QueueTable:
    """One queue in one file. All times are milliseconds since the epoch."""

    def __init__(self, path: Path, *, queue: str, lease: int, holder: str) -> None:
        self._path = path
        self._queue = queue
        self._lease = lease
        self._holder = holder
        self._opened: apsw.Connection | None = None

    def open(self) -> None:
        """Open the file, made with mode 0600 where it is missing.

        Raises:
            apsw.Error: it cannot be opened or is no queue of this version.
            OSError: the folder or the file cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path.chmod(0o600)
        connection = apsw.Connection(str(self._path))
        try:
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            version = connection.pragma("user_version")
            if version > SCHEMA_VERSION:
                msg = f"its version {version} is newer than {SCHEMA_VERSION}"
                raise apsw.SchemaChangeError(msg)
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute(_SCHEMA)
        except apsw.Error:
            connection.close()
            raise
        self._opened = connection

    def close(self) -> None:
        """Give back what this holder leased, then close. Idempotent."""
        if self._opened is None:
            return
        connection, self._opened = self._opened, None
        try:
            connection.execute(
                f"UPDATE message SET {_FREE} WHERE holder = ?",  # noqa: S608 - a constant
                (self._holder,),
            )
        finally:
            connection.close()

    def insert(self, body: bytes, *, run_id: str | None, now: int, visible_at: int) -> int:
        """Store a message durably, once per `run_id`, and give its id."""
        values: dict[str, SQLiteValue] = {
            "queue": self._queue,
            "run_id": run_id,
            "body": body,
            "now": now,
            "visible_at": visible_at,
            "holder": self._holder,
        }
        # What was accepted must survive a power loss; leases and acknowledgements may not:
        # they are then made again.
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction():
                ((number,),) = self._fetch(_INSERT, values)
        finally:
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return int(number)

    def lease(self, token: str, *, count: int, now: int) -> list[Row]:
        """Lease the oldest messages that are due, in their order."""
        due: dict[str, SQLiteValue] = {
            "queue": self._queue,
            "now": now,
            "lease": self._lease,
            "count": count,
        }
        # Look first: an UPDATE takes the write lock even where nothing is due.
        if not self._fetch(_DUE, due):
            return []
        with self._transaction():
            rows = self._fetch(_LEASE, due | {"token": token, "holder": self._holder})
        found = [Row(id=r[0], body=r[1], deliveries=r[2], enqueued_at=r[3]) for r in rows]
        return sorted(found, key=lambda row: row.id)

    def bury(self, number: int, *, reason: str, now: int) -> None:
        """Move a message that cannot be read where it blocks nothing and is kept."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO dead SELECT id, queue, run_id, body, enqueued_at,"
                " deliveries, ?, ? FROM message WHERE id = ?",
                (reason, now, number),
            )
            self._connection.execute("DELETE FROM message WHERE id = ?", (number,))

    def remove(self, number: int, token: str) -> bool:
        """Remove a leased message, or let it wait again where it was sent again meanwhile."""
        with self._transaction():
            self._connection.execute(
                "DELETE FROM message WHERE id = ? AND token = ? AND resent = 0", (number, token)
            )
            if self._connection.changes():
                return True
            return self._update(f"{_FREE}, deliveries = 0", number, token)

    def release(self, number: int, token: str, *, visible_at: int) -> bool:
        """Give a leased message back, to be seen from `visible_at` on."""
        return self._update(f"{_FREE}, visible_at = {visible_at:d}", number, token)

    def extend(self, number: int, token: str, *, now: int) -> bool:
        """Prolong a lease by its full term; False when it has passed on."""
        return self._update(f"leased_until = {now + self._lease:d}", number, token)

    def discard(self, run_id: str, *, now: int) -> bool:
        """Remove the message of a run unless somebody works on it."""
        self._connection.execute(
            "DELETE FROM message WHERE queue = ? AND run_id = ?"
            " AND (token IS NULL OR leased_until <= ?)",
            (self._queue, run_id, now),
        )
        return self._connection.changes() > 0

    def count(self) -> int:
        """Count what waits or is leased."""
        ((number,),) = self._fetch(
            "SELECT count(*) FROM message WHERE queue = :queue", {"queue": self._queue}
        )
        return int(number)

    @property
    def _connection(self) -> apsw.Connection:
        if self._opened is None:
            msg = "the queue is closed"
            raise apsw.ConnectionClosedError(msg)
        return self._opened

    def _fetch(self, statement: str, values: dict[str, SQLiteValue]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def _update(self, assignments: str, number: int, token: str) -> bool:
        self._connection.execute(
            f"UPDATE message SET {assignments} WHERE id = ? AND token = ?",  # noqa: S608 - ours
            (number, token),
        )
        return self._connection.changes() > 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # apsw's own `with connection` begins without the write lock: a second process could
        # then make the first write fail at once, whatever the busy timeout.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
