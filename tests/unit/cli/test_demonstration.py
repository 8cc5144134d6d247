"""How the demonstration is told: in order, up to the first miss, leaving nothing behind."""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from mahavishnu_sched_mcp.cli import demo
from mahavishnu_sched_mcp.cli.demonstration import story
from mahavishnu_sched_mcp.cli.demonstration.display import Display, summary
from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of, processes_of
from mahavishnu_sched_mcp.cli.demonstration.scene import MissError, Scene
from mahavishnu_sched_mcp.cli.demonstration.stage import Stage
from mahavishnu_sched_mcp.cli.demonstration.story import Step, tell
from mahavishnu_sched_mcp.composition import build_catalog, build_registry
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.server.client import ServerLostError, StdioClient, ToolRefusedError
from mahavishnu_sched_mcp.settings import load_settings, unsupported
from tests.factories import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


async def succeed(_: Scene) -> str:
    """Succeed at once."""
    return "it came true"


def failing(error: Exception) -> Callable[[Scene], Awaitable[str]]:
    """Make a step that fails so."""

    async def act(_: Scene) -> str:
        raise error

    return act


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Give a prepared stage."""
    made = Stage(tmp_path.resolve() / "stage")
    made.prepare()
    return made


@pytest.fixture
def text() -> StringIO:
    """Give what the console has shown."""
    return StringIO()


@pytest.fixture
def display(text: StringIO) -> Iterator[Display]:
    """Give a display that draws into `text`."""
    with Display(Console(file=text, width=100)) as made:
        yield made


def a_scene(stage: Stage, display: Display) -> Scene:
    """Make a scene whose server is never started."""
    client = StdioClient(["/bin/false"], environment={}, log_path=stage.log)
    return Scene(stage=stage, client=client, clock=SystemClock(), audience=display)


@pytest.mark.parametrize(
    "error",
    [
        MissError("not so: 1 is 2"),
        ToolRefusedError("[unknown_task] No task is named 'x'."),
        ServerLostError("get_status got no answer"),
        KeyError("nodes"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_first_miss_ends_the_story(
    error: Exception, stage: Stage, display: Display, text: StringIO
) -> None:
    """A step that does not come true is named, and the ones after it are not tried."""
    steps = [Step("One", succeed), Step("Two", failing(error)), Step("Three", succeed)]

    results = await tell(a_scene(stage, display), listener=display, steps=steps)

    assert [result.is_fine for result in results] == [True, False, False]
    assert str(error) in results[1].words
    assert (results[2].words, results[2].seconds) == ("not reached", None)
    assert "MISS" in text.getvalue()
    assert "3/3" not in text.getvalue()


async def test_what_a_step_leaves_running_is_ended(stage: Stage, display: Display) -> None:
    """However the story ends, no process of its folder lives on."""
    program = f"import time; time.sleep(60)  # {stage.folder}"
    started: list[asyncio.subprocess.Process] = []

    async def start(_: Scene) -> str:
        started.append(await asyncio.create_subprocess_exec(sys.executable, "-c", program))
        await eventually(
            lambda: bool(processes_of(stage.folder)),  # it has another name until it is exec'd
            description="the process is found by its folder",
        )
        return "started"

    results = await tell(a_scene(stage, display), listener=display, steps=[Step("Start", start)])

    assert results[0].is_fine
    assert await asyncio.wait_for(started[0].wait(), 10) == -signal.SIGKILL
    assert processes_of(stage.folder) == {}


async def test_waiting_in_vain_says_for_what(stage: Stage, display: Display) -> None:
    """A deadline's text is the condition that did not come true."""

    async def look() -> None:
        return None

    with pytest.raises(MissError, match=r"waited 0\.1 s in vain for a miracle"):
        await a_scene(stage, display).until("a miracle", look, seconds=0.1)


async def test_a_server_that_does_not_start_is_a_miss(stage: Stage, display: Display) -> None:
    """A program that ends at once is reported as such."""
    scene = a_scene(stage, display)

    with pytest.raises(ServerLostError, match="did not start"):
        await scene.client.connect()


def test_processes_are_known_by_their_folder(tmp_path: Path) -> None:
    """A process belongs to a folder that its command line names; others are left alone."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    program = "import sys; print(flush=True); sys.stdin.read()"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for folder in (mine, other)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()

        assert list(processes_of(mine)) == [started[0].pid]
        assert list(kill_processes_of(mine)) == [started[0].pid]
        assert started[0].wait(10) != 0
        assert list(processes_of(other)) == [started[1].pid]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_the_settings_of_the_story_are_sound(stage: Stage) -> None:
    """The server accepts the file as it stands, with nothing of the user's beside it."""
    environment = stage.environment(
        {"PATH": "/usr/bin", "MAHAVISHNU_LIMITS__MAX_JOBS": "1", "PREFECT_API_URL": "http://x"}
    )

    settings = load_settings(config=stage.config, environ=environment)
    catalog = build_catalog(settings, build_registry(settings))

    assert {"pack_website", "verify_archive"} <= set(catalog.tasks)
    assert set(catalog.workflows) == {"nightly_backup"}
    assert unsupported(settings) == []
    assert settings.limits.max_jobs == 10_000
    assert settings.data_path == stage.data_dir
    assert "PREFECT_API_URL" not in environment


@pytest.mark.parametrize(("act", "code"), [(succeed, 0), (failing(MissError("no")), 1)])
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "removed"])
def test_the_exit_code_and_the_folder(
    act: Callable[[Scene], Awaitable[str]],
    code: int,
    *,
    is_kept: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Any miss is a failure; the folder goes in any case, unless it was asked for."""
    monkeypatch.setattr(story.tell, "__kwdefaults__", {"steps": (Step("Only", act),)})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert demo.run(argparse.Namespace(keep=is_kept)) == code

    assert len(list(tmp_path.iterdir())) == is_kept
    assert ("All of it came true" in capsys.readouterr().out) is (code == 0)


def test_the_table_at_the_end_has_every_step(text: StringIO) -> None:
    """Step, what happened and how long it took; what was missed is counted."""
    results = [
        story.StepResult(
            step=Step("One", succeed), is_fine=True, words="fine [bold]", seconds=1.25
        ),
        story.StepResult(step=Step("Two", succeed), is_fine=False, words="no", seconds=None),
    ]

    Console(file=text, width=100).print(summary(results, seconds=12))

    shown = text.getvalue()
    assert all(
        word in shown for word in ("One", "fine [bold]", "1.2 s", "Two", "1 missed", "12.0 s")
    )
