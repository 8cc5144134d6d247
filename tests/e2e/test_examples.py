"""The examples do what they say, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAID = {
    "basic_usage": [
        "apscheduler:greeting: created",
        "every hour, between 09:00 and 17:00, Monday through Friday",
        "checksum says 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "Hello, Ada!",
        "apscheduler:greeting: paused",
    ],
    "workflow_with_retries": [
        "wait: succeeded after",
        "greet: succeeded after 1",
        "HELLO, SERVICE AT",
    ],
    "migrate_from_cron": [
        "apscheduler:measure-tmp: next",
        "apscheduler:find-old: next",
        "apscheduler:tell-date: next",
        "; succeeded",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SAID))
def test_an_example_runs_and_says_what_it_did(name: str, tmp_path: Path) -> None:
    """A reader who runs an example sees its story, on a machine without any settings."""
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}", str(tmp_path / "data")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [line for line in SAID[name] if line not in done.stdout] == [], done.stdout
    assert "failed" not in done.stdout
    assert "Traceback" not in done.stderr
    if name == "workflow_with_retries":
        assert "wait: succeeded after 1 attempts" not in done.stdout
