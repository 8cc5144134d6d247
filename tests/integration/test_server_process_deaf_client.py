"""A server whose client never reads its stderr, or sends what cannot be read."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import ERAS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

REFUSALS = 1000
"""Some 193 of them filled a pipe that nobody read."""

PATIENCE_SECONDS = 40


class DeafClient:
    """Speaks to a server process, and never looks at its stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, line: str) -> None:
        """Write one line as it stands."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, identifier: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and give the next line, which has to be its answer."""
        request = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}
        self.send(json.dumps(request))
        answer = self.receive()
        assert answer["id"] == identifier
        return answer

    def receive(self) -> dict[str, Any]:
        """Read one line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server gave no answer"
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> int:
        """End the server's input, as an editor does, and give its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=5)


@contextmanager
def deaf_client(place: Place, *, level: str) -> Iterator[DeafClient]:
    """Start a server with an unread pipe for stderr; whatever happens it ends."""
    process = subprocess.Popen(
        place.command(),
        env=place.environment() | {"MAHAVISHNU_LOG_LEVEL": level},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(PATIENCE_SECONDS, process.kill)
    guard.start()
    try:
        client = DeafClient(process)
        hello = {"name": "deaf", "version": "1"}
        client.ask(
            1,
            "initialize",
            {"protocolVersion": ERAS["legacy"], "capabilities": {}, "clientInfo": hello},
        )
        client.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        yield client
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize("level", ["WARNING", "DEBUG"])
def test_a_client_that_never_reads_stderr_is_always_answered(level: str, tmp_path: Path) -> None:
    """However much is logged, no call waits for a reader of the log, nor does the end."""
    wrong = {"name": "preview_schedule", "arguments": {"trigger": {"type": "intervall"}}}

    with deaf_client(Place.of(tmp_path), level=level) as client:
        for number in range(100, 100 + REFUSALS):
            answer = client.ask(number, "tools/call", wrong)
            assert answer["result"]["isError"]
        code = client.close()

    assert code == 0


def test_a_task_that_prints_waits_for_no_reader(tmp_path: Path) -> None:
    """More than a pipe holds is printed while nobody reads: the run succeeds."""
    place = Place.of(tmp_path)
    with (place.folder / "shouting.py").open("a", encoding="utf-8") as module:
        module.write(
            "\n\n@task(idempotent=True)\nasync def rant() -> str:\n"
            '    """Print a lot."""\n'
            "    for _ in range(300):\n        print('x' * 1000)\n"
            "    return 'done'\n"
        )
    job = {"task": "rant", "id": "rant", "trigger": {"type": "date", "in_seconds": 3600}}

    with deaf_client(place, level="WARNING") as client:
        client.ask(2, "tools/call", {"name": "schedule_internal_task", "arguments": job})
        wait = {"job_id": "apscheduler:rant", "wait_seconds": 20}
        answer = client.ask(3, "tools/call", {"name": "run_job_now", "arguments": wait})
        code = client.close()

    assert answer["result"]["structuredContent"]["state"] == "succeeded"
    assert code == 0


def test_every_unreadable_request_is_answered_and_the_server_goes_on(tmp_path: Path) -> None:
    """Half a character, endless nesting, no number, no end: each gets an error with its id."""
    values = ['"\\ud83d"', "[" * 5000 + "]" * 5000, "NaN", f'"{"x" * 10_000_000}"']

    with deaf_client(Place.of(tmp_path), level="WARNING") as client:
        answers = []
        for number, value in enumerate(values, start=10):
            params = f'{{"name":"get_job","arguments":{{"job_id":{value}}}}}'
            client.send(
                f'{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{params}}}'
            )
            answers.append(client.receive())
        alive = client.ask(99, "tools/call", {"name": "get_status", "arguments": {}})
        code = client.close()

    assert [(one["id"], one["error"]["code"]) for one in answers] == [
        (10, -32602),
        (11, -32602),
        (12, -32700),
        (13, -32600),
    ]
    assert not alive["result"]["isError"]
    assert code == 0
