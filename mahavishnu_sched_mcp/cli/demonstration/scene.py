"""What every step works with: a client at the server's tools, and expectations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mahavishnu_sched_mcp.cli.demonstration.process import processes_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.cli.demonstration.stage import Stage
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.value import JsonObject
    from mahavishnu_sched_mcp.server.client import StdioClient

PULSE = "apscheduler:pulse"
NIGHTLY = "oneiric:nightly"
WATCHED = "prefect:website"
LATER = "apscheduler:later"
"""The jobs of the story."""

_LOOK_SECONDS = 0.2
_PAGE = 200


class MissError(Exception):
    """Something did not happen as the story says."""


class Audience(Protocol):
    """Who hears the story while it is told."""

    def say(self, line: str) -> None:
        """Hear something that happened."""

    def wait(self, line: str) -> None:
        """Hear what is being waited for; the newest word replaces the one before."""


@dataclass(kw_only=True)
class Scene:
    """The state of one telling.

    Attributes:
        jobs_before: The jobs as they were before the server was killed, by id.
        runs_before: The runs as they were then, by id.
    """

    stage: Stage
    client: StdioClient
    clock: Clock
    audience: Audience
    jobs_before: dict[str, JsonObject] = field(default_factory=dict)
    runs_before: dict[str, JsonObject] = field(default_factory=dict)

    async def call(self, tool: str, **arguments: Any) -> JsonObject:
        """Call a tool of the server.

        Raises:
            ToolRefusedError: it answered with an error.
        """
        return await self.client.call(tool, arguments)

    async def until[Found](
        self, description: str, look: Callable[[], Awaitable[Found | None]], *, seconds: float
    ) -> Found:
        """Look again and again until something is there.

        Args:
            description: What is waited for, as the end of "waiting for ...".
            look: Gives what is waited for, or None while it is not there.
            seconds: The longest wait.

        Raises:
            MissError: it did not come in time.
        """
        self.audience.wait(f"waiting for {description}")
        end = self.clock.monotonic() + seconds
        while (found := await look()) is None:
            if self.clock.monotonic() > end:
                msg = f"waited {seconds:g} s in vain for {description}"
                raise MissError(msg)
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    async def let_pass(self, seconds: float, *, why: str) -> None:
        """Let real time go by: fires come due in it."""
        self.audience.wait(why)
        await asyncio.sleep(seconds)

    async def jobs(self, **filters: Any) -> dict[str, JsonObject]:
        """Give all jobs that match, in full, by id."""
        page = await self.call("list_jobs", detail="full", limit=_PAGE, **filters)
        return {job["job_id"]: job for job in page["jobs"]}

    async def runs(self, **filters: Any) -> list[JsonObject]:
        """Give all runs that match, the newest first."""
        found: list[JsonObject] = []
        cursor = None
        while True:
            page = await self.call("list_runs", limit=_PAGE, cursor=cursor, **filters)
            found += page["runs"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    async def until_gone(self, *, seconds: float) -> None:
        """Wait until no process of this stage is left.

        Raises:
            MissError: one is.
        """

        async def look() -> bool | None:
            return None if processes_of(self.stage.folder) else True

        try:
            await self.until("the last process to end", look, seconds=seconds)
        except MissError as error:
            left = processes_of(self.stage.folder)
            msg = f"processes are left: {left}"
            raise MissError(msg) from error


def expect(is_so: object, claim: str) -> None:
    """Insist that something is as the story says.

    Raises:
        MissError: it is not.
    """
    if not is_so:
        msg = f"not so: {claim}"
        raise MissError(msg)
