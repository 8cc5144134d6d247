"""Logs go to stderr only, and never wait for a reader."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.log import LogSink, adopt_loggers, configure_logging, render_line

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_SECONDS = 10


class Pipe:
    """A pipe that is read only when asked."""

    def __init__(self) -> None:
        """Open both ends."""
        self.reader, self.writer = os.pipe()

    def read_through(self, sink: LogSink) -> list[str]:
        """Read beside a sink until all of it is written, and give the lines."""
        received: list[str] = []
        reader = threading.Thread(target=lambda: received.append(self._read()))
        reader.start()
        assert sink.drain(timeout_seconds=DEADLINE_SECONDS)
        os.close(self.writer)
        reader.join(DEADLINE_SECONDS)
        return received[0].splitlines()

    def read_all(self) -> str:
        """Close the writing end and give what went in."""
        os.close(self.writer)
        return self._read()

    def _read(self) -> str:
        with os.fdopen(self.reader, encoding="utf-8") as stream:
            return stream.read()


@pytest.fixture
def pipe() -> Pipe:
    """Give a pipe; `read_all` closes it."""
    return Pipe()


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    show = warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def events_of(pipe: Pipe, sink: LogSink) -> list[dict[str, Any]]:
    """Read the JSON lines that went through a sink."""
    assert sink.drain(timeout_seconds=DEADLINE_SECONDS)
    return [json.loads(line) for line in pipe.read_all().splitlines()]


@pytest.mark.usefixtures("untouched_logging")
def test_structlog_and_the_standard_library_come_out_alike(pipe: Pipe) -> None:
    """Each line is one JSON object with time, level and event where no person looks on."""
    sink = configure_logging("INFO", descriptor=pipe.writer)

    structlog.get_logger().info("run_finished", job_id="apscheduler:a", duration_ms=3)
    logging.getLogger("some.library").warning("it is %s", "late")

    ours, theirs = events_of(pipe, sink)
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "run_finished",
        "level": "info",
        "job_id": "apscheduler:a",
        "duration_ms": 3,
    }
    assert (theirs["event"], theirs["level"], theirs["logger"]) == (
        "it is late",
        "warning",
        "some.library",
    )


@pytest.mark.usefixtures("untouched_logging")
def test_lines_below_the_level_are_left_out(pipe: Pipe) -> None:
    """WARNING is the default; engines that talk at INFO are not heard."""
    sink = configure_logging(descriptor=pipe.writer)

    structlog.get_logger().info("adapter-ready")
    logging.getLogger("prefect").info("hello")
    structlog.get_logger().warning("queue_lost")

    assert [event["event"] for event in events_of(pipe, sink)] == ["queue_lost"]


@pytest.mark.usefixtures("untouched_logging")
def test_noisy_libraries_stay_at_warning(pipe: Pipe) -> None:
    """Who asks for DEBUG wants ours, not every HTTP request's."""
    logging.getLogger("fastmcp").addHandler(logging.StreamHandler())
    sink = configure_logging("debug", descriptor=pipe.writer)

    logging.getLogger("httpx").info("GET /")
    logging.getLogger("fastmcp").warning("heard once")
    structlog.get_logger().debug("job_armed")

    assert [event["event"] for event in events_of(pipe, sink)] == ["heard once", "job_armed"]


@pytest.mark.usefixtures("untouched_logging")
def test_loggers_that_a_library_took_are_taken_back(pipe: Pipe) -> None:
    """FastMCP gives its logger handlers while it loads; those would wait for a reader."""
    sink = configure_logging(descriptor=pipe.writer)
    theirs = logging.getLogger("fastmcp")
    other, otherwise = os.pipe()
    with os.fdopen(otherwise, "w") as stream:
        theirs.addHandler(logging.StreamHandler(stream))
        theirs.propagate = False

        adopt_loggers()
        logging.getLogger("fastmcp.server.server").warning("heard once")
    with os.fdopen(other) as unheard:
        assert unheard.read() == ""

    assert [event["event"] for event in events_of(pipe, sink)] == ["heard once"]


