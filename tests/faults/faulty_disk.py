"""A disk that fails, or under which the process dies, at one chosen operation on the ledger.

It stands between SQLite and the system's files as SQLite's own interface foresees (a VFS shim),
so the product runs as it is and knows nothing of it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Buffer
from enum import StrEnum
from pathlib import PurePath

import apsw

_SYSTEM = "unix"


class Fault(StrEnum):
    """What happens at the chosen operation.

    KILL dies before it, TORN dies in the midst of a write, EIO lets it fail once.
    """

    NONE = "none"
    KILL = "kill"
    TORN = "torn"
    EIO = "eio"


class FaultyDisk(apsw.VFS):
    """Counts writes, syncs, truncations and deletions of the ledger's files.

    Attributes:
        operations: How many there were; the fault comes at number `at`, counted from 1.
    """

    def __init__(self, fault: Fault, *, at: int) -> None:
        self.fault = fault
        self.operations = 0
        self._at = at
        self._lock = threading.Lock()
        super().__init__("faulty", _SYSTEM, makedefault=True)

    @property
    def has_struck(self) -> bool:
        """Whether the fault has come."""
        return self.fault is not Fault.NONE and self.operations >= self._at

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file; only the ledger's are watched."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not PurePath(path).name.startswith("ledger.db"):
            return apsw.VFSFile(_SYSTEM, name, flags)
        return FaultyFile(self, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Delete a file."""
        if PurePath(name).name.startswith("ledger.db"):
            self.pass_or_strike()
        super().xDelete(name, syncdir)

    def pass_or_strike(self) -> bool:
        """Count an operation, and do to it what is to be done.

        Returns:
            Whether a write is to be torn.

        Raises:
            apsw.IOError: the disk fails.
        """
        with self._lock:
            self.operations += 1
            is_chosen = self.operations == self._at
        if is_chosen and self.fault is Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if is_chosen and self.fault is Fault.EIO:
            raise apsw.IOError
        return is_chosen and self.fault is Fault.TORN


class FaultyFile(apsw.VFSFile):
    """One of the ledger's files."""

    def __init__(
        self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        super().__init__(_SYSTEM, name, flags)

    def xWrite(self, data: Buffer, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write; a torn write leaves its first half."""
        if self._disk.pass_or_strike():
            half = memoryview(data)
            super().xWrite(half[: len(half) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync; there is no half of it, so a torn one did not happen."""
        if self._disk.pass_or_strike():
            os.kill(os.getpid(), signal.SIGKILL)
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """Truncate."""
        if self._disk.pass_or_strike():
            os.kill(os.getpid(), signal.SIGKILL)
        super().xTruncate(newsize)
