"""Three small tasks: list `examples.basic_tasks` under `tasks.modules` and schedule them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Literal

from pydantic import Field

from mahavishnu_sched_mcp.tasks.context import current_run
from mahavishnu_sched_mcp.tasks.mark import task


@task(idempotent=True)
async def greet(name: Annotated[str, Field(min_length=1, description="Who to greet.")]) -> str:
    """Greet someone, and say for which instant.

    Args:
        name: Who to greet.
    """
    return f"Hello, {name}! It is {current_run().scheduled_for:%H:%M} UTC."


@task(idempotent=True)
def checksum(text: str, algorithm: Literal["sha256", "sha512"] = "sha256") -> str:
    """Digest a text; an ordinary function, run in a thread.

    Args:
        text: What to digest, as UTF-8.
        algorithm: Which digest.
    """
    return hashlib.new(algorithm, text.encode()).hexdigest()


@task(timeout_seconds=10, idempotent=True)
async def check_port(
    port: Annotated[int, Field(ge=1, le=65535)], host: str = "127.0.0.1"
) -> dict[str, object]:
    """See whether something listens on a port; fail when nothing does.

    Args:
        port: The TCP port.
        host: The machine, this one if not given.

    Raises:
        OSError: nothing answers there.
    """
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()
    return {"host": host, "port": port, "open": True}
