"""Logs go to stderr only, and never wait for a reader.

A client that starts us over stdio may never read our stderr. A pipe holds some 64 KiB; the
write after that would stop the event loop for ever. So lines go through a bounded store that
a daemon thread empties, and what does not fit is counted and dropped.
"""

from __future__ import annotations

import atexit
import collections
import io
import logging
import os
import select
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

import structlog

from mahavishnu_sched_mcp.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import Any

    from structlog.typing import Processor

LEVEL_VARIABLE = "MAHAVISHNU_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
STDERR = 2
_CAPACITY_BYTES = 1_048_576
_LAST_WORDS_SECONDS = 0.5
_NOISY = (
    "aiosqlite", "alembic", "apscheduler", "asyncio", "fastmcp", "httpcore", "httpx", "mcp",
    "oneiric", "prefect", "uvicorn",
)  # fmt: skip


class LogSink(io.TextIOBase):
    """A text stream whose `write` returns at once, whoever reads at the other end or not.

    Args:
        descriptor: The open file to write to; it is not closed.
        capacity_bytes: How much may wait; what comes on top is dropped and counted.
    """

    def __init__(self, descriptor: int, *, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        """Store the limits; the thread starts with the first line."""
        super().__init__()
        self._descriptor = descriptor
        self._capacity = capacity_bytes
        self._waiting: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._dropped = 0
        self._announced = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._dropped

    def writable(self) -> bool:
        """Say that this stream takes text."""
        return True

    def fileno(self) -> int:
        """Give the open file, for a child process to write to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person looks at the other end."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Keep text for the thread that writes, or drop it where there is no room."""
        data = text.encode("utf-8", errors="backslashreplace")
        with self._changed:
            if self._size + len(data) > self._capacity:
                self._dropped += 1
                return len(text)
            self._waiting.append(data)
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._pump, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing: waiting for the reader is what this stream avoids."""

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Take what is printed, too: stdout and stderr of Python are this stream meanwhile."""
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = cast("TextIO", self)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before

    def drain(self, *, timeout_seconds: float) -> bool:
        """Wait until all is written, at most this long; say whether it is."""
        with self._changed:
            return self._changed.wait_for(self._is_empty, timeout=timeout_seconds)

    def _is_empty(self) -> bool:
        return self._size == 0 and self._announced == self._dropped

    def _pump(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: bool(self._waiting or self._dropped > self._announced)
                )
                data = b"".join(self._waiting)
                self._waiting.clear()
                missing = self._dropped - self._announced
                self._announced = self._dropped
            if missing:
                data += f'{{"event": "log_lines_dropped", "count": {missing}}}\n'.encode()
            self._write_out(data)
            with self._changed:
                self._size = sum(map(len, self._waiting))
                self._changed.notify_all()

    def _write_out(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # the client made our stderr non-blocking
                select.select([], [self._descriptor], [], 1.0)
            except OSError:  # nobody is there any more
                return


def configure_logging(
    level: str | None = None, *, environ: Mapping[str, str] | None = None, descriptor: int = STDERR
) -> LogSink:
    """Send the logs of structlog and of the standard library to stderr, filtered by level.

    Call it before any engine is built: unconfigured, structlog prints to stdout, and the
    loggers that a library has bound by then stay as they were. A second call replaces the
    first.

    Args:
        level: DEBUG, INFO, WARNING (default), ERROR or CRITICAL, in any case.
        environ: Where MAHAVISHNU_LOG_LEVEL is looked for when no level is given.
        descriptor: The open file to write to.

    Returns:
        The stream that the lines go through.

    Raises:
        SettingsError: no level has this name.
    """
    number = _level_number(level or (environ or {}).get(LEVEL_VARIABLE) or "WARNING")
    sink = LogSink(descriptor)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = render_line if sink.isatty() else structlog.processors.JSONRenderer(default=repr)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", sink)),
        cache_logger_on_first_use=False,
    )
    _configure_standard_library(number, sink=sink, shared=shared, renderer=renderer)
    atexit.register(sink.drain, timeout_seconds=_LAST_WORDS_SECONDS)
    return sink


def adopt_loggers() -> None:
    """Send what libraries log through our own handler only.

    Call it once more when all libraries are imported: some give their loggers handlers of
    their own while they load, which wait for a reader.
    """
    number = logging.getLogger().level
    for name in _NOISY:
        noisy = logging.getLogger(name)
        noisy.handlers.clear()
        noisy.propagate = True
        noisy.setLevel(max(number, logging.WARNING))


def render_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """Write an event for people: time, level, event, then `key=value`, traceback below.

    Values are quoted with their control characters escaped, so that no value can add a line or
    colour the terminal.
    """
    at, level = event.pop("timestamp", ""), event.pop("level", "")
    name, trace = event.pop("event", ""), event.pop("exception", None)
    words = [f"{key}={value!r}" for key, value in event.items()]
    line = " ".join([str(at), f"{level:<8}", str(name).encode("unicode_escape").decode(), *words])
    return line if trace is None else f"{line}\n{trace}"


def _configure_standard_library(
    number: int, *, sink: LogSink, shared: list[Processor], renderer: Processor
) -> None:
    handler = logging.StreamHandler(cast("TextIO", sink))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    adopt_loggers()


def _level_number(name: str) -> int:
    if name.upper() not in LEVELS:
        mend = nearest(name.upper(), LEVELS) or f"Choose one of {', '.join(LEVELS)}."
        message = f"'{name}' is not a log level."
        raise SettingsError(message, hint=f"{mend} ({LEVEL_VARIABLE})")
    return logging.getLevelNamesMapping()[name.upper()]
