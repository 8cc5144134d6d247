"""What the how-to pages show holds: settings load, calls are accepted, commands exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.cli.demonstration.story import STORY
from mahavishnu_sched_mcp.domain.policy import MissedPolicy, Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.server.factory import TOOL_ORDER
from mahavishnu_sched_mcp.settings import load_settings, unsupported
from tests.e2e.servers import Place
from tests.e2e.web import web_serving

ROOT = Path(__file__).parents[2]
CRON = ROOT / "docs/how-to/migrate-from-cron.md"
DEMO = ROOT / "docs/how-to/see-the-demo.md"
BACKUP = ROOT / "docs/how-to/back-up-and-restore.md"
HTTP = ROOT / "docs/how-to/serve-over-http.md"
TROUBLE = ROOT / "docs/how-to/troubleshoot.md"
PROGRAM = "mahavishnu-sched-mcp"


def blocks(page: Path, language: str) -> list[str]:
    """Take the fenced blocks of one language out of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [BACKUP, CRON, DEMO, HTTP, TROUBLE], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """A reader who follows a link within the checkout finds a page."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [BACKUP, CRON, DEMO, HTTP, TROUBLE], ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    """Each command line that is shown is one the program understands."""
    lines = [
        line
        for block in blocks(page, "bash")
        for line in block.splitlines()
        if line.startswith(PROGRAM)
    ]
    words = {tuple(shlex.split(line)[1:]) for line in lines}
    inline = re.findall(rf"`{PROGRAM} ([a-z-]+)`", page.read_text())

    for command in {line[0] for line in words} | set(inline):
        done = subprocess.run(
            [sys.executable, "-m", "mahavishnu_sched_mcp", command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, command
        options = {word for line in words if line[0] == command for word in line if "--" in word}
        assert [option for option in options if option not in done.stdout] == []


async def test_the_crontab_of_the_page_can_be_scheduled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are accepted as they stand, and so is each call, with the fires of its line."""
    (text,) = blocks(CRON, "yaml")
    crontab = blocks(CRON, "text")[0].splitlines()
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(text)
    monkeypatch.chdir(tmp_path)

    settings = load_settings(config=config, data_dir=tmp_path / "data", environ={})
    calls = [json.loads(block) for block in blocks(CRON, "json")]
    async with MahavishnuApp(settings).lifecycle() as app:
        schedule = app.scheduler.schedule_internal_task
        made = [await schedule(**scheduled(call)) for call in calls]

    assert unsupported(settings) == []
    assert [creation.outcome for creation in made] == ["created"] * 3
    assert [creation.job.trigger.zone for creation in made if creation.job.trigger] == [
        "Europe/Berlin"
    ] * 3
    for line, call in zip(crontab, calls, strict=True):
        assert line.startswith(call["trigger"]["expression"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["Claude Code", "Cursor"])
async def test_the_entries_of_the_http_page_connect(number: int, tmp_path: Path) -> None:
    """What the page writes for an editor reaches a server, once the token is filled in."""
    written = blocks(HTTP, "json")[number]

    with web_serving(Place.of(tmp_path, workflows={})) as server:
        filled = re.sub(r"\$\{[A-Za-z:_]+\}", server.token, written).replace(
            "127.0.0.1:8765", f"127.0.0.1:{server.port}"
        )
        async with Client(json.loads(filled)) as client:
            status = (await client.call_tool("get_status")).structured_content or {}

    assert filled != written
    assert status["leader"]["is_this_process"]


def test_the_settings_of_the_http_page_load(tmp_path: Path) -> None:
    """The settings that let other machines in are accepted, and have their effect."""
    (text,) = blocks(HTTP, "yaml")
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(text)

    settings = load_settings(config=config, data_dir=tmp_path / "data", environ={})

    assert unsupported(settings) == []
    assert settings.http.allowed_hosts == ("scheduler.example.org",)


def scheduled(call: dict[str, Any]) -> dict[str, Any]:
    """Turn a tool's arguments into the scheduler's."""
    own = {"task", "trigger", *Policies.model_fields}
    policies = {name: value for name, value in call.items() if name in Policies.model_fields}
    return {
        "func": call["task"],
        "trigger": TriggerRequest.model_validate(call["trigger"]),
        "policies": Policies.model_validate(policies),
    } | {name: value for name, value in call.items() if name not in own}


def test_the_demo_page_has_every_step() -> None:
    """One row of the table for each step of the story, in its order, beginning with its title."""
    table = DEMO.read_text().split("| step | tools |")[1].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    titles = [step.title for step in STORY]

    assert len(rows) == len(titles)
    for (row, *_), title in zip(rows, titles, strict=True):
        assert row.startswith(title)


@pytest.mark.parametrize("page", [BACKUP, CRON, DEMO, TROUBLE], ids=lambda page: page.name)
def test_the_tools_of_a_page_exist(page: Path) -> None:
    """A name that looks like a tool's is one."""
    verbs = "list|get|pause|resume|cancel|run|replay|schedule|enqueue|preview|classify|update"
    named = set(re.findall(rf"`((?:{verbs})_[a-z_]+)", page.read_text()))

    assert named
    assert named <= set(TOOL_ORDER) | set(MissedPolicy)
