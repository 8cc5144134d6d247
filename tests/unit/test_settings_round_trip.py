"""Settings written as YAML are read back as the same settings."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_sched_mcp.settings import Settings, load_settings

positive = st.floats(min_value=0.01, max_value=1e9, allow_nan=False)
periods = st.none() | st.floats(min_value=1, max_value=1e9, allow_nan=False)
counts = st.integers(min_value=1, max_value=10**12)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
# Lone surrogates are no text; YAML has no way to write some control characters.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)
engines = st.sampled_from(["apscheduler", "oneiric", "prefect"])
commands = st.fixed_dictionaries(
    {"argv": st.lists(texts, min_size=1, max_size=4)},
    optional={
        "description": texts,
        "params": st.dictionaries(names, st.dictionaries(texts, texts, max_size=2), max_size=2),
        "env": st.dictionaries(texts, texts, max_size=2),
        "cwd": st.none() | texts,
        "timeout_seconds": st.none() | positive,
        "idempotent": st.booleans(),
        "approval": st.sampled_from(["none", "required"]),
    },
)
secrets = st.fixed_dictionaries(
    {"source": names.map(lambda name: f"env:{name}")},
    optional={
        "max_age_days": st.none() | positive,
        "last_rotated": st.none() | st.dates(min_value=date(2000, 1, 1)),
    },
)
settings_values = st.fixed_dictionaries(
    {},
    optional={
        "timezone": st.sampled_from(["UTC", "Europe/Paris", "America/Los_Angeles"]),
        "schedulers": st.fixed_dictionaries(
            {
                "prefect_deployments_enabled": st.booleans(),
                "on_outage": st.dictionaries(engines, st.sampled_from(["reject", "hold"])),
                "fallback": st.dictionaries(engines, engines),
                "misfire_grace_seconds": positive,
            }
        ),
        "internal_tasks": st.fixed_dictionaries(
            {"health_check_seconds": periods, "git_polling_seconds": periods}
        ),
        "limits": st.fixed_dictionaries(
            {
                "min_interval_seconds": positive,
                "max_jobs": counts,
                "default_expiry_days": st.none() | positive,
            }
        ),
        "tasks": st.fixed_dictionaries({"commands": st.dictionaries(names, commands, max_size=3)}),
        "secrets": st.dictionaries(names, secrets, max_size=2),
    },
)


@given(settings_values)
def test_settings_survive_the_way_through_yaml(values: dict[str, Any]) -> None:
    """YAML → Settings → YAML → Settings changes nothing."""
    first = Settings.model_validate(values)

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "mahavishnu.yaml")
        config.write_text(yaml.safe_dump(first.model_dump(mode="json")), encoding="utf-8")
        second = load_settings(config=config, data_dir=Path(folder, "data"), environ={})

    assert second.model_copy(update={"data_dir": None}) == first
