"""The official Inspector's command line, as an outside judge of the server."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.server.factory import TOOL_ORDER
from tests.e2e.servers import Place, leaving_nothing
from tests.e2e.web import web_serving

if TYPE_CHECKING:
    from pathlib import Path

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
DOWNLOAD_SECONDS = 150

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        shutil.which("npx") is None,
        reason="npx is missing: install Node.js 20 or newer, e.g. `apt-get install nodejs npm`",
    ),
]


@pytest.fixture(scope="session")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what npm downloads for the whole session, apart from the user's own cache."""
    return tmp_path_factory.mktemp("npm")


async def inspect(place: Place, npm_folder: Path, era: str, *words: str) -> Any:
    """Let the Inspector start the server and ask it something; give its answer."""
    return await run_inspector(place, npm_folder, *launching(place), "--protocol-era", era, *words)


def launching(place: Place) -> list[str]:
    """Say how the Inspector is to start the server."""
    # The Inspector has a --config of its own and hands only named variables on.
    settings = {
        "MAHAVISHNU_CONFIG": str(place.config),
        "MAHAVISHNU_DATA_DIR": str(place.folder / "data"),
        "PYTHONPATH": str(place.folder),
    }
    handed_on = [word for item in settings.items() for word in ("-e", "=".join(item))]
    return [*handed_on, sys.executable, "-m", "mahavishnu_sched_mcp"]


async def run_inspector(place: Place, npm_folder: Path, *words: str) -> Any:
    """Run the Inspector's command line and give its answer."""
    process = await asyncio.create_subprocess_exec(
        *("npx", "--yes", INSPECTOR, "--cli", *words, "--format", "json", "-q"),
        cwd=npm_folder,
        env=place.environment()
        | {
            "npm_config_cache": str(npm_folder / "cache"),
            "npm_config_update_notifier": "false",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DOWNLOAD_SECONDS):
        answer, complaints = await process.communicate()
    assert process.returncode == 0, f"{answer.decode()}\n{complaints.decode()}"
    return json.loads(answer)["result"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_accepts_the_tools(era: str, npm_folder: Path, tmp_path: Path) -> None:
    """`--strict` finds nothing to complain of in any tool's schema, in either protocol era."""
    place = Place.of(tmp_path)

    async with leaving_nothing(place):
        answer = await inspect(place, npm_folder, era, "--method", "tools/list", "--strict")

    assert [tool["name"] for tool in answer["tools"]] == list(TOOL_ORDER)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_can_call_a_tool(era: str, npm_folder: Path, tmp_path: Path) -> None:
    """A call through the Inspector gets the structured answer."""
    place = Place.of(tmp_path)
    call = ["--method", "tools/call", "--tool-name", "list_jobs", "--tool-args-json"]

    async with leaving_nothing(place):
        answer = await inspect(place, npm_folder, era, *call, '{"limit": 2}')

    assert not answer.get("isError")
    assert (answer["structuredContent"]["jobs"], answer["structuredContent"]["total"]) == ([], 0)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_can_call_a_tool_over_http(
    era: str, npm_folder: Path, tmp_path: Path
) -> None:
    """With the token in a header the Inspector gets the same answer over HTTP."""
    place = Place.of(tmp_path)
    call = ["--method", "tools/call", "--tool-name", "list_jobs", "--tool-args-json", "{}"]

    async with leaving_nothing(place):
        with web_serving(place) as server:
            door = [server.url, "--header", f"Authorization: Bearer {server.token}"]
            answer = await run_inspector(place, npm_folder, *door, "--protocol-era", era, *call)

    assert not answer.get("isError")
    assert (answer["structuredContent"]["jobs"], answer["structuredContent"]["total"]) == ([], 0)
