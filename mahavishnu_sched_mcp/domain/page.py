"""A page of a list."""

from __future__ import annotations

from mahavishnu_sched_mcp.domain.value import Value


class Page[Row](Value):
    """Some rows of a list, with the way to the next ones.

    Attributes:
        rows: In the list's order.
        total: How many rows the filter has in all.
        next_cursor: Opaque; None on the last page.
    """

    rows: tuple[Row, ...]
    total: int
    next_cursor: str | None = None
