"""The demonstration's story is the product's main job; here each of its steps is insisted on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.cli.demonstration.process import processes_of
from mahavishnu_sched_mcp.cli.demonstration.scene import Scene
from mahavishnu_sched_mcp.cli.demonstration.stage import Stage
from mahavishnu_sched_mcp.cli.demonstration.story import STORY, Step, StepResult, tell
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.server.client import StdioClient

if TYPE_CHECKING:
    from pathlib import Path


class Witness:
    """Hears the story and keeps what it heard."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, step: Step, *, number: int, of: int) -> None:
        """Hear that a step begins."""
        self.lines.append(f"{number}/{of} {step.title}")

    def end(self, result: StepResult) -> None:
        """Hear how it went."""
        self.lines.append(result.words)

    def say(self, line: str) -> None:
        """Hear something that happened."""
        self.lines.append(line)

    def wait(self, line: str) -> None:
        """Hear what is being waited for."""


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_main_job_comes_true_on_all_three_engines(tmp_path: Path) -> None:
    """A real server does all that the demonstration tells, outlives a SIGKILL, leaves nothing."""
    stage = Stage(tmp_path / "stage")
    stage.prepare()
    client = StdioClient(
        stage.command(), environment=stage.environment(os.environ), log_path=stage.log
    )
    witness = Witness()
    scene = Scene(stage=stage, client=client, clock=SystemClock(), audience=witness)

    results = await tell(scene, listener=witness)

    assert {result.step.title: result.words for result in results if not result.is_fine} == {}
    assert [result.step for result in results] == list(STORY)
    assert sum(result.seconds or 0 for result in results) < 120
    assert processes_of(stage.folder) == {}
    assert stage.archive("now").exists()
    assert stage.archive("watched").exists()


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_an_interrupted_demo_ends_what_it_started(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the story leaves neither a process nor a folder, and is a failure."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mahavishnu_sched_mcp", "demo"),
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while b"Run a task every second" not in await process.stdout.readline():
                pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            words = (await process.stdout.read()).decode()
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()

    assert (code, "Interrupted" in words) == (1, True)
    assert processes_of(tmp_path) == {}
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a quick look, nothing waits for it
