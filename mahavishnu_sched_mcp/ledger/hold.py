"""Who has the ledger open: every process that has, shares a lock; `restore` wants it alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import InternalError, InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = "ledger.lock"
_WAIT_SECONDS = 2.0
_LOOK_SECONDS = 0.05
_MOST_BYTES = 65_536


class Hold:
    """This process's share of the lock, from `take` to `release` or its end.

    Args:
        folder: The data dir.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._fd: int | None = None

    def take(self) -> None:
        """Share the lock with all others, and leave word who we are. Idempotent.

        Raises:
            InternalError: a `restore` is going on and does not end.
        """
        if self._fd is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        end = time.monotonic() + _WAIT_SECONDS
        while not _locked(fd, fcntl.LOCK_SH):
            if time.monotonic() > end:
                os.close(fd)
                msg = "The ledger is being restored."
                raise InternalError(msg, hint="Start again when `restore` has ended.")
            time.sleep(_LOOK_SECONDS)
        self._fd = fd
        self._sign(fd)

    def release(self) -> None:
        """Give the share back. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _sign(self, fd: int) -> None:
        """Add a line; the names of those who are gone go when they fill a page."""
        with contextlib.suppress(OSError):  # a full disk: only the name in a refusal is missing
            if os.fstat(fd).st_size > _MOST_BYTES:
                os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()} {socket.gethostname()}\n".encode())


@contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Have the ledger to ourselves: no process of ours has it open, and none opens it.

    Raises:
        InvalidStateError: others have it open; names their processes.
    """
    fd = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if not _locked(fd, fcntl.LOCK_EX):
            msg = f"The ledger is in use by {_holders(fd)}."
            hint = "End them (close the editors, or end the processes), then restore again."
            raise InvalidStateError(msg, hint=hint)
        yield
    finally:
        os.close(fd)


def _locked(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(fd: int) -> str:
    """Name those who left their word and are alive; a number may have been given again."""
    words = os.pread(fd, 2 * _MOST_BYTES, 0).decode(errors="replace").splitlines()
    signed = [line.split(" ", 1) for line in dict.fromkeys(words) if " " in line]
    alive = [
        f"process {pid} on {host}"
        for pid, host in signed
        if host != socket.gethostname() or _is_alive(pid)
    ]
    return ", ".join(alive) or "another process"


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def identity_of(path: Path) -> tuple[int, int] | None:
    """Tell the file at a path from another one put in its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
