"""Programs that run away, each in its own fashion, as an operator's allow-listed commands.

Every process of them names a token in its command line or its environment, so that a test finds
it in /proc, whatever the product believes.
"""

from __future__ import annotations

import sys
from typing import Any

_BEGIN = "import os, signal, sys, time\n"
_TO_SLEEP = "\nwhile True: time.sleep(60)\n"
_FLEE = """
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        {then}
    os._exit(0)
"""
_PYTHON = {
    "ignores_term": "signal.signal(signal.SIGTERM, signal.SIG_IGN)" + _TO_SLEEP,
    "flees": _FLEE.format(then="time.sleep(3600)") + _TO_SLEEP,
    "hides": _FLEE.format(
        then='os.execve(sys.executable, [sys.executable, "-IS", "-c", '
        '"import time; time.sleep(3600)", sys.argv[1]], {})'
    )
    + _TO_SLEEP,
    "forks": "for _ in range(200):\n    if os.fork() == 0: break" + _TO_SLEEP,
    "allocates": (
        "kept = []\nfor _ in range(300):\n    kept.append(b'x' * 1048576)\n    print('more')"
        + _TO_SLEEP
    ),
    "goes_silent": "os.close(1); os.close(2); os.close(0)" + _TO_SLEEP,
    "stops_itself": "os.kill(os.getpid(), signal.SIGSTOP)" + _TO_SLEEP,
    "writes_upwards": """
files = []
for number in (0, 1):
    try:
        files.append(os.open(f"/proc/{os.getppid()}/fd/{number}", os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        print(error)
while True:
    for file in files:
        try:
            os.write(file, b"spoiled from below\\n")
        except OSError:
            pass
    time.sleep(0.001)
""",
}
KINDS = ("yes", "zeros", *_PYTHON)
"""The names of the commands."""


def runaway_commands(token: str) -> dict[str, dict[str, Any]]:
    """Declare them for the settings.

    Args:
        token: What their processes name; nothing else on the machine does.
    """
    argvs = {
        "yes": ["/usr/bin/yes", token],
        "zeros": ["/bin/cat", "/dev/zero"],
    } | {
        name: [
            sys.executable,
            "-IS",
            "-c",
            _BEGIN + script.replace("{", "{{").replace("}", "}}"),
            token,
        ]
        for name, script in _PYTHON.items()
    }
    return {
        name: {"argv": argv, "env": {"RUNAWAY_TOKEN": token}, "idempotent": True}
        for name, argv in argvs.items()
    }
