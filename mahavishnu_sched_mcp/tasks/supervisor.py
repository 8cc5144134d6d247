"""The processes between the server and what it runs: one guardian, one supervisor per execution.

Standard library only. The guardian is a small process that does nothing but fork: for each
execution a supervisor, which starts the program and is the parent of all its descendants. On
Linux it is their *subreaper*: a process that double-forks, opens its own session and empties its
environment becomes a child of the supervisor, so nothing gets out of its sight, and it ends when
it has no child left and not before.

Server and supervisor talk over a socket. The server sends one line with the order (`argv`,
`executable`, `env`, `cwd`, `mark`), later the bytes `T` (ask the tree to end) and `K` (kill it).
The supervisor answers lines: `{"group": …}` or `{"error": …}`, then `{"code": …}`, and closes
when all are gone. When the server's end closes, the server is gone, however it went: the tree is
killed. The descriptors that come with an order are: the socket, standard output and error, then
what the program gets as 3, 4, ...
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.tasks.process_tree import find_descendants, send_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

SUPERVISOR_NAME = "mahavishnu-run"
"""The supervisors' name in /proc; the kernel keeps 15 characters."""
ASK, KILL = b"T", b"K"
FIRST_EXTRA = 3
"""The first descriptor of a program beside its standard ones."""

_MOST_DESCRIPTORS = 8
_SET_NAME, _SET_CHILD_SUBREAPER = 15, 36
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 5, 100
_PLAIN_SIGNALS = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
"""A program starts with the system's own ways, whatever this one or its starter changed."""


def main() -> None:
    """Be the guardian: fork a supervisor for each order, until the server is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server's end is its end
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    control = socket.socket(fileno=os.dup(0))
    _close_input()
    load_prctl()
    while True:
        descriptors = _receive(control)
        if not descriptors:
            return
        try:
            if os.fork() == 0:
                control.close()
                _be_supervisor(descriptors)
        except OSError:
            continue  # the socket closes without a word: the server says so
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _receive(control: socket.socket) -> list[int]:
    """Wait for one order's descriptors; none when the server is gone."""
    flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    _, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_DESCRIPTORS, flags)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - no keyword; where the flag is unknown
    return descriptors


def _be_supervisor(descriptors: Sequence[int]) -> None:
    code = 1
    try:
        channel, *others = descriptors
        Supervisor(socket.socket(fileno=channel)).supervise(others)
        code = 0
    finally:
        os._exit(code)  # never back into the guardian's loop


class Supervisor:
    """Starts one program, and ends when none of its processes is left.

    SIGTERM to it means: kill the tree.
    """

    def __init__(self, channel: socket.socket) -> None:
        """Become the parent of what the program may leave behind.

        Args:
            channel: To the server.
        """
        self._channel = channel
        self._leader = 0
        self._has_leader = False
        self._is_asked = False
        self._is_killing = False
        os.setpgid(0, 0)  # a signal to the guardian's group does not reach it
        name_process(SUPERVISOR_NAME)
        adopt_orphans()
        self._wakeup = self._catch_signals()

    def supervise(self, descriptors: Sequence[int]) -> None:
        """Start the program that the server orders, and stay until all of it is gone.

        Args:
            descriptors: Standard output and error, then the program's 3, 4, ...
        """
        order = self._read_order()
        if order is None:
            return
        mark_self(order["mark"])
        if self._is_abandoned():
            return
        try:
            self._leader = _start(order, descriptors)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            self._tell({"error": why or type(error).__name__})
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._has_leader = True
        self._tell({"group": self._leader})
        self._stay()

    def _stay(self) -> None:
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        pause = _FIRST_PAUSE_MS
        while self._reap():
            if self._is_killing:
                self._signal(signal.SIGKILL)
                pause = min(2 * pause, _LONGEST_PAUSE_MS)
            for descriptor, _ in poll.poll(pause if self._is_killing else None):
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                elif not self._obey():
                    poll.unregister(self._channel)

    def _reap(self) -> bool:
        """Take leave of those that ended, and say whether there are others."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None:
                return True
            if self._has_leader and ended.si_pid == self._leader:
                self._reap_leader()
            else:
                os.waitpid(ended.si_pid, 0)

    def _reap_leader(self) -> None:
        if not self._is_asked:  # what it left ends with it, its group at one stroke
            self._is_killing = True
            send_signal(signal.SIGKILL, group=self._leader, processes=())
        _, status = os.waitpid(self._leader, 0)
        self._has_leader = False  # from here on its number may become another's
        self._tell({"code": os.waitstatus_to_exitcode(status)})

    def _obey(self) -> bool:
        """Do what the server says, and say whether it can still be heard."""
        try:
            said = self._channel.recv(16)
        except OSError:
            said = b""
        if not said or KILL in said:
            self._is_killing = True
        elif ASK in said and not self._is_asked:
            self._is_asked = True
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # one that is stopped could not answer
        return bool(said)

    def _signal(self, number: signal.Signals) -> None:
        group = self._leader if self._has_leader else None
        if number is signal.SIGKILL and group is not None:
            send_signal(number, group=group, processes=())  # it cannot fork any more
        send_signal(number, group=group, processes=find_descendants(os.getpid()))

    def _read_order(self) -> dict[str, Any] | None:
        """Read one line; None when the server is gone before its end."""
        read = bytearray()
        while not read.endswith(b"\n"):
            try:
                piece = self._channel.recv(65536)
            except OSError:
                return None
            if not piece:
                return None
            read += piece
        order: dict[str, Any] = json.loads(read)
        return order

    def _is_abandoned(self) -> bool:
        """Whether the server is gone already: an order nobody waits for is not begun."""
        try:
            return not self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _tell(self, said: dict[str, object]) -> None:
        try:
            self._channel.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            self._is_killing = True  # nobody is there

    def _catch_signals(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._kill_soon)
        return reader

    def _kill_soon(self, *_: object) -> None:
        self._is_killing = True


def _start(order: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Start the program in its own session: nothing but the ordered descriptors is open in it."""
    os.chdir(order["cwd"])
    try:
        output, *extras = descriptors
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        actions += [
            (os.POSIX_SPAWN_DUP2, extra, number)
            for number, extra in enumerate(extras, start=FIRST_EXTRA)
        ]
        return os.posix_spawn(
            order["executable"],
            order["argv"],
            order["env"],
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_PLAIN_SIGNALS,
        )
    finally:
        os.chdir("/")


def _close_input() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


_prctl: Any = None


def load_prctl() -> None:
    """Find the system call once; the supervisors inherit it."""
    global _prctl  # noqa: PLW0603 - once, before the first fork
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - Linux only, and not cheap

        _prctl = ctypes.CDLL(None, use_errno=True).prctl


def name_process(name: str) -> None:
    """Show a name in /proc and in `ps`; nothing where that is not Linux."""
    if _prctl is not None:
        _prctl(_SET_NAME, name.encode(), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends; nothing where that is not Linux."""
    if _prctl is not None:
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def mark_self(mark: str) -> None:
    """Carry a mark that others find as a link in /proc/PID/fd, for there is no other place.

    A forked process shows the environment of the one it was forked from.
    """
    if sys.platform == "linux":
        os.memfd_create(mark)
