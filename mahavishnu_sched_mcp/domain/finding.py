"""What a check of the installation found."""

from __future__ import annotations

from mahavishnu_sched_mcp.domain.value import Value


class Finding(Value):
    """One part that was checked.

    Attributes:
        part: What was looked at.
        ok: Whether it is as it should be.
        detail: What was seen, one sentence.
        mend: How to mend it; empty where nothing is wrong.
    """

    part: str
    ok: bool
    detail: str
    mend: str = ""
