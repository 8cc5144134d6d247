"""Where settings come from, and which of two wins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mahavishnu_sched_mcp.domain.workflow import Workflow
from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings import Settings, load_settings, prepare_data_dir


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def a_config(folder: Path, text: str, *, name: str = "mahavishnu.yaml") -> Path:
    """Write a config file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_without_any_source_the_defaults_hold(home: Path) -> None:
    """Nothing has to be configured; the data dir is the platform's."""
    settings = load_settings(environ={})

    assert settings == Settings(data_dir=home / "data" / "mahavishnu-sched-mcp")


def test_each_source_wins_over_the_one_before(home: Path) -> None:
    """Defaults < config file < local.yaml < environment < command line."""
    config = a_config(
        home,
        "limits: {max_jobs: 1, max_overlap: 1, max_queued_per_job: 1, max_concurrent_runs: 1}",
    )
    a_config(
        home,
        "limits: {max_overlap: 2, max_queued_per_job: 2, max_concurrent_runs: 2}",
        name="local.yaml",
    )
    environ = {
        "MAHAVISHNU_LIMITS__MAX_QUEUED_PER_JOB": "3",
        "MAHAVISHNU_LIMITS__MAX_CONCURRENT_RUNS": "3",
    }

    limits = load_settings(
        config=config, environ=environ, overrides={"limits": {"max_concurrent_runs": 4}}
    ).limits

    found = (
        limits.max_jobs,
        limits.max_overlap,
        limits.max_queued_per_job,
        limits.max_concurrent_runs,
        limits.max_pending_per_queue,
    )
    assert found == (1, 2, 3, 4, 10_000)


def test_a_config_file_in_the_current_folder_is_not_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned repository must not be able to add commands."""
    clone = home / "clone"
    for name in ("mahavishnu.yaml", "local.yaml", "settings/mahavishnu.yaml"):
        a_config((clone / name).parent, "timezone: Europe/Paris", name=Path(name).name)
    monkeypatch.chdir(clone)

    assert load_settings(environ={}).timezone == "UTC"


def test_the_users_own_config_folder_is_read(home: Path) -> None:
    """Without --config the user's own config folder is looked at."""
    a_config(home / "config" / "mahavishnu-sched-mcp", "timezone: Europe/Paris")

    assert load_settings(environ={}).timezone == "Europe/Paris"


def test_the_environment_names_the_config_file(home: Path) -> None:
    """MAHAVISHNU_CONFIG stands for --config, which wins over it."""
    first = a_config(home / "a", "timezone: Europe/Paris")
    second = a_config(home / "b", "timezone: Asia/Tokyo")
    environ = {"MAHAVISHNU_CONFIG": str(first)}

    assert load_settings(environ=environ).timezone == "Europe/Paris"
    assert load_settings(config=second, environ=environ).timezone == "Asia/Tokyo"


def test_a_config_file_that_was_named_has_to_exist(home: Path) -> None:
    """A misspelt --config is refused, not replaced by the defaults."""
    with pytest.raises(SettingsError, match=r"nowhere\.yaml' does not exist\. Correct --config"):
        load_settings(config=home / "nowhere.yaml", environ={})


def test_only_names_with_two_underscores_and_three_others_are_settings() -> None:
    """Other variables with our prefix, such as those a command gets, are ignored."""
    environ = {
        "MAHAVISHNU_JOB_ID": "apscheduler:x",
        "MAHAVISHNU_LEDGER_URL": "elsewhere",
        "MAHAVISHNU_TIMEZONE": "Asia/Tokyo",
        "SCHEDULERS__MISFIRE_GRACE_SECONDS": "1",
    }

    settings = load_settings(environ=environ)

    assert (settings.timezone, settings.ledger_url) == ("Asia/Tokyo", None)
    assert settings.schedulers.misfire_grace_seconds == 60


def test_environment_values_are_yaml_where_they_are_no_text() -> None:
    """Numbers, booleans, lists and mappings are read as YAML, texts as they stand."""
    settings = load_settings(
        environ={
            "MAHAVISHNU_HTTP__TOKEN": "1234",
            "MAHAVISHNU_HTTP__ALLOWED_HOSTS": "[a.example, b.example]",
            "MAHAVISHNU_SCHEDULERS__FALLBACK": "{prefect: oneiric}",
            "MAHAVISHNU_SCHEDULERS__PREFECT_DEPLOYMENTS_ENABLED": "false",
            "MAHAVISHNU_INTERNAL_TASKS__HEALTH_CHECK_SECONDS": "null",
            "MAHAVISHNU_PREFECT__WORK_POOL": "null",
            "MAHAVISHNU_FLOWS__SWEEP": "my_package.flows.sweep",
        }
    )

    assert settings.http.token is not None
    assert settings.http.token.get_secret_value() == "1234"
    assert settings.http.allowed_hosts == ("a.example", "b.example")
    assert settings.schedulers.fallback == {"prefect": "oneiric"}
    assert settings.schedulers.prefect_deployments_enabled is False
    assert settings.internal_tasks.health_check_seconds is None
    assert settings.prefect.work_pool is None
    assert settings.flows == {"sweep": "my_package.flows.sweep"}


