"""Serving over stdio: a clean wire, and a clean end whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "tests.unit.server.stdio_program"]
END_SECONDS = 1.5
"""What a client may count on after it closed its end (the SDK's own kills after 2 s)."""

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "probe", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
STATUS = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "get_status", "arguments": {}},
}


class Peer:
    """A client over pipes that keeps every line the server wrote."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def send(self, *messages: dict[str, Any]) -> None:
        """Write messages, one line each."""
        assert self.process.stdin is not None
        for message in messages:
            self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def receive(self, identifier: int) -> dict[str, Any]:
        """Read until the answer with this id; every line has to be JSON."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == identifier:
                return message
        pytest.fail(f"the server closed its output before answer {identifier}")

    def close_input(self) -> None:
        """Do what a client does when it has had enough."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> tuple[int, float, str]:
        """Wait for the end: exit code, seconds it took, what stderr got."""
        started = time.monotonic()
        code = self.process.wait(timeout=10)
        seconds = time.monotonic() - started
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.lines.extend(self.process.stdout)
        return code, seconds, self.process.stderr.read()


@contextmanager
def serving(mode: str) -> Iterator[Peer]:
    """Start the program, shake hands, and end it whatever happens."""
    process = subprocess.Popen(
        [*PROGRAM, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FASTMCP_CHECK_FOR_UPDATES": "off"},
    )
    guard = threading.Timer(25, process.kill)
    guard.start()
    try:
        peer = Peer(process)
        peer.send(INITIALIZE)
        peer.receive(1)
        peer.send(INITIALIZED, STATUS)
        peer.receive(2)
        yield peer
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_stdout_carries_only_the_protocol() -> None:
    """Whatever prints, writes to descriptor 1 or is a child lands on stderr."""
    with serving("plain") as peer:
        peer.close_input()
        code, seconds, errors = peer.wait()

        assert code == 0
        assert seconds < END_SECONDS
        assert [json.loads(line)["id"] for line in peer.lines] == [1, 2]
        assert errors.count("spoiled by print") == 2
        assert errors.count("spoiled by descriptor") == 2
        assert errors.count("spoiled by child") == 2
        assert errors.count("spoiled by the original stream") == 2
        assert errors.index("stop called") < errors.index("start exited")


def test_end_of_input_ends_a_process_that_imports_in_the_background() -> None:
    """No daemon thread holds the process back."""
    with serving("importing") as peer:
        peer.close_input()
        code, seconds, errors = peer.wait()

        assert code == 0
        assert seconds < END_SECONDS
        assert "stop returned" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(number: signal.Signals) -> None:
    """SIGTERM and SIGINT await the stop and exit with 0, while the input is still open."""
    with serving("plain") as peer:
        peer.process.send_signal(number)
        code, seconds, errors = peer.wait()

        assert code == 0
        assert seconds < END_SECONDS
        assert "stop returned" in errors


def test_a_stop_that_hangs_is_given_up() -> None:
    """The end is bounded: a client waits two seconds, not longer."""
    with serving("hanging") as peer:
        peer.process.send_signal(signal.SIGTERM)
        code, seconds, errors = peer.wait()

        assert code == 0
        assert seconds < END_SECONDS + 0.3
        assert "stop_timed_out" in errors


def test_a_second_signal_ends_the_process_at_once() -> None:
    """Whoever asks twice does not want to wait."""
    with serving("blocking") as peer:
        peer.process.send_signal(signal.SIGTERM)
        assert peer.process.stderr is not None
        for line in peer.process.stderr:
            if "stop called" in line:
                break
        peer.process.send_signal(signal.SIGTERM)
        code, seconds, _ = peer.wait()

        assert code == 128 + signal.SIGTERM
        assert seconds < 1.0


def test_a_failed_start_is_the_callers_to_tell() -> None:
    """The error of the start comes out of serve_stdio; nothing was written to the wire."""
    finished = subprocess.run(
        [*PROGRAM, "unstartable"], input="", capture_output=True, text=True, timeout=25, check=False
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "refused: The ledger is on the moon. Bring it back." in finished.stderr


def test_requests_piped_in_are_answered_before_the_end() -> None:
    """A client that writes and closes its end at once still gets its answers."""
    requests = "".join(json.dumps(line) + "\n" for line in (INITIALIZE, INITIALIZED, STATUS))

    finished = subprocess.run(
        [*PROGRAM, "plain"], input=requests, capture_output=True, text=True, timeout=25, check=False
    )

    assert finished.returncode == 0
    assert [json.loads(line)["id"] for line in finished.stdout.splitlines()] == [1, 2]
