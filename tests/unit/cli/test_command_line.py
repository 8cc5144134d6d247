"""How a command line is read."""

from __future__ import annotations

import argparse
import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.cli import run
from mahavishnu_sched_mcp.errors import BackendUnavailableError, SettingsError

if TYPE_CHECKING:
    from types import ModuleType


class Recorder:
    """Stands in for a command, and keeps its options."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.options: argparse.Namespace | None = None
        self._error = error

    def __call__(self, options: argparse.Namespace) -> int:
        """Keep the options, or fail."""
        self.options = options
        if self._error is not None:
            raise self._error
        return 0


def replaced(monkeypatch: pytest.MonkeyPatch, name: str, recorder: Recorder) -> None:
    """Put a recorder in the place of a command."""
    module: ModuleType = importlib.import_module(f"mahavishnu_sched_mcp.cli.{name}")
    monkeypatch.setattr(module, "run", recorder)


@pytest.mark.parametrize(
    "words", [[], ["serve"], ["--data-dir", "d"]], ids=["nothing", "serve", "an option alone"]
)
def test_the_default_command_is_serve(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Editors start the bare program: it serves."""
    recorder = Recorder()
    replaced(monkeypatch, "serve", recorder)

    assert run(words) == 0
    assert recorder.options is not None
    assert recorder.options.command == "serve"


@pytest.mark.parametrize("name", ["jobs", "runs", "status", "catalog", "preview x", "classify x"])
def test_asking_commands_share_one_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question takes --json and the common options."""
    recorder = Recorder()
    replaced(monkeypatch, "ask", recorder)

    assert run([*name.split(), "--json", "--config", "c.yaml"]) == 0
    assert recorder.options is not None
    assert (recorder.options.json, str(recorder.options.config)) == (True, "c.yaml")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SettingsError("c.yaml:1: wrong.", hint="Mend it."), 2, "c.yaml:1: wrong. Mend it."),
        (BackendUnavailableError("It is out."), 1, "[backend_unavailable] It is out."),
    ],
    ids=["settings", "other"],
)
def test_a_refusal_is_one_line_and_an_exit_code(
    error: Exception,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wrong settings exit with 2, what failed with 1; stdout stays empty."""
    replaced(monkeypatch, "ask", Recorder(error=error))

    assert run(["jobs"]) == code
    assert capsys.readouterr() == ("", f"{said}\n")


@pytest.mark.parametrize("words", [["jobz"], ["jobs", "--nope"], ["preview"]])
def test_what_is_not_understood_exits_with_2(words: list[str]) -> None:
    """A wrong word is wrong usage."""
    with pytest.raises(SystemExit) as ending:
        run(words)

    assert ending.value.code == 2


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says what is installed."""
    with pytest.raises(SystemExit) as ending:
        run(["--version"])

    assert ending.value.code == 0
    assert version("mahavishnu-sched-mcp") in capsys.readouterr().out


def test_the_help_lists_what_users_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that the server starts for itself are not in the list."""
    with pytest.raises(SystemExit):
        run(["--help"])

    shown = capsys.readouterr().out
    assert all(name in shown for name in ("serve", "jobs", "runs", "status", "demo", "preview"))
    assert "_prefect" not in shown
