"""Test the server's own parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mahavishnu_sched_mcp.tasks.context import Ports, TaskFailedError
from mahavishnu_sched_mcp.tasks.mark import task


class UnhealthyError(TaskFailedError):
    """Parts of the server do not work; the run fails and says which."""


@task(idempotent=True)
async def health_check(*, ports: Ports) -> dict[str, object]:
    """Test ledger, engines, disk and clock now; fail when one of them is broken.

    Args:
        ports: Filled in by the executor.

    Raises:
        UnhealthyError: names each part that says `ok: false`, with its `detail`.
    """
    parts = dict(await ports.status.probe())
    broken = "; ".join(_find_broken(parts, path=""))
    if broken:
        raise UnhealthyError(broken, output=parts)
    return parts


def _find_broken(part: Mapping[str, object], *, path: str) -> Iterator[str]:
    """Name the innermost parts that are not ok; an outer one only where no inner one is."""
    inner = [
        found
        for name, value in part.items()
        if isinstance(value, Mapping)
        for found in _find_broken(value, path=f"{path}.{name}" if path else name)
    ]
    if not inner and part.get("ok") is False:
        detail = str(part.get("detail") or "not ok")
        inner = [f"{path}: {detail}" if path else detail]
    yield from inner
