"""A disk that fails: SQLite's own `pwrite64` answers with an error when a test says so."""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING, Self

import apsw

if TYPE_CHECKING:
    from types import TracebackType

_CALL = "pwrite64"
_PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int64,
    use_errno=True,
)


class FailingWrites:
    """Lets writes of SQLite in this process fail, from the n-th on, so many times.

    Args:
        at: The first write that fails, counted from 1.
        count: How many fail.
        number: The error, such as `errno.ENOSPC`.

    Attributes:
        seen: How many writes there were.
        failed: How many of them failed.
    """

    def __init__(self, *, at: int, count: int, number: int) -> None:
        self.seen = 0
        self.failed = 0
        self._span = range(at, at + count)
        self._number = number
        self._files = apsw.VFS("failing-writes", "unix")
        self._usual = self._files.xGetSystemCall(_CALL) or 0
        self._real = _PROTOTYPE(self._usual)
        self._ours = _PROTOTYPE(self._write)

    def __enter__(self) -> Self:
        """Step in the way."""
        # SQLite holds its own locks during a write: what the collector closes there would wait
        # for them for ever, in the same thread.
        gc.collect()
        gc.disable()
        address = ctypes.cast(self._ours, ctypes.c_void_p).value
        assert address is not None
        assert self._files.xSetSystemCall(_CALL, address)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the system answer again."""
        self._files.xSetSystemCall(_CALL, self._usual)
        self._files.unregister()
        gc.enable()

    def _write(self, fd: int, content: int, length: int, place: int) -> int:
        self.seen += 1
        if self.seen in self._span:
            self.failed += 1
            ctypes.set_errno(self._number)
            return -1
        return int(self._real(fd, content, length, place))
