"""What a child process does first, so that it never outlives its parent or writes for it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

GRACE_SECONDS = 0.9


def guard_child() -> None:
    """Keep stdout clean and end this process when its parent is gone.

    The parent holds the other end of our standard input: when that closes, for whatever
    reason, this process ends itself, softly first.
    """
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    # What a flow starts inherits the empty input, never the lifeline.
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(lifeline,), name="parent-watch", daemon=True).start()


def end_soon() -> None:
    """End this process for good after a short grace, whatever it still does."""
    threading.Thread(target=_end, name="last-resort", daemon=True).start()


def _watch(lifeline: int) -> None:
    try:
        while os.read(lifeline, 64):
            pass
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        _end()


def _end() -> None:
    time.sleep(GRACE_SECONDS)
    os._exit(1)
