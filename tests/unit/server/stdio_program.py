"""A server over stdio that does everything to spoil its stdout; run by test_transport.py."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.errors import BackendUnavailableError
from mahavishnu_sched_mcp.server.factory import create_server
from mahavishnu_sched_mcp.server.transport import serve_stdio
from mahavishnu_sched_mcp.server.wire import claim_wire
from tests.unit.server.recording import RecordingScheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler


def spoil_stdout() -> None:
    """Write to stdout in each way a task or a library could."""
    print("spoiled by print")  # noqa: T201 - the very thing under test
    os.write(1, b"spoiled by descriptor\n")
    subprocess.run(["/bin/sh", "-c", "cat; echo spoiled by child"], check=True)
    if sys.__stdout__ is not None:
        sys.__stdout__.write("spoiled by the original stream\n")
        sys.__stdout__.flush()


def import_for_ever() -> None:
    """Hold the interpreter busy in a daemon thread, as a heavy import does."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        compile("x = 1\n" * 2000, "busy", "exec")


class Program:
    """The scheduler's start and stop, told on stderr."""

    def __init__(self, mode: str) -> None:
        self._mode = mode

    @asynccontextmanager
    async def start(self) -> AsyncIterator[MahavishnuScheduler]:
        """Start, or fail to."""
        if self._mode == "unstartable":
            message = "The ledger is on the moon."
            raise BackendUnavailableError(message, hint="Bring it back.")
        scheduler = RecordingScheduler()

        async def status(**_: Any) -> Any:
            spoil_stdout()
            return RecordingScheduler().answers["status"]

        scheduler.answers["status"] = status
        if self._mode == "importing":
            threading.Thread(target=import_for_ever, daemon=True).start()
        async with scheduler.start() as started:
            yield started
        self._tell("start exited")

    async def stop(self) -> None:
        """Stop, or hang."""
        self._tell("stop called")
        if self._mode == "hanging":
            await asyncio.Event().wait()
        if self._mode == "blocking":
            threading.Event().wait()
        self._tell("stop returned")

    def _tell(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def main() -> None:
    """Serve until the client or a signal ends it."""
    program = Program(sys.argv[1])
    wire = claim_wire()
    spoil_stdout()
    try:
        serve_stdio(create_server(program.start), stop=program.stop, wire=wire)
    except BackendUnavailableError as error:
        sys.stderr.write(f"refused: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
