"""What is wrong with tasks and workflows stops the start with file, line, key and mend."""

from __future__ import annotations

import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.composition import build_catalog, build_registry
from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = """\
tasks:
  commands:
    say:
      argv: [/bin/echo, "{n}", "{word}"]
      params:
        n: {type: integer}
        word: {type: string}
workflows:
  a:
    nodes:
      - id: x
        task: say
        payload:
"""

BAD = {
    "unknown task": (
        (
            "workflows:\n  a:\n    nodes:\n      - {id: w, task: remind}\n      - id: x\n"
            "        task: remnd\n"
        ),
        (
            ":6: workflows.a.nodes[1].task is \"remnd\", an unknown task (node 'x'). "
            "Did you mean 'remind'?"
        ),
    ),
    "task unlike any": (
        "workflows: {a: {nodes: [{id: x, task: qqqqqq}]}}",
        ":1: workflows.a.nodes[0].task is \"qqqqqq\", an unknown task (node 'x'). Known here: ",
    ),
    "unknown key of a payload": (
        COMMAND + "          wrd: hello\n",
        (
            ":14: workflows.a.nodes[0].payload.wrd is no parameter of task 'say' (node 'x'). "
            "Did you mean 'word'? Its parameters: n, word."
        ),
    ),
    "wrong type in a payload": (
        COMMAND + "          word: hello\n          n: many\n",
        (
            ":15: workflows.a.nodes[0].payload.n is \"many\", which task 'say' refuses (node 'x'). "
            "Its type has to be integer."
        ),
    ),
    "value no argument carries": (
        COMMAND + "          word: --help\n",
        ":14: workflows.a.nodes[0].payload.word is \"--help\", which task 'say' refuses",
    ),
    "relative program": (
        "tasks:\n  commands:\n    c:\n      description: d\n      argv: [echo]\n",
        ":5: tasks.commands.c.argv starts with 'echo', which is not an absolute path. Write",
    ),
    "missing program": (
        "tasks:\n  commands:\n    ok: {argv: [/bin/echo]}\n    c: {argv: [/no/such]}\n",
        ":4: tasks.commands.c.argv starts with '/no/such', which does not exist. Install",
    ),
    "undeclared parameter": (
        "tasks:\n  commands:\n    c:\n      argv: [/bin/echo, '{x}']\n",
        ":4: tasks.commands.c.argv uses '{x}', but tasks.commands.c.params does not declare it.",
    ),
    "unsound schema": (
        (
            "tasks:\n  commands:\n    c:\n      argv: [/bin/echo, '{x}']\n      params:\n"
            "        x: {type: strange}\n"
        ),
        ":6: tasks.commands.c.params.x is not a JSON Schema",
    ),
    "unsound default": (
        (
            "tasks:\n  commands:\n    c:\n      argv: [/bin/echo, '{x}']\n      params:\n"
            "        x: {type: integer, default: many}\n"
        ),
        ":6: tasks.commands.c.params.x.default does not match its own schema",
    ),
    "relative folder": (
        "tasks:\n  commands:\n    c:\n      argv: [/bin/echo]\n      cwd: here\n",
        ":5: tasks.commands.c.cwd is 'here', which is not an absolute path.",
    ),
    "taken name": (
        "tasks:\n  commands:\n    remind:\n      argv: [/bin/echo]\n",
        ":3: tasks.commands.remind: Two tasks are named 'remind'",
    ),
    "unimportable module": (
        "tasks:\n  modules:\n    - no_such_module\n",
        ':3: tasks.modules[0] is "no_such_module", whose import failed: ModuleNotFoundError',
    ),
    "module without a task": (
        "tasks:\n  modules: [json]\n",
        ':2: tasks.modules[0] is "json", which has no function marked with @task. Mark one',
    ),
}


def refusal(settings: Settings) -> str:
    """Say why the catalog of these settings cannot be built."""
    with pytest.raises(SettingsError) as caught:
        build_catalog(settings, build_registry(settings))
    return str(caught.value)


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_what_the_catalog_refuses_is_said_with_file_line_and_key(
    text: str, said: str, tmp_path: Path
) -> None:
    """As for every other setting: where it stands, what it is, why, and how to mend it."""
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(text, encoding="utf-8")

    settings = load_settings(config=config, data_dir=tmp_path / "data", environ={})

    assert refusal(settings).startswith(f"{config}{said}")


def test_a_task_that_cannot_be_described_is_said_with_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text about the function is preceded by the line that lists its module."""
    (tmp_path / "loose_tasks.py").write_text(
        dedent("""\
            from mahavishnu_sched_mcp.tasks.registry import task

            @task
            def gather(*names: str) -> None: ...
            """),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = tmp_path / "mahavishnu.yaml"
    config.write_text("tasks:\n  modules:\n    - loose_tasks\n", encoding="utf-8")

    text = refusal(load_settings(config=config, data_dir=tmp_path / "data", environ={}))
    sys.modules.pop("loose_tasks")

    assert text.startswith(f"{config}:3: tasks.modules[0]: Task 'gather' takes *names")


def test_settings_without_a_file_name_the_key_alone() -> None:
    """Settings made in Python have no line."""
    settings = Settings.model_validate(
        {"workflows": {"a": {"nodes": [{"id": "x", "task": "remnd"}]}}}
    )

    assert refusal(settings).startswith('workflows.a.nodes[0].task is "remnd", an unknown task')


def test_all_wrong_nodes_are_named_at_once() -> None:
    """The operator mends them in one go."""
    nodes = [{"id": "x", "task": "remnd"}, {"id": "y", "task": "remind", "payload": {"m": 1}}]
    settings = Settings.model_validate({"workflows": {"a": {"nodes": nodes}}})

    first, second = refusal(settings).splitlines()

    assert "(node 'x')" in first
    assert second.startswith("workflows.a.nodes[1].payload.m is no parameter of task 'remind'")


def test_a_payload_may_leave_what_the_context_gives(tmp_path: Path) -> None:
    """A needed param that is missing from the payload is no fault of the workflow."""
    config = tmp_path / "mahavishnu.yaml"
    config.write_text(COMMAND + "          n: 3\n", encoding="utf-8")
    settings = load_settings(config=config, data_dir=tmp_path / "data", environ={})

    catalog = build_catalog(settings, build_registry(settings))

    assert catalog.workflows["a"].nodes[0].payload == {"n": 3}


def test_a_secret_of_a_payload_is_not_shown() -> None:
    """An error about a secret names its key only."""
    nodes = [{"id": "x", "task": "remind", "payload": {"token": "5550199"}}]
    settings = Settings.model_validate({"workflows": {"a": {"nodes": nodes}}})

    assert "5550199" not in refusal(settings)