def test_a_section_without_keys_changes_nothing(home: Path) -> None:
    """All keys of a section may be commented out."""
    config = a_config(home, "limits:\n  # max_jobs: 3\ntasks:\n  modules:\n  commands:\nflows:\n")

    assert load_settings(config=config, environ={}).limits == Settings().limits


def test_a_key_that_reads_as_a_boolean_in_yaml_stays_a_key(home: Path) -> None:
    """YAML 1.1 reads a bare `on` as true; a webhook's `on` still means its events."""
    config = a_config(
        home, "notifications:\n  webhooks:\n    - {url: 'https://a.example/', on: [missed]}"
    )

    (webhook,) = load_settings(config=config, environ={}).notifications.webhooks

    assert webhook.on == ("missed",)


def test_workflows_become_definitions_under_their_names(home: Path) -> None:
    """A workflow of the YAML is the same value as one made in Python."""
    node = "{id: a, task: t, payload: {x: 1}, retry: {attempts: 3, base_delay_seconds: 1}}"
    config = a_config(home, f"workflows: {{w: {{description: d, nodes: [{node}]}}}}")

    found = load_settings(config=config, environ={}).workflow_definitions

    node_values = {
        "id": "a",
        "task": "t",
        "payload": {"x": 1},
        "retry": {"attempts": 3, "base_delay_seconds": 1},
    }
    assert found == {
        "w": Workflow.model_validate({"name": "w", "description": "d", "nodes": [node_values]})
    }


def test_a_command_is_read_with_all_its_keys(home: Path) -> None:
    """The command of the contract's page can be declared."""
    config = a_config(
        home,
        """\
tasks:
  commands:
    backup_repo:
      description: "Bundle one repository"
      argv: ["/usr/bin/git", "-C", "{repo}", "bundle", "create", "{out}", "--all"]
      params:
        repo: {type: string, pattern: "^/srv/repos/[a-z0-9_-]+$"}
        out:  {type: string, pattern: "^/srv/backups/[a-z0-9_.-]+$"}
      env: {GIT_TERMINAL_PROMPT: "0"}
      cwd: /srv
      timeout_seconds: 600
      idempotent: true
      approval: none
""",
    )

    command = load_settings(config=config, environ={}).tasks.commands["backup_repo"]

    assert command.argv[2:4] == ("{repo}", "bundle")
    assert command.params["out"]["type"] == "string"
    assert (command.env, command.cwd) == ({"GIT_TERMINAL_PROMPT": "0"}, "/srv")
    assert (command.timeout_seconds, command.idempotent) == (600, True)


def test_the_data_dir_is_made_for_its_owner_alone(home: Path) -> None:
    """Nobody else may look into the data dir."""
    settings = load_settings(data_dir=home / "new" / "data", environ={})

    assert settings.data_path == home / "new" / "data"
    assert settings.data_path.stat().st_mode & 0o777 == 0o700


def test_the_command_line_names_the_data_dir_before_all_others(home: Path) -> None:
    """--data-dir < MAHAVISHNU_DATA_DIR < the file's data_dir, seen from the last."""
    config = a_config(home / "conf", "data_dir: beside")
    environ = {"MAHAVISHNU_DATA_DIR": str(home / "from-environment")}

    by_file = load_settings(config=config, environ={})
    by_environment = load_settings(config=config, environ=environ)
    by_command_line = load_settings(config=config, data_dir=home / "given", environ=environ)

    found = [s.data_path for s in (by_file, by_environment, by_command_line)]
    assert found == [home / "conf" / "beside", home / "from-environment", home / "given"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_data_dir_that_others_may_write_to_is_refused(home: Path, mode: int) -> None:
    """Whoever can write to the data dir can make the server run things."""
    folder = home / "open"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(SettingsError, match=r"is writable by others \(mode 07\d\d\)\. Run `chmod"):
        prepare_data_dir(folder)


def test_a_data_dir_that_is_a_symbolic_link_is_refused(home: Path) -> None:
    """A link may be turned elsewhere after the check."""
    (home / "real").mkdir()
    (home / "link").symlink_to(home / "real")

    with pytest.raises(SettingsError, match="is a symbolic link"):
        prepare_data_dir(home / "link")


def test_a_data_dir_that_is_a_file_is_refused(home: Path) -> None:
    """The refusal says why and how to choose another."""
    (home / "file").write_text("", encoding="utf-8")

    with pytest.raises(SettingsError, match=r"cannot be used: .*--data-dir"):
        prepare_data_dir(home / "file")


def test_reading_settings_imports_no_engine() -> None:
    """The start of the server must not pay for engines that nobody uses."""
    code = (
        "import sys, mahavishnu_sched_mcp.settings as s; s.load_settings(environ={});"
        "heavy = {'prefect', 'oneiric', 'fastmcp', 'apscheduler', 'mcp'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
