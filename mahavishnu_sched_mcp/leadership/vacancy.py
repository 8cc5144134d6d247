"""Whether somebody leads, and whether the lead is free for the taking."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.leadership.lock_file import LockFile
    from mahavishnu_sched_mcp.ledger.lease import Lease


class Terms(NamedTuple):
    """How long a lease lasts: so long, and a look, after its last renewal a leader is replaced.

    Attributes:
        lasts: Seconds from a renewal to its end.
        renew_every: Seconds between renewals.
        margin: Seconds before the end from which on the leader itself starts nothing any more.
    """

    lasts: float = 8.0
    renew_every: float = 2.0
    margin: float = 2.0


class Vacancy:
    """Looks at the lease as one who may take it, and remembers for how long nobody led.

    Args:
        lasts: Seconds that a lease lasts.
        boot: This start of the machine.
    """

    def __init__(self, *, lasts: float, boot: str) -> None:
        self._lasts = lasts
        self._boot = boot
        self._unled_since: float | None = None

    def is_seen(self, found: Lease, *, has_lock: bool, now: float) -> bool:
        """Whether nobody leads.

        Args:
            has_lock: The lock file is ours, so whoever had it is dead.
            now: Seconds of the monotonic clock.
        """
        is_live = found.is_live(boot=self._boot, now_ms=int(now * 1e3))
        if has_lock:
            return not is_live or found.holds_lock
        if is_live:
            self._unled_since = None
            return False
        if found.expires_ms and found.holder.boot == self._boot:
            return True  # stopped, with the lock in its hand
        # Whoever holds the lock is about to write its name, or was stopped just then.
        self._unled_since = now if self._unled_since is None else self._unled_since
        return now - self._unled_since >= self._lasts

    def fill(self) -> None:
        """Forget for how long nobody led: somebody does now."""
        self._unled_since = None


def is_led(found: Lease, lock: LockFile, *, now: float | None = None) -> bool:
    """Whether the process that the lease names leads, as far as others can tell.

    A dead one does not; one that was stopped does until its lease ends.

    Args:
        now: Seconds of the monotonic clock; None takes the machine's.
    """
    now_ms = int((time.monotonic() if now is None else now) * 1e3)
    is_live = found.is_live(boot=boot_id(), now_ms=now_ms)
    return is_live and (not found.holds_lock or lock.is_held_by_another())


def boot_id() -> str:
    """Tell this start of the machine from others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
