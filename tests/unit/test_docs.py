"""What the pages for newcomers show holds: code runs, settings load, links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_sched_mcp.classifier import TaskCharacteristics, choose
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.settings import load_settings, unsupported

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/explanation/choosing-an-engine.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Take the fenced blocks of one language out of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_lead_to_files(page: Path) -> None:
    """A reader who follows a link within the checkout finds a page."""
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_guides_code_runs() -> None:
    """The example of the selection guide does what the guide says."""
    (code,) = blocks(GUIDE, "python")

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_decision_matrix_is_what_the_rules_decide() -> None:
    """Each of the 72 combinations has the engine that its first row of the matrix says."""
    text = GUIDE.read_text().split("## The decision matrix")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ][2:]
    names = ("visibility", "complexity", "infrastructure", "durability")

    for frequency, *values in product(
        ("high", "medium", "low"),
        ("internal", "user-facing"),
        ("simple", "dag", "complex"),
        ("local", "distributed"),
        ("ephemeral", "persistent"),
    ):
        engines = [
            engine
            for *cells, engine in rows
            if all(
                cell == "any" or value in cell.split(", ")
                for cell, value in zip(cells, values, strict=True)
            )
        ]
        five: dict[str, Any] = dict(zip(names, values, strict=True)) | {"frequency": frequency}
        assert engines == [choose(TaskCharacteristics(**five)).title().replace("Apsch", "APSch")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json_blocks_are_json_and_their_triggers_are_triggers(page: Path) -> None:
    """What a page shows as a call can be sent."""
    for block in blocks(page, "json"):
        value = json.loads(block)
        if "trigger" in value:
            TriggerRequest.model_validate(value["trigger"])


def test_the_tutorials_settings_load(tmp_path: Path) -> None:
    """The file of the tutorial is accepted as it stands, and all of it has an effect."""
    (text,) = blocks(ROOT / "docs/tutorial.md", "yaml")
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(text)

    settings = load_settings(config=config, data_dir=tmp_path / "data", environ={})

    assert set(settings.workflow_definitions) == {"measure_all"}
    assert unsupported(settings) == []


def test_the_readme_states_the_defaults_of_the_policies() -> None:
    """The table of policies says what the product does."""
    text = (ROOT / "README.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| `?([\w]+)`? \|", text, re.MULTILINE))
    usual = Policies()

    stated = {name: table[name] for name in table if hasattr(usual, name)}

    assert stated == {name: str(getattr(usual, name)) for name in stated}
    assert {"missed_policy", "catchup_window_seconds", "overlap_policy"} <= stated.keys()
