"""Commands: what the operator may declare, and which arguments can get in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_sched_mcp.errors import InvalidArgumentsError, SettingsError
from mahavishnu_sched_mcp.tasks.command import Command, CommandSpec
from mahavishnu_sched_mcp.tasks.parameters import check_params

from .fakes import a_run, an_executable

ECHO = "/bin/echo"
TEXT = {"type": "string"}


def a_command(*argv: str, **fields: Any) -> Command:
    """Make a checked command named `sync`."""
    return Command.of("sync", spec=CommandSpec(argv=argv, **fields))


def accept(command: Command, **params: object) -> list[str]:
    """Check arguments as the registry does, and make the argument vector."""
    check_params(params, schema=command.entry.params_schema, task="sync")
    command.check_values(params)
    return command.argv(params)


def test_a_parameter_lands_inside_one_element() -> None:
    """The argument vector has as many elements as the operator wrote."""
    shapes = {"folder": TEXT, "name": TEXT, "n": {"type": "integer"}, "flag": {"type": "boolean"}}
    command = a_command(ECHO, "--out={folder}/{name}", "{n}", "{flag}", params=shapes)

    argv = accept(command, folder="/srv", name="a b; rm -rf /", n=3, flag=True)

    assert argv == [ECHO, "--out=/srv/a b; rm -rf /", "3", "true"]


@settings(deadline=None, max_examples=60)  # a busy machine is no failure
@given(st.text())
def test_no_text_becomes_two_arguments_or_an_option(text: str) -> None:
    """Whatever an agent gives is refused, or is exactly one element that is no option."""
    command = a_command(ECHO, "{what}", params={"what": TEXT})

    try:
        argv = accept(command, what=text)
    except InvalidArgumentsError as refusal:
        assert "'what'" in refusal.message  # noqa: PT017 - both ends are legal
    else:
        assert argv == [ECHO, text]
        assert not text.startswith("-")


def test_a_value_that_looks_like_a_placeholder_stays_text() -> None:
    """Values are not expanded again."""
    command = a_command(ECHO, "{a}{b}", params={"a": TEXT, "b": TEXT})

    assert accept(command, a="{b}", b="$(id)`id`") == [ECHO, "{b}$(id)`id`"]


def test_double_braces_are_the_text_itself() -> None:
    """A program of braces can be written down: `{{print}}` is `{print}`."""
    assert accept(a_command("/usr/bin/awk", "{{print}}", "{}")) == ["/usr/bin/awk", "{print}", "{}"]


def test_a_default_makes_a_parameter_optional() -> None:
    """What the operator gives a default need not be given."""
    command = a_command(ECHO, "{n}", params={"n": {"type": "integer", "default": 7}})

    assert accept(command) == [ECHO, "7"]
    assert accept(command, n=8) == [ECHO, "8"]


@pytest.mark.parametrize(
    "value",
    [
        "-rf",
        "--upload-pack=x",
        "a\nb",
        "a\0b",
        "a\x1b[31m",
        "a\x85b",
        "x" * 4097,
        "e\u0301",
        "\ud800",
    ],
    ids=["dash", "option", "newline", "nul", "escape", "c1", "long", "not-nfc", "surrogate"],
)
def test_texts_no_argument_should_carry_are_refused(value: str) -> None:
    """Leading dashes, control characters, over 4 KiB, and text that is not composed."""
    command = a_command(ECHO, "{what}", params={"what": {"type": "string", "pattern": "^[^|]*$"}})

    with pytest.raises(InvalidArgumentsError, match="'what' of task 'sync'"):
        accept(command, what=value)


@pytest.mark.parametrize("value", ["/etc/passwd", "/srv/repos/../x", "/srv/repos/a/b"])
def test_the_pattern_of_a_parameter_is_kept(value: str) -> None:
    """The operator's pattern decides, in the contract's own example."""
    shape = {"type": "string", "pattern": "^/srv/repos/[a-z0-9_-]+$"}
    command = a_command(ECHO, "{repo}", params={"repo": shape})

    with pytest.raises(InvalidArgumentsError, match="has to match"):
        accept(command, repo=value)

    assert accept(command, repo="/srv/repos/a-b") == [ECHO, "/srv/repos/a-b"]


@pytest.mark.parametrize(
    ("shape", "value", "is_admitted"),
    [
        ({"type": "string", "enum": ["-v", "-q"]}, "-v", True),
        ({"const": "--fast"}, "--fast", True),
        ({"type": "string", "pattern": "^-[vq]$"}, "-v", True),
        ({"type": "string", "pattern": "^[a-z-]+$"}, "-v", False),
        ({"type": "integer"}, -5, False),
        ({"type": "integer", "minimum": -10}, -5, True),
        ({"type": "number", "minimum": -1}, float("inf"), False),
    ],
)
def test_a_leading_dash_needs_the_operators_explicit_word(
    shape: dict[str, Any], value: object, *, is_admitted: bool
) -> None:
    """A character class that happens to contain '-' is not meant to admit an option."""
    command = a_command(ECHO, "{what}", params={"what": shape})

    if is_admitted:
        assert accept(command, what=value) == [ECHO, str(value)]
    else:
        with pytest.raises(InvalidArgumentsError):
            accept(command, what=value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"argv": ("echo",)}, "not an absolute path"),
        ({"argv": ("/nowhere/echo",)}, "does not exist"),
        ({"argv": ("/etc",)}, "not an executable file"),
        ({"argv": ("/etc/passwd",)}, "not an executable file"),
        ({"argv": ("/bin/{what}",), "params": {"what": TEXT}}, "executable from a parameter"),
        ({"argv": (ECHO, "{waht}"), "params": {"what": TEXT}}, "Did you mean 'what'?"),
        ({"argv": (ECHO,), "params": {"what": TEXT}}, "has no '{what}'"),
        ({"argv": (ECHO, "{a}"), "params": {"a": {"type": "array"}}}, "one argument cannot carry"),
        ({"argv": (ECHO, "{a}"), "params": {"a": {}}}, "one argument cannot carry"),
        ({"argv": (ECHO, "{a}"), "params": {"a": {"type": "text"}}}, "is not a JSON Schema"),
        (
            {"argv": (ECHO, "{a}"), "params": {"a": {"type": "string", "default": 3}}},
            "default does not match",
        ),
        (
            {"argv": (ECHO, "{a}"), "params": {"a": {"type": "string", "default": "-x"}}},
            "default is refused",
        ),
        ({"argv": (ECHO,), "cwd": "here"}, "not an absolute path"),
        ({"argv": (ECHO,), "env": {"MAHAVISHNU_RUN_ID": "x"}}, "the server itself sets"),
        ({"argv": (ECHO,), "env": {"A=B": "x"}}, "no environment can carry"),
    ],
)
def test_an_unsound_command_stops_the_start(fields: dict[str, Any], said: str) -> None:
    """The text names the key, and the hint the mend."""
    with pytest.raises(SettingsError) as refusal:
        Command.of("sync", spec=CommandSpec.model_validate(fields))

    assert said in str(refusal.value)
    assert "tasks.commands.sync" in refusal.value.message
    assert refusal.value.hint


def test_an_executable_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """Whoever can replace the program could run anything as the operator; links are followed."""
    script = an_executable(tmp_path / "script", "#!/bin/sh\n")
    link = tmp_path / "link"
    link.symlink_to(script)
    a_command(str(link))
    os.chmod(script, 0o775)  # noqa: PTH101, S103 - what the product refuses

    with pytest.raises(SettingsError, match="others than its owner") as refusal:
        a_command(str(link))

    assert "chmod go-w" in refusal.value.hint


def test_the_catalog_shows_the_schema_and_not_the_argument_vector() -> None:
    """An agent sees what it may give, not what is run."""
    spec = {"params": {"what": TEXT}, "idempotent": True, "approval": "required"}
    entry = a_command(ECHO, "secret-flag", "{what}", **spec).entry

    assert entry.params_schema["required"] == ["what"]
    assert entry.params_schema["additionalProperties"] is False
    assert (entry.idempotent, entry.approval, entry.source) == (True, "required", "command")
    assert "secret-flag" not in entry.model_dump_json()


def test_the_environment_is_minimal() -> None:
    """PATH, LANG, the operator's own, and the run's names: nothing of the server's."""
    environment = a_command(ECHO, env={"A": "b"}).environment(a_run("run-9"))

    assert environment == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "A": "b",
        "MAHAVISHNU_JOB_ID": "apscheduler:nightly",
        "MAHAVISHNU_RUN_ID": "run-9",
        "MAHAVISHNU_ATTEMPT": "1",
        "MAHAVISHNU_SCHEDULED_FOR": "2026-12-01T02:00:00Z",
    }


def test_a_workflows_node_is_named_too() -> None:
    """Two nodes of one run can be told apart, also by the server when it ends one of them."""
    environment = a_command(ECHO).environment(a_run(node="verify"))

    assert environment["MAHAVISHNU_NODE"] == "verify"
