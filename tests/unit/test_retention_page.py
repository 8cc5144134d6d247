"""What the page about retention says holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mahavishnu_sched_mcp.ledger import retention, sweeps
from mahavishnu_sched_mcp.ledger.database import connect
from mahavishnu_sched_mcp.ledger.schema import migrate
from mahavishnu_sched_mcp.settings import Settings, load_settings, unsupported

PAGE = Path(__file__).parents[2] / "docs/reference/retention.md"
TEXT = PAGE.read_text()


def block(language: str) -> str:
    """Take the only fenced block of a language out of the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_settings_of_the_page_are_the_defaults(tmp_path: Path) -> None:
    """They load as they stand and have an effect."""
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(block("yaml"))

    settings = load_settings(config=config, data_dir=tmp_path / "data", environ={})

    assert settings.retention == Settings().retention
    assert settings.internal_tasks == Settings().internal_tasks
    assert unsupported(settings) == []


def test_the_output_of_the_page_is_the_chores(tmp_path: Path) -> None:
    """Each kind of row and each figure of the size."""
    db = connect(tmp_path / "ledger.db")
    migrate(db)
    shown = json.loads(block("json"))

    assert tuple(shown["removed"]) == sweeps.KINDS
    assert shown["ledger"]["before"].keys() == sweeps.measure(db).keys()
    db.close()


def test_the_spans_of_the_page_are_the_codes() -> None:
    """A week of keys and samples, a day of reminders, 10 seconds, 25 hours."""
    day, hour = 86400, 3600

    assert sweeps.KEYS_FOR.total_seconds() == sweeps.SAMPLES_FOR.total_seconds() == 7 * day
    assert sweeps.REMINDERS_FOR.total_seconds() == day
    assert retention.SETTLES_IN.total_seconds() == 10
    assert retention.MIRRORED_FOR.total_seconds() == 25 * hour
    assert all(words in TEXT for words in ("7 days", "a day", "10 seconds", "25 hours"))
