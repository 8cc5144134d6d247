"""Server processes over HTTP, and requests made by hand."""

from __future__ import annotations

import ipaddress
import json
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from tests.e2e.servers import ERAS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EVERYBODY = "0.0.0.0"  # noqa: S104 - every address of this machine
START_SECONDS = 30.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Answer:
    """What a server said to one request.

    Attributes:
        headers: By lower-case name.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        """The JSON-RPC message in it, also where it came as a stream of one event."""
        text = self.body.decode()
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line[:6] == "data: "]
        found: dict[str, Any] = json.loads(lines[-1] if lines else text)
        return found


@dataclass(frozen=True)
class WebServer:
    """A server process that listens on a port of its own."""

    process: subprocess.Popen[bytes]
    place: Place
    address: str
    port: int

    @property
    def url(self) -> str:
        """Where its MCP endpoint is."""
        return f"http://{self.address}:{self.port}/mcp"

    @property
    def token(self) -> str:
        """What it made at its first start."""
        return (self.place.folder / "data" / "http.token").read_text(encoding="ascii").strip()

    def client(self, *, mode: str = "auto") -> Client[StreamableHttpTransport]:
        """Make a client of either era that knows the token."""
        return Client(StreamableHttpTransport(self.url, auth=self.token), timeout=60, mode=mode)

    def ask(
        self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Answer:
        """Send a request with exactly these headers, and Host where they have none.

        Args:
            headers: In their order; one may occur twice.
        """
        connection = HTTPConnection(self.address.strip("[]"), self.port, timeout=20)
        try:
            is_host_given = any(name.lower() == "host" for name, _ in headers)
            connection.putrequest(method, path, skip_host=is_host_given, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value.encode("latin-1"))
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def call(self, tool: str, **arguments: Any) -> Answer:
        """Call a tool in one request, as clients of 2026 do."""
        name, body = modern_call(tool, arguments)
        return self.ask("POST", "/mcp", [*self.credentials(), *name], body)

    def credentials(self) -> list[tuple[str, str]]:
        """Give the header that lets in."""
        return [("Authorization", f"Bearer {self.token}")]

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 30) -> int:
        """End it, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def modern_call(tool: str, arguments: Mapping[str, Any]) -> tuple[list[tuple[str, str]], bytes]:
    """Write a call of 2026-07-28: its headers and its body."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": ERAS["modern"],
        "io.modelcontextprotocol/clientInfo": {"name": "probe", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": dict(arguments), "_meta": meta},
    }
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", ERAS["modern"]),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", tool),
    ]
    return headers, json.dumps(message).encode()


@contextmanager
def web_serving(
    place: Place, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[WebServer]:
    """Start a server on a free port, and kill it at the end if it still lives.

    Args:
        words: Options after `serve --transport http --port 0`.
        environment: Variables beside the place's own.
    """
    process = start(place, "--port", "0", *words, environment=environment)
    try:
        address, port = await_listening(place, process)
        yield WebServer(process, place, address, port)
    finally:
        process.kill()
        process.wait()


def start(
    place: Place, *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server that may or may not come up; its stderr is the place's log."""
    with place.log.open("ab") as log:
        return subprocess.Popen(
            place.command("serve", "--transport", "http", *words),
            env=place.environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def await_listening(place: Place, process: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Wait until it serves, and give where."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, place.log.read_text(encoding="utf-8")
        for entry in logged(place, "http_listening"):
            address = "127.0.0.1" if entry["address"] == EVERYBODY else entry["address"]
            if entry["pid"] == process.pid and _is_answering(address, entry["port"]):
                return address, entry["port"]
        time.sleep(_LOOK_SECONDS)
    raise AssertionError(place.log.read_text(encoding="utf-8"))


def logged(place: Place, event: str) -> list[dict[str, Any]]:
    """Give the log lines of one event."""
    lines = place.log.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry.get("event") == event]


def listening_sockets(pid: int) -> set[tuple[str, int]]:
    """Give the addresses a process listens on, from the kernel's own tables."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            held.add(str(descriptor.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        rows = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()
        for row in rows[1:]:
            _, local, _, state, *_, inode = row.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in held:
                address, port = local.split(":")
                found.add((_readable(address), int(port, 16)))
    return found


def _readable(text: str) -> str:
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
    return str(ipaddress.ip_address(packed))


def _is_answering(address: str, port: int) -> bool:
    connection = HTTPConnection(address, port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
