"""Bad settings stop the start with the file, the line, the key and the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "misspelt key": (
        "limits:\n  max_job: 3",
        ":2: limits.max_job is not a setting. Did you mean 'max_jobs'?",
    ),
    "unknown section": ("limitz: {}", ":1: limitz is not a setting. Did you mean 'limits'?"),
    "key unlike any": (
        "\nprefect:\n  xyzzy: 1",
        ":3: prefect.xyzzy is not a setting. Known here: api_key, ui, work_pool.",
    ),
    "text for a number": (
        'limits:\n  max_jobs: "3"',
        ':2: limits.max_jobs is "3", a whole number is needed. Give a whole number.',
    ),
    "boolean for a number": (
        "limits: {max_jobs: true}",
        ":1: limits.max_jobs is true, a whole number is needed. Give a whole number.",
    ),
    "broken number": (
        "limits: {max_jobs: 1.5}",
        ":1: limits.max_jobs is 1.5, a whole number is needed. Give a whole number.",
    ),
    "number out of range": (
        "limits: {max_overlap: 0}",
        (
            ":1: limits.max_overlap is 0, which is out of its range. "
            "Needed: greater than or equal to 1."
        ),
    ),
    "no finite number": (
        "limits: {min_interval_seconds: .inf}",
        (
            ":1: limits.min_interval_seconds is Infinity, a finite number is needed. "
            "Give a finite number."
        ),
    ),
    "number for a text": (
        "tasks:\n  commands:\n    nap:\n      argv:\n        - /bin/sleep\n        - 5",
        ":6: tasks.commands.nap.argv[1] is 5, text is needed. Put it in quotes.",
    ),
    "value not among several": (
        "schedulers:\n  default_queue_provider: redi",
        (
            ':2: schedulers.default_queue_provider is "redi", which is not among its values. '
            "Did you mean 'redis'?"
        ),
    ),
    "unknown engine as key": (
        "schedulers: {fallback: {cron: oneiric}}",
        (
            ":1: schedulers.fallback.cron has a name that is not allowed. "
            "Choose 'apscheduler', 'oneiric' or 'prefect'."
        ),
    ),
    "name with a blank": (
        "tasks: {commands: {a b: {argv: [/bin/true]}}}",
        (
            ":1: tasks.commands.a b has a name that is not allowed. "
            "Use letters, digits, '.', '_' and '-', at most 64, a letter or digit first."
        ),
    ),
    "missing key": (
        "tasks:\n  commands:\n    nap: {description: x}",
        ":3: tasks.commands.nap.argv is missing. Add 'argv: ...' there.",
    ),
    "mapping for a list": (
        "tasks: {modules: {a: b}}",
        ":1: tasks.modules holds keys, a list is needed. Give a list.",
    ),
    "text for a section": (
        "limits: none",
        ':1: limits is "none", keys with values is needed. Give keys with values.',
    ),
    "address of another kind": (
        "schedulers: {prefect_server_url: 'ftp://me:word@x'}",
        (
            ':1: schedulers.prefect_server_url is "ftp://...@x", which is not of its form. '
            "Begin with http:// or https://."
        ),
    ),
    "no dotted path": (
        "flows: {sweep: ./flows.py}",
        (
            ':1: flows.sweep is "./flows.py", which is not of its form. '
            "Write a dotted path like my_package.tasks."
        ),
    ),
    "secret from nowhere": (
        "secrets: {t: {source: GITHUB_TOKEN}}",
        (
            ':1: secrets.t.source is "GITHUB_TOKEN", which is not of its form. '
            "Write env:NAME, file:PATH or keyring:NAME."
        ),
    ),
    "unknown zone": (
        "timezone: Europe/Pari",
        (
            ':1: timezone is "Europe/Pari", which no time zone is called. '
            "Did you mean 'Europe/Paris'?"
        ),
    ),
    "zone that is a path": (
        "timezone: /etc/passwd",
        (
            ':1: timezone is "/etc/passwd", which no time zone is called. '
            "Give an IANA name like Europe/Paris."
        ),
    ),
    "unsound workflow": (
        "workflows:\n  w:\n    nodes:\n      - {id: a, task: t, depends_on: [b]}",
        (":3: workflows.w.nodes: node 'a' depends on unknown node 'b'. Correct the nodes."),
    ),
    "flow and workflow of one name": (
        "workflows: {w: {nodes: [{id: a, task: t}]}}\nflows:\n  w: a.b",
        (":3: flows.w: a workflow has this name too. Rename the flow or the workflow 'w'."),
    ),
    "key twice": (
        "limits:\n  max_jobs: 1\n  max_jobs: 2",
        ":3: limits.max_jobs is set twice, first at {file}:2. Remove one.",
    ),
    "merge key": (
        "a: &a {x: 1}\nlimits:\n  <<: *a",
        ":3: merge keys are not read. Write the keys out.",
    ),
    "anchor inside itself": (
        "flows: &a\n  x: *a",
        ":1: an anchor is used inside itself. Write the values out.",
    ),
    "python object": (
        "flows: !!python/object/apply:os.system [echo]",
        (
            ":1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed. "
            "Remove the tag."
        ),
    ),
    "no calendar date": (
        "secrets: {t: {last_rotated: 2026-13-45}}",
        ":1: '2026-13-45' looks like a number or date and is none. Correct it or put it in quotes.",
    ),
    "key that is no text": ("? [a]\n: b", ":1: a key is no text. Write `name: value`."),
    "list for a file": ("- a", ":1: holds no keys. Begin with `timezone: UTC`."),
    "tab": (
        "limits:\n\tmax_jobs: 1",
        ":2: cannot be read: found character that cannot start any token. Correct the YAML there.",
    ),
}


def the_refusal(path: Path) -> str:
    """Say why a config file is refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config=path, data_dir=path.parent / "data", environ={})
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_setting_is_named_with_file_line_key_value_and_mend(
    name: str, tmp_path: Path
) -> None:
    """The text alone is enough to find and correct the setting."""
    text, expected = BAD[name]
    path = tmp_path / "mahavishnu.yaml"
    path.write_text(text, encoding="utf-8")

    assert the_refusal(path) == f"{path}{expected.replace('{file}', str(path))}"


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to start the server once per mistake."""
    path = tmp_path / "mahavishnu.yaml"
    path.write_text("limits: {max_jobs: 0}\nretention: {runs_days: 0}\n", encoding="utf-8")

    lines = the_refusal(path).splitlines()

    assert [line.split(" is ")[0] for line in lines] == [
        f"{path}:1: limits.max_jobs",
        f"{path}:2: retention.runs_days",
    ]


def test_a_bad_value_of_local_yaml_is_shown_there(tmp_path: Path) -> None:
    """The place is the file that gave the value, not the one it was laid over."""
    path = tmp_path / "mahavishnu.yaml"
    path.write_text("limits: {max_jobs: 5}", encoding="utf-8")
    (tmp_path / "local.yaml").write_text("\nlimits:\n  max_jobs: x", encoding="utf-8")

    assert the_refusal(path).startswith(f"{tmp_path / 'local.yaml'}:3: limits.max_jobs is")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"MAHAVISHNU_LIMITS__MAX_JOBS": "many"},
            (
                'environment variable MAHAVISHNU_LIMITS__MAX_JOBS: limits.max_jobs is "many", '
                "a whole number is needed. Give a whole number."
            ),
        ),
        (
            {"MAHAVISHNU_LIMITS__MAX_JOB": "1"},
            (
                "environment variable MAHAVISHNU_LIMITS__MAX_JOB: limits.max_job is not a setting. "
                "Did you mean 'max_jobs'?"
            ),
        ),
        (
            {"MAHAVISHNU_LIMITS__MAX_JOBS": "[1"},
            (
                "environment variable MAHAVISHNU_LIMITS__MAX_JOBS: cannot be read: did not find "
                "expected ',' or ']'. Correct the YAML there."
            ),
        ),
        (
            {"MAHAVISHNU_LIMITS__MAX_JOBS": "1", "MAHAVISHNU_LIMITS__MAX_JOBS__X": "1"},
            (
                "environment variable MAHAVISHNU_LIMITS__MAX_JOBS__X: limits.max_jobs.x is set by "
                "another variable too. Remove one of the variables."
            ),
        ),
    ],
)
def test_a_bad_variable_is_named(environ: dict[str, str], expected: str, tmp_path: Path) -> None:
    """A value of the environment is shown by its variable."""
    config = tmp_path / "mahavishnu.yaml"
    config.touch()

    with pytest.raises(SettingsError) as caught:
        load_settings(config=config, data_dir=tmp_path / "data", environ=environ)

    assert str(caught.value) == expected


def test_a_bad_value_of_the_command_line_is_named(tmp_path: Path) -> None:
    """A value of the command line is shown by its key."""
    with pytest.raises(SettingsError, match=r"^command line: limits\.max_jobs is 0, "):
        load_settings(environ={}, data_dir=tmp_path, overrides={"limits": {"max_jobs": 0}})


@pytest.mark.parametrize(
    "text",
    [
        "http: {token: [word]}",
        "queues: {signing_key: {word: word}}",
        "prefect: {api_key: 5550199}",
        "ledger_url: 5550199",
        "tasks: {commands: {c: {argv: [a], env: {KEY: 5550199}}}}",
        "schedulers: {prefect_server_url: 'ssh://me:5550199@x'}",
    ],
)
def test_a_secret_is_never_shown(text: str, tmp_path: Path) -> None:
    """An error about a secret names its key only."""
    path = tmp_path / "mahavishnu.yaml"
    path.write_text(text, encoding="utf-8")

    message = the_refusal(path)

    assert "word" not in message
    assert "5550199" not in message


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    """Another encoding is named as what it is."""
    path = tmp_path / "mahavishnu.yaml"
    path.write_bytes(b"timezone: UTC\nflows: {b: \xff}\n")

    assert the_refusal(path) == f"{path}:2: is not UTF-8 text. Save it as UTF-8."


def test_a_forbidden_character_is_refused(tmp_path: Path) -> None:
    """Control characters have no place in settings."""
    path = tmp_path / "mahavishnu.yaml"
    path.write_bytes(b"timezone: U\x07TC\n")

    assert "cannot be read: " in the_refusal(path)
