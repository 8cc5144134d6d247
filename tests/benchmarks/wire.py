"""A server process, spoken to in raw JSON-RPC lines: no client library is in the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where measured processes start: modules of the checkout are found from there."""

BARE_SERVER = (sys.executable, str(Path(__file__).with_name("bare.py")))
"""What our server is measured beside."""

_LONGEST_SECONDS = 150.0
_STOP_SECONDS = 10.0
_LOG_TAIL = 2000
_MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Era(Enum):
    """How a client greets a server."""

    LEGACY = "2025-11-25"
    MODERN = "2026-07-28"


class MeasuredServer:
    """One server over stdio, for one client that waits for each answer.

    Attributes:
        born: When the process was started, as `time.perf_counter` has it.
    """

    def __init__(self, command: Sequence[str], *, era: Era = Era.LEGACY) -> None:
        """Start the process; it is ended by `close`.

        Args:
            era: The protocol that `greet` and all requests speak.
        """
        self._era = era
        self._number = 0
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.born = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=CHECKOUT,
            env=environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        # A server that never answers would hold the reader for ever.
        self._watch = threading.Timer(_LONGEST_SECONDS, self._process.kill)
        self._watch.daemon = True
        self._watch.start()

    def __enter__(self) -> Self:
        """Give the server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def greet(self) -> None:
        """Shake hands as the era has it, and return when the server has answered."""
        if self._era is Era.MODERN:
            self.request("server/discover", {})
            return
        hello = {
            "protocolVersion": self._era.value,
            "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        }
        self.request("initialize", hello)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and give its result.

        Raises:
            RuntimeError: the server refused it or is gone.
        """
        self._number += 1
        sent = dict(params)
        if self._era is Era.MODERN:
            sent["_meta"] = _MODERN_META
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": sent})
        while True:
            line = self._output.readline()
            if not line:
                self._fail(f"The server ended before it answered {method}.")
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == self._number:
                break
        if "error" in message:
            self._fail(f"{method} was refused: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Call a tool and give its structured content.

        Raises:
            RuntimeError: the tool refused.
        """
        result = self.request("tools/call", {"name": tool, "arguments": dict(arguments)})
        if result.get("isError"):
            self._fail(f"{tool} refused: {result['content']}")
        return result.get("structuredContent")

    def kill(self) -> None:
        """End the process at once, for a server that has nothing to lose."""
        self._process.kill()

    def close(self) -> None:
        """Close the server's input, wait for its end, and end it where it stays."""
        self._watch.cancel()
        self._input.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._log.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        self._input.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        self._input.flush()

    def _fail(self, what: str) -> None:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")[-_LOG_TAIL:]
        msg = f"{what} Its log ends with:\n{said}"
        raise RuntimeError(msg)


def our_server(data_dir: Path, *, config: Path | None = None) -> list[str]:
    """Give the command that starts our server as a client's configuration would."""
    command = [sys.executable, "-m", "mahavishnu_sched_mcp", "--data-dir", str(data_dir)]
    return command if config is None else [*command, "--config", str(config)]


def environment() -> dict[str, str]:
    """Give the environment of every measured process: the same small one for all.

    Nothing of the caller's passes: a set PYTHONDONTWRITEBYTECODE would double every start.
    """
    passed = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in passed if name in os.environ}
