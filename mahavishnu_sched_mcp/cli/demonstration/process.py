"""Which processes belong to a folder: its servers and all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc/self").parent


def processes_of(folder: Path) -> dict[int, str]:
    """Find the living processes whose command line or environment names a folder.

    Where the system hides environments (macOS), the command line alone decides.

    Args:
        folder: A folder that nobody else uses.

    Returns:
        The command line of each, by process number; this process is left out.
    """
    own, name = os.getpid(), str(folder).encode()
    if not (_PROCESSES / str(own) / "environ").exists():
        return _listed(str(folder))
    found: dict[int, str] = {}
    for entry in _PROCESSES.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == own:
            continue
        # Another user's process refuses to be read, one that just ended is gone: neither is ours.
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if command and (name in command or name in (entry / "environ").read_bytes()):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def kill_processes_of(folder: Path) -> dict[int, str]:
    """Kill what still belongs to a folder, and say what that was."""
    found = processes_of(folder)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _listed(folder: str) -> dict[int, str]:
    answer = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    rows = [line.strip().partition(" ") for line in answer.stdout.splitlines()]
    return {
        int(pid): command
        for pid, _, command in rows
        if folder in command and int(pid) != os.getpid()
    }
