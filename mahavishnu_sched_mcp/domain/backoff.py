"""How long to wait before a failed run is tried again."""

from __future__ import annotations

import hashlib
from datetime import timedelta

LONGEST = timedelta(hours=1)
"""The cap of the doubling, before the jitter."""

_SHARE = 4
_WIDTH = 2**64


def delay_after(failures: int, *, first: timedelta, seed: str) -> timedelta:
    """Give the wait after so many failures: doubled each time, capped, with jitter.

    The cap is an hour, or `first` where that is longer. The jitter lengthens the wait by up to a
    quarter, so that runs which failed together are not tried together. Seed and number of
    failures decide it: a restart finds the same wait.

    Args:
        failures: How often the run has failed so far, from 1.
        first: The wait after the first failure (`retry_backoff_seconds`).
        seed: What tells this run from others.
    """
    cap = max(LONGEST, first).total_seconds()
    # A capped exponent: no power of two may leave the calendar.
    doubled = min(cap, first.total_seconds() * 2.0 ** min(failures - 1, 64))
    digest = hashlib.blake2b(f"{seed}:{failures}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest) / _WIDTH / _SHARE
    return timedelta(seconds=doubled * (1 + share))
