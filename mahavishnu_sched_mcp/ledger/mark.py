"""A small file beside the ledger that says that one was made here, and how far it got.

SQLite drops the end of a damaged write-ahead log without a word, and takes a file of no length
for a new database. So the number of the newest acknowledged commit is kept outside as well: a
ledger that knows fewer commits than that has lost some.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.ledger.database import query, scalar

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

_COUNTER = "acknowledged commits"
"""A row of SQLite's own table of counters: there it needs no table of ours."""
_log = structlog.get_logger()


class Mark:
    """The file; made after the first migration is on the disk, and never taken away.

    Args:
        path: Beside the ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def is_there(self) -> bool:
        """Whether a ledger was made here."""
        return self._path.exists()

    def read(self) -> int:
        """Give the newest acknowledged commit that is known; 0 where none is."""
        try:
            text, check = self._path.read_text(encoding="ascii").split()
            number = int(json.loads(text)["commits"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError):
            _log.warning("ledger_mark_unreadable")
            return 0
        return number if check == _check(text) else 0

    def make(self, commits: int) -> None:
        """Write the file anew and sync it.

        Raises:
            OSError: there is no room.
        """
        self.close()
        beside = self._path.with_name(f"{self._path.name}.part")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, _line(commits))
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.replace(self._path)
        sync_folder(self._path.parent)

    def raise_to(self, commits: int) -> None:
        """Note a commit that is acknowledged next; survives a kill, and is never ahead."""
        # Not synced: a power loss may take it back, which only makes the check weaker. It
        # overwrites its own bytes, so a full disk is no matter.
        with contextlib.suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY)
            os.pwrite(self._fd, _line(commits), 0)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def count_commit(connection: apsw.Connection) -> int:
    """Count the transaction that is open as acknowledged, and give its number."""
    counted = query(
        connection,
        "update sqlite_sequence set seq = seq + 1 where name = ? returning seq",
        (_COUNTER,),
    )
    if counted:
        return int(counted[0]["seq"])
    connection.execute("insert into sqlite_sequence (name, seq) values (?, 1)", (_COUNTER,))
    return 1


def commits_of(connection: apsw.Connection) -> int:
    """Give how many acknowledged commits a ledger knows of."""
    found = scalar(connection, "select max(seq) from sqlite_sequence where name = ?", (_COUNTER,))
    return int(found or 0)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a new name in it outlives a power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _line(commits: int) -> bytes:
    text = json.dumps({"commits": f"{commits:020}"}, separators=(",", ":"))
    return f"{text} {_check(text)}\n".encode("ascii")


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode('ascii')):08x}"
