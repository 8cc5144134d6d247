"""Room that is kept back for a full disk: cancelling, pausing and ends of runs go on there."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1024 * 1024
"""Bytes kept back: some dozens of changes, each of a few pages."""


class Reserve:
    """A file of no use but its blocks.

    While it is there, the disk has room. It is given back for a change that must not wait, and
    made again as soon as there is room for it and as much again; until then other changes are
    refused, or they would take what is left for the essential ones.

    Args:
        path: In the ledger's folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_there(self) -> bool:
        """Whether the blocks are kept."""
        try:
            return self._path.stat().st_size >= SIZE
        except OSError:
            return False

    def make(self) -> bool:
        """Keep the blocks where there is room, and say whether they are kept. Idempotent."""
        if self.is_there:
            return True
        beside = self._path.with_name(f"{self._path.name}.part")
        try:
            if not self._has_room():
                return False
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _fill(fd)
            finally:
                os.close(fd)
            beside.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            return False
        return True

    def give_back(self) -> None:
        """Let the blocks go. Idempotent."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _has_room(self) -> bool:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize >= 2 * SIZE


def _fill(fd: int) -> None:
    try:
        os.posix_fallocate(fd, 0, SIZE)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
            raise
        written = os.pwrite(fd, bytes(SIZE), 0)  # not every file system can
        if written < SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
