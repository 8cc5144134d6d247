"""A child process that dies with us: the embedded server, the worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.backends.prefect.place import LOG_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mahavishnu_sched_mcp.backends.prefect.place import Place

POLL_SECONDS = 0.02
STALE_GRACE_SECONDS = 2.0

_PROCESSES = Path("/proc/self").parent

logger = structlog.get_logger()


@dataclass(frozen=True)
class ProcessIdentity:
    """A process beyond the reuse of its number.

    Attributes:
        started: When it started, in the system's own words.
    """

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """Whether that very process still is, and is not merely waiting to be buried."""
        return started_of(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it is still the same one."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ChildProcess:
    """One child: started, watched, and ended by its own identity.

    Args:
        name: Of its log and identity files.
        place: Where those are.
    """

    def __init__(self, name: str, *, place: Place) -> None:
        self.name = name
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Give its number while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def ending(self) -> str:
        """Say how it ended, in words for the operator."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return f"the {self.name} process has not ended"
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the {self.name} process ended with {how}; its log is prefect/{self.name}.log"

    def start(self, arguments: Sequence[str], *, environment: Mapping[str, str]) -> None:
        """Start it, with its output in its log and its input held by us.

        Args:
            arguments: After our own program's name.
            environment: All of its variables.
        """
        log_path = self._place.log(self.name)
        is_long = log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES
        with log_path.open("wb" if is_long else "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-m", "mahavishnu_sched_mcp", *arguments],
                env=dict(environment),
                cwd=self._place.root,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is for the parent, which ends its children itself.
                start_new_session=True,
            )
        started = started_of(self._process.pid)
        if started is not None:
            identity = {"pid": self._process.pid, "started": started}
            self._place.identity(self.name).write_text(json.dumps(identity), encoding="utf-8")
        logger.info("prefect_child_started", child=self.name, pid=self._process.pid)

    async def stop(self, *, grace_seconds: float) -> None:
        """End it: ask, then insist after the grace. Idempotent."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            await _until(lambda: process.poll() is not None, seconds=grace_seconds)
        if process.poll() is None:
            process.kill()
            await _until(lambda: process.poll() is not None, seconds=0.5)
        if process.stdin is not None:
            process.stdin.close()
        self._place.identity(self.name).unlink(missing_ok=True)
        self._process = None
        logger.info("prefect_child_ended", child=self.name, pid=process.pid)

    async def clear_stale(self) -> None:
        """Wait until the child of an earlier parent is gone, and end it if it lingers."""
        identity = _read_identity(self._place.identity(self.name))
        if identity is not None and identity.is_alive:
            gone = await _until(lambda: not identity.is_alive, seconds=STALE_GRACE_SECONDS)
            if not gone:
                identity.send(signal.SIGTERM)
                gone = await _until(lambda: not identity.is_alive, seconds=1.0)
            if not gone:
                identity.send(signal.SIGKILL)
                await _until(lambda: not identity.is_alive, seconds=1.0)
            logger.info("prefect_stale_child_ended", child=self.name, pid=identity.pid)
        self._place.identity(self.name).unlink(missing_ok=True)


def started_of(pid: int) -> str | None:
    """Say when a living process started; None where there is none."""
    if _PROCESSES.is_dir():
        try:
            text = (_PROCESSES / str(pid) / "stat").read_text(encoding="utf-8")
        except OSError:
            return None
        # The name in parentheses may hold spaces; the fields after it are fixed (proc(5)).
        fields = text.rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    answer = subprocess.run(  # noqa: S603 - a system program by its full path, no shell
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def _read_identity(path: Path) -> ProcessIdentity | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return ProcessIdentity(pid=int(kept["pid"]), started=str(kept["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def _until(condition: Callable[[], bool], *, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the system tells nobody that a process ended
                await asyncio.sleep(POLL_SECONDS)
    return condition()
