"""What is said about who leads, by servers and beside them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.servers import Place, leaving_nothing, serving, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

LEASE_SECONDS = 8.0


async def printed(place: Place, *words: str) -> str:
    """Run a command beside the servers and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        *place.command(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=place.environment(),
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return out.decode()


async def leader_by_command(place: Place) -> dict[str, Any]:
    """Ask the command line who leads."""
    found: dict[str, Any] = json.loads(await printed(place, "status", "--json"))["leader"]
    return found


async def test_asking_beside_a_server_never_takes_the_lead(tmp_path: Path) -> None:
    """`status` and `doctor` name the leading server, and leave everything to it."""
    place = Place.of(tmp_path)
    async with leaving_nothing(place), serving(place) as server:
        said = await leader_by_command(place)
        advice = await printed(place, "doctor")
        after = (await server.call("get_status"))["leader"]

    assert (said["pid"], said["is_running"], said["is_this_process"]) == (server.pid, True, False)
    assert f"process {server.pid}" in advice
    assert (after["pid"], after["term"], after["is_this_process"]) == (server.pid, 1, True)


async def test_asking_after_the_last_server_never_takes_the_lead(tmp_path: Path) -> None:
    """A killed server leads no longer, and who only asks does not take its place."""
    place = Place.of(tmp_path)
    async with leaving_nothing(place):
        async with serving(place) as server:
            os.kill(server.pid, signal.SIGKILL)
        said = await leader_by_command(place)
        advice = await printed(place, "doctor")
        again = await leader_by_command(place)

    assert (said["is_running"], said["is_this_process"]) == (False, False)
    assert said["pid"] == server.pid
    assert "nothing fires now" in advice
    assert again["term"] == said["term"] == 1


async def test_a_stopped_server_is_not_said_to_lead_for_longer_than_its_lease(
    tmp_path: Path,
) -> None:
    """Nobody else is there to take over, and `status` does not take its word for ever."""
    place = Place.of(tmp_path)
    async with leaving_nothing(place), serving(place) as server:
        os.kill(server.pid, signal.SIGSTOP)
        stopped = believed = time.monotonic()

        async def look() -> bool | None:
            nonlocal believed
            asked = time.monotonic()
            if (await leader_by_command(place))["is_running"]:
                believed = asked
                return None
            return True

        try:
            await wait_until(look, "`status` to say that nobody leads", seconds=40)
            advice = await printed(place, "doctor")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        after = (await server.call("get_status"))["leader"]

    assert believed - stopped < LEASE_SECONDS
    assert "nothing fires now" in advice
    assert (after["is_this_process"], after["term"]) == (True, 1)