def test_what_is_printed_goes_through_the_sink(pipe: Pipe) -> None:
    """A task that prints to a client which never reads waits for nobody."""
    before = sys.stdout, sys.stderr
    sink = LogSink(pipe.writer)

    with sink.standing_in():
        print("to stdout")  # noqa: T201 - the very thing under test
        print("to stderr", file=sys.stderr)  # noqa: T201 - the very thing under test
        descriptor = sys.stderr.fileno()

    assert sink.drain(timeout_seconds=DEADLINE_SECONDS)
    assert descriptor == pipe.writer
    assert pipe.read_all().splitlines() == ["to stdout", "to stderr"]
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.usefixtures("untouched_logging")
def test_a_bound_context_is_in_every_line(pipe: Pipe) -> None:
    """Ids are bound once."""
    sink = configure_logging(descriptor=pipe.writer)

    with structlog.contextvars.bound_contextvars(run_id="r1"):
        structlog.get_logger().error("run_failed")

    assert [event["run_id"] for event in events_of(pipe, sink)] == ["r1"]


@pytest.mark.usefixtures("untouched_logging")
def test_a_traceback_stays_inside_its_line(pipe: Pipe) -> None:
    """One event is one line, whatever it carries."""
    sink = configure_logging(descriptor=pipe.writer)

    try:
        _ = 1 / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("loop_failed", note="two\nlines")

    (event,) = events_of(pipe, sink)
    assert "ZeroDivisionError" in event["exception"]
    assert event["note"] == "two\nlines"


def test_a_person_reads_one_line_per_event() -> None:
    """No value can add a line or colour the terminal."""
    line = render_line(
        None,
        "warning",
        {"timestamp": "T", "level": "warning", "event": "a\nb", "note": "\x1b[31mred\n"},
    )

    assert line == r"T warning  a\nb note='\x1b[31mred\n'"


def test_a_person_reads_the_traceback_below_its_line() -> None:
    """A traceback keeps its form."""
    line = render_line(None, "error", {"event": "loop_failed", "exception": "Trace\n  back"})

    assert line.endswith("loop_failed\nTrace\n  back")


@pytest.mark.parametrize(
    ("level", "environ", "expected"),
    [
        (None, {}, logging.WARNING),
        (None, {"MAHAVISHNU_LOG_LEVEL": "info"}, logging.INFO),
        ("error", {"MAHAVISHNU_LOG_LEVEL": "info"}, logging.ERROR),
    ],
)
@pytest.mark.usefixtures("untouched_logging")
def test_the_level_comes_from_the_call_then_the_environment(
    level: str | None, environ: dict[str, str], expected: int
) -> None:
    """MAHAVISHNU_LOG_LEVEL holds where no level is given."""
    configure_logging(level, environ=environ)

    assert logging.getLogger().level == expected


def test_an_unknown_level_is_refused() -> None:
    """A misspelt level is no silence."""
    with pytest.raises(SettingsError, match=r"'WARN' is not a log level\. Did you mean 'WARNING'"):
        configure_logging("WARN")


def test_lines_that_do_not_fit_are_counted_and_dropped(pipe: Pipe) -> None:
    """Memory stays bounded, and a notice tells how many lines are missing."""
    sink = LogSink(pipe.writer, capacity_bytes=200_000)
    line = "x" * 999 + "\n"

    for _ in range(1000):
        assert sink.write(line) == 1000
    dropped = sink.dropped

    lines = pipe.read_through(sink)
    notices = [json.loads(text) for text in lines if text.startswith("{")]
    assert dropped >= 700
    assert sum(notice["count"] for notice in notices) == dropped
    assert len(lines) - len(notices) == 1000 - dropped


def test_a_reader_that_left_is_no_error(pipe: Pipe) -> None:
    """A client that closed our stderr does not stop the server."""
    os.close(pipe.reader)
    sink = LogSink(pipe.writer)

    sink.write("nobody hears this\n")

    assert sink.drain(timeout_seconds=DEADLINE_SECONDS)
    os.close(pipe.writer)


def test_a_pipe_that_would_block_is_waited_for_by_the_thread_only(pipe: Pipe) -> None:
    """Some clients hand over a non-blocking stderr; nothing is lost on it."""
    os.set_blocking(pipe.writer, False)
    sink = LogSink(pipe.writer)
    for number in range(5000):
        sink.write(f"{number:099d}\n")

    lines = pipe.read_through(sink)

    assert [int(line) for line in lines] == list(range(5000))


def test_a_client_that_never_reads_stderr_stops_nothing() -> None:
    """A mebibyte and more is logged while nobody reads; work and exit go on, stdout is clean."""
    code = (
        "import structlog, os; from mahavishnu_sched_mcp.log import configure_logging;"
        "configure_logging('INFO');"
        "log = structlog.get_logger();"
        "[log.info('noise', text='x' * 1000) for _ in range(3000)];"
        "os.write(1, b'done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.read()
            code_of_exit = process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()

    assert (said, code_of_exit) == (b"done", 0)
