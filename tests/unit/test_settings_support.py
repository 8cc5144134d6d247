"""What is set and has no effect in this version is told, never ignored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mahavishnu_sched_mcp
from mahavishnu_sched_mcp.settings import Settings, load_settings, unsupported
from mahavishnu_sched_mcp.settings.idle import IDLE

PACKAGE = Path(mahavishnu_sched_mcp.__file__).parent
SECTIONS = (
    "schedulers", "dead_letters", "notifications", "internal_tasks", "limits", "retention", "http",
)  # fmt: skip


def is_read(name: str) -> bool:
    """Whether some module beside the settings' own reads a key of this name."""
    return any(
        re.search(rf"\.{name}\b", path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
        if PACKAGE / "settings" not in path.parents
    )


def test_the_defaults_are_all_supported() -> None:
    """Who sets nothing is told nothing."""
    assert unsupported(Settings()) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ledger_url: 'postgresql://db/x'", "ledger_url"),
        ("schedulers: {default_queue_provider: redis}", "schedulers.default_queue_provider"),
        ("schedulers: {on_outage: {prefect: hold}}", "schedulers.on_outage.prefect"),
        ("schedulers: {fallback: {prefect: oneiric}}", "schedulers.fallback"),
        ("queues: {signing_key: abc}", "queues.signing_key"),
        ("queues: {redis: {url: 'redis://elsewhere:6379/0'}}", "queues.redis"),
        ("queues: {kafka: {bootstrap_servers: 'a:9092'}}", "queues.kafka"),
        ("git_polling: {repositories: [{url: u, workflow: w}]}", "git_polling.repositories"),
        ("dead_letters: {keep_days: 3}", "dead_letters.keep_days"),
        ("notifications: {webhooks: [{url: 'https://a.example'}]}", "notifications.webhooks"),
        ("internal_tasks: {git_polling_seconds: 60}", "internal_tasks.git_polling_seconds"),
        ("internal_tasks: {dlq_processing_seconds: null}", "internal_tasks.dlq_processing_seconds"),
        (
            "tasks: {commands: {c: {argv: [/bin/true], approval: required}}}",
            "tasks.commands.c.approval",
        ),
        ("tasks: {http: {ping: {url: 'https://a.example'}}}", "tasks.http"),
        ("secrets: {t: {source: 'env:T'}}", "secrets"),
    ],
)
def test_a_setting_without_effect_is_named(text: str, key: str, tmp_path: Path) -> None:
    """One sentence names the key."""
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(text, encoding="utf-8")

    (sentence,) = unsupported(load_settings(config=config, data_dir=tmp_path / "d", environ={}))

    assert sentence.startswith(f"{key} has no effect in this version")
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "schedulers: {on_outage: {prefect: reject}}",
        "queues: {sqlite: {concurrency: 0}}",
        "internal_tasks: {health_check_seconds: null, metrics_collection_seconds: 5}",
        "tasks: {commands: {c: {argv: [/bin/true]}}}",
        "limits: {max_jobs: 3}",
        "internal_tasks: {cache_cleanup_seconds: null}",
        "retention: {runs_days: 1, runs_per_job: 5}",
        "http: {token: abc, allowed_hosts: [a.example], allowed_origins: ['https://a.example']}",
    ],
)
def test_a_setting_with_effect_is_not_named(text: str, tmp_path: Path) -> None:
    """A warning about what works would teach people to ignore warnings."""
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(text, encoding="utf-8")

    settings = load_settings(config=config, data_dir=tmp_path / "d", environ={})

    assert unsupported(settings) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_key_is_read_by_the_product_or_named_as_without_effect(section: str) -> None:
    """No key is ignored silently, and none that works is warned about."""
    told_apart = {"schedulers.default_queue_provider", "schedulers.on_outage"}
    keys = {
        f"{section}.{name}": is_read(name)
        for name in Settings.model_fields[section].annotation.model_fields  # type: ignore[union-attr]  # all sections are models
        if f"{section}.{name}" not in told_apart
    }

    assert {key for key, found in keys.items() if not found} == keys.keys() & IDLE.keys()
