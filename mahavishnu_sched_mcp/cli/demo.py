"""`demo`: the main job on all three engines, through a real server, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mahavishnu_sched_mcp.cli.demonstration.display import Display, summary
from mahavishnu_sched_mcp.cli.demonstration.scene import Scene
from mahavishnu_sched_mcp.cli.demonstration.stage import Stage
from mahavishnu_sched_mcp.cli.demonstration.story import tell
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.server.client import StdioClient

if TYPE_CHECKING:
    import argparse

    from mahavishnu_sched_mcp.cli.demonstration.story import StepResult

FINE, FAILED = 0, 1
WIDTH_ELSEWHERE = 120
"""Columns where no terminal says how many there are."""

_LAST_LINES = 15


def run(options: argparse.Namespace) -> int:
    """Tell the story, and give 0 only when all of it came true.

    Raises:
        SettingsError: this machine has no tar.
    """
    width = None if sys.stdout.isatty() else WIDTH_ELSEWHERE
    console = Console(width=width, highlight=False)
    stage = Stage(Path(tempfile.mkdtemp(prefix="mahavishnu-demo-")).resolve())
    try:
        stage.prepare()
        return asyncio.run(_tell(stage, console))
    except KeyboardInterrupt:
        console.print("Interrupted; what was started has been ended.", style="yellow")
        return FAILED
    finally:
        if options.keep:
            console.print(f"Kept: {stage.folder}", markup=False, soft_wrap=True)
        else:
            stage.remove()


async def _tell(stage: Stage, console: Console) -> int:
    clock = SystemClock()
    began = clock.monotonic()
    client = StdioClient(
        stage.command(), environment=stage.environment(os.environ), log_path=stage.log
    )
    with Display(console) as display:
        scene = Scene(stage=stage, client=client, clock=clock, audience=display)
        results = await tell(scene, listener=display)
    console.print(summary(results, seconds=clock.monotonic() - began))
    return _verdict(results, stage, console)


def _verdict(results: list[StepResult], stage: Stage, console: Console) -> int:
    if all(result.is_fine for result in results):
        console.print("All of it came true.", style="green")
        return FINE
    console.print("Not all of it came true. The server's last words:", style="bold red")
    if stage.log.exists():
        lines = stage.log.read_text(encoding="utf-8", errors="replace").splitlines()
        console.print("\n".join(lines[-_LAST_LINES:]), markup=False, soft_wrap=True)
    return FAILED
