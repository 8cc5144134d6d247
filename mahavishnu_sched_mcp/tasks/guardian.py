"""The server's side of the guardian: start programs that do not outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

import mahavishnu_sched_mcp
from mahavishnu_sched_mcp.tasks.permission import PermissionLostError, is_permitted
from mahavishnu_sched_mcp.tasks.supervisor import ASK, KILL

_log = structlog.get_logger()

_PROGRAM = """
import sys
sys.path.append({root!r})
from mahavishnu_sched_mcp.tasks.supervisor import main
main()
"""
_CLOSE_SECONDS = 3.0

RUN_MARK = "mahavishnu-run:"
"""Begins the name of the mark by which a supervisor is found (see `leftovers`)."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start.

    Attributes:
        run_id: The run it works for; its supervisor is known by it.
        executable: The file to execute.
        argv: What it is told; the first is its own name.
        environment: All of it.
        folder: Where it starts.
    """

    run_id: str
    executable: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str


class ProgramStartError(Exception):
    """A program could not be started; the message says why, without paths."""


class Supervised(asyncio.Protocol):
    """A program under its supervisor.

    Attributes:
        group: The process group the program leads; None before it started.
        code: Its exit status, minus the signal's number where one killed it; None before the
            end, and for ever where the supervisor was killed.
    """

    def __init__(self) -> None:
        """Wait for the supervisor's first word."""
        self.group: int | None = None
        self.code: int | None = None
        self._error: str | None = None
        self._read = b""
        self._transport: asyncio.WriteTransport | None = None
        self._answered = asyncio.Event()
        self._ended = asyncio.Event()
        self._gone = asyncio.Event()

    async def wait_started(self) -> None:
        """Wait until the program runs.

        Raises:
            ProgramStartError: it does not.
        """
        await self._answered.wait()
        if self.group is None:
            msg = self._error or "no process could be made for it"
            raise ProgramStartError(msg)

    async def wait_ended(self) -> None:
        """Wait until the program itself ended; what it left behind may still be there."""
        await self._ended.wait()

    async def wait_gone(self, *, timeout_seconds: float) -> bool:
        """Wait until none of its processes is left, and say whether it was so in time.

        Args:
            timeout_seconds: How long at most.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._gone.wait()
        return self._gone.is_set()

    @property
    def is_lost(self) -> bool:
        """Whether the supervisor went before its program: somebody killed it."""
        return self._gone.is_set() and self.group is not None and self.code is None

    def ask(self) -> None:
        """Send SIGTERM to all its processes."""
        self._say(ASK)

    def kill(self) -> None:
        """Kill all its processes, those to come too."""
        self._say(KILL)

    def let_go(self) -> None:
        """Hear of it no more; what still runs of it is killed."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the supervisor."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a socket's always is
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read what the supervisor says."""
        *lines, self._read = (self._read + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "code" in said:
                self.code = said["code"]
                self._ended.set()
            else:
                self.group, self._error = said.get("group"), said.get("error")
                self._answered.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """All of it is gone, or its supervisor is."""
        for event in (self._answered, self._ended, self._gone):
            event.set()

    def _say(self, word: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(word)


class Guardian:
    """Starts programs through a small child process, so that none survives the server.

    Every program gets a supervisor of its own, forked by that child (see `supervisor`). The child
    is started with the first program, and anew with the next one if someone ended it.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._supervised: set[Supervised] = set()

    async def order(
        self, program: Program, *, output: int, extras: Sequence[int] = ()
    ) -> Supervised:
        """Order a program; `wait_started` says what became of it.

        Args:
            program: What to start.
            output: Descriptor of its standard output and error.
            extras: Descriptors it gets as 3, 4, ...

        Raises:
            OSError: there is no guardian, or no way to it.
            PermissionLostError: another server leads by now.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await self._send([theirs.fileno(), output, *extras])
            ours.settimeout(0)
            loop = asyncio.get_running_loop()
            transport, supervised = await loop.create_connection(Supervised, sock=ours)
        except BaseException:
            ours.close()
            raise
        order = {
            "argv": program.argv,
            "executable": program.executable,
            "env": program.environment,
            "cwd": program.folder,
            "mark": f"{RUN_MARK}{program.run_id}",
        }
        if not await is_permitted():
            transport.abort()
            raise PermissionLostError
        transport.write(json.dumps(order).encode() + b"\n")
        self._supervised.add(supervised)
        return supervised

    def release(self, supervised: Supervised) -> None:
        """Let go of an execution that is over.

        Args:
            supervised: As `order` gave it.
        """
        supervised.let_go()
        self._supervised.discard(supervised)

    async def close(self) -> None:
        """Kill what is still running, and end the child. Idempotent."""
        async with self._starting:
            process, self._process = self._process, None
            control, self._control = self._control, None
            for supervised in self._supervised:
                supervised.kill()
            for supervised in tuple(self._supervised):
                await supervised.wait_gone(timeout_seconds=_CLOSE_SECONDS)
                self.release(supervised)
            if control is not None:
                control.close()
            if process is not None:
                await process.wait()

    async def _send(self, descriptors: list[int]) -> None:
        """Hand descriptors to the child; once more where it turns out to be gone."""
        for is_last in (False, True):
            async with self._starting:
                control = await self._ensure_started()
                try:
                    socket.send_fds(control, [b"+"], descriptors)
                except ConnectionError:
                    control.close()
                    self._control = None
                    if is_last:
                        raise
                else:
                    return

    async def _ensure_started(self) -> socket.socket:
        alive = self._process is not None and self._process.returncode is None
        if self._control is not None and alive:
            return self._control
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        root = Path(mahavishnu_sched_mcp.__file__).parents[1]
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    _PROGRAM.format(root=str(root)),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        if self._control is not None:
            self._control.close()
        self._control = ours
        _log.debug("guardian_started", pid=self._process.pid)
        return ours
