"""The protocol's own pair of streams, out of reach of everything else in the process."""

from __future__ import annotations

import fcntl
import os
import sys
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from typing import TextIO

_STANDARD_INPUT, _STANDARD_OUTPUT, _STANDARD_ERROR = 0, 1, 2
_FIRST_PRIVATE = 3


@dataclass(frozen=True, slots=True)
class Wire:
    """Where JSON-RPC lines come from and go to, and nothing else."""

    input: anyio.AsyncFile[str]
    output: anyio.AsyncFile[str]


def claim_wire() -> Wire:
    """Take stdin and stdout for the protocol alone; call it before anything else prints.

    From here on descriptor 0 is empty and descriptor 1 is stderr, also for libraries that
    write to the descriptor and for child processes; the wire itself is close-on-exec.
    """
    sys.stdout.flush()
    private_input = _duplicate(_STANDARD_INPUT)
    private_output = _duplicate(_STANDARD_OUTPUT)
    _divert(_STANDARD_INPUT, to=os.open(os.devnull, os.O_RDONLY))
    _divert(_STANDARD_OUTPUT, to=_error_descriptor())
    sys.stdout = sys.stderr
    return Wire(
        input=anyio.wrap_file(_reader(private_input)),
        output=anyio.wrap_file(_writer(private_output)),
    )


def _duplicate(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE)


def _divert(descriptor: int, *, to: int) -> None:
    os.dup2(to, descriptor)
    if to != descriptor:
        os.close(to)


def _error_descriptor() -> int:
    """Duplicate stderr, or the null device where a client started us without one."""
    try:
        return os.dup(_STANDARD_ERROR)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _reader(descriptor: int) -> TextIO:
    return TextIOWrapper(os.fdopen(descriptor, "rb"), encoding="utf-8", errors="replace")


def _writer(descriptor: int) -> TextIO:
    return TextIOWrapper(os.fdopen(descriptor, "wb"), encoding="utf-8", newline="\n")
