"""A small file beside the ledger that says that one was made here, and how far it got.

SQLite drops the end of a damaged write-ahead log without a word, takes a file of no length for a
new database, and has no check of what its rows hold. So the number of the newest acknowledged
commit is kept outside as well (a ledger that knows fewer has lost some), and while no process has
the ledger open, a seal: the length and the checksum of its file.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from typing import TYPE_CHECKING, NamedTuple

import structlog

from mahavishnu_sched_mcp.ledger.database import query, scalar

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

_COUNTER = "acknowledged commits"
"""A row of SQLite's own table of counters: there it needs no table of ours."""
_NO_SEAL = "-"
_SEAL_LENGTH = 24
_CHUNK = 1024 * 1024
_MOST_SEALED_BYTES = 64 * 1024 * 1024
"""Reading more would hold up the stop and the next start."""
_log = structlog.get_logger()


class Known(NamedTuple):
    """What the mark says.

    Attributes:
        commits: The newest acknowledged commit that is known; 0 where none is.
        seal: What the file was when the last process closed it; empty while one has it open.
    """

    commits: int = 0
    seal: str = ""


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

    def read(self) -> Known:
        """Say what is known; nothing where the file is missing or damaged itself."""
        try:
            text, check = self._path.read_text(encoding="ascii").split()
            if check != _check(text):
                return Known()
            found = json.loads(text)
            return Known(int(found["commits"]), found["seal"].strip(_NO_SEAL))
        except FileNotFoundError:
            return Known()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            _log.warning("ledger_mark_unreadable")
            return Known()

    def make(self, commits: int) -> None:
        """Write the file anew, without a seal, and sync it; of two at once the later one stays.

        Raises:
            OSError: there is no room.
        """
        self.close()
        # A name of its own: two servers may make the ledger in the same moment.
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, _line(commits))
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.replace(self._path)
        sync_folder(self._path.parent)

    def unseal(self, commits: int) -> None:
        """Take the seal off and sync that, before the first change to the ledger.

        Raises:
            OSError: it cannot be written.
        """
        self._overwrite(_line(commits))
        assert self._fd is not None  # noqa: S101 - it was just written to
        os.fsync(self._fd)

    def raise_to(self, commits: int) -> None:
        """Note a commit that is acknowledged next; survives a kill, and is never ahead."""
        # Not synced: a power loss may take it back, which only makes the check weaker. It
        # overwrites its own bytes, so a full disk is no matter.
        with contextlib.suppress(OSError):
            self._overwrite(_line(commits))

    def seal(self, ledger: Path) -> None:
        """Note length and checksum of a ledger that no process has open."""
        known, seal = self.read(), seal_of(ledger)
        if known.commits and seal:
            with contextlib.suppress(OSError):
                self._overwrite(_line(known.commits, seal=seal))
        self.close()

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _overwrite(self, line: bytes) -> None:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_WRONLY)
        os.pwrite(self._fd, line, 0)


def seal_of(ledger: Path) -> str:
    """Give length and checksum of a file; nothing of one that is very long or cannot be read.

    No connection of this process may have it open: closing a file drops all its locks.
    """
    check = 0
    try:
        size = ledger.stat().st_size
        if size > _MOST_SEALED_BYTES:
            return ""
        with ledger.open("rb") as file:
            while chunk := file.read(_CHUNK):
                check = zlib.crc32(chunk, check)
    except OSError:
        return ""
    return f"{size:x}.{check:08x}"


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


def _line(commits: int, *, seal: str = "") -> bytes:
    # Of one length always, as it overwrites itself.
    words = {"commits": f"{commits:020}", "seal": seal.ljust(_SEAL_LENGTH, _NO_SEAL)}
    text = json.dumps(words, separators=(",", ":"))
    return f"{text} {_check(text)}\n".encode("ascii")


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode('ascii')):08x}"
