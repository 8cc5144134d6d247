"""Programs that try to get away, each as a script for `python -IS -c` with a file's path.

Each writes its own process id into the file as soon as it is where it wants to be.
"""

from __future__ import annotations

import sys

from mahavishnu_sched_mcp.tasks.command import CommandSpec

_TELL = """
import os, signal, sys, time
def tell():
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(f"{os.getpid()}\\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
"""
_GO = """
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        {hide}
        tell()
        time.sleep(60)
    os._exit(0)
"""
_HIDE = (
    'len(sys.argv) > 2 or os.execve(sys.executable, [sys.executable, "-IS", "-c",'
    ' open("/proc/self/cmdline").read().split("\\0")[3], sys.argv[1], "hidden"], {})'
)
DETACHES = _TELL + _GO.format(hide="pass") + "\ntime.sleep(60)"
"""A double fork into an own session, deaf to SIGTERM; the first process stays."""
HIDES = (
    _TELL
    + "if len(sys.argv) > 2:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    + "    tell()\n    time.sleep(60)\n    os._exit(0)\n"
    + _GO.format(hide=_HIDE)
    + "\ntime.sleep(60)"
)
"""The same, and with an empty environment."""
LEAVES = (
    _TELL + _GO.format(hide="pass") + "\nwhile not os.path.exists(sys.argv[1]): time.sleep(.01)"
)
"""The same, but the first process ends as soon as the other one has got away."""


def a_detached(script: str, *words: str) -> CommandSpec:
    """Make a command of one of these scripts."""
    return CommandSpec(argv=(sys.executable, "-IS", "-c", script, *words))
