"""The operating system's lock on a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LockFile:
    """A lock that one process has: it ends with its process, however that ends.

    Args:
        path: Made where it is missing; it stays when the lock goes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process has it."""
        return self._fd is not None

    def take(self) -> bool:
        """Take it where it is free, and say whether it is ours.

        One that we hold on a file that was removed since is worth nothing: others would make a
        new file and lock that. So it is taken anew.
        """
        if self._fd is not None and self._is_in_place(self._fd):
            return True
        self.release()
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go of it. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def is_held_by_another(self) -> bool:
        """Whether another process has it."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return not self.is_held
        finally:
            os.close(fd)
        return False

    def _is_in_place(self, fd: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), self._path.stat())
        return False
