"""The story on a terminal: what happens now, what happened, and a table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from mahavishnu_sched_mcp.server.text import clean_line, clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import Console

    from mahavishnu_sched_mcp.cli.demonstration.story import Step, StepResult

_LINE_LENGTH = 240


class Display:
    """Draws progress while a step goes on; a context manager around the whole story.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the progress away."""
        self._progress.stop()

    def begin(self, step: Step, *, number: int, of: int) -> None:
        """Show that a step begins."""
        self._console.print(Text(f"{number:>2}/{of} {step.title}", style="bold"))
        self._progress.reset(self._task, total=None, visible=True, description=step.title)

    def say(self, line: str) -> None:
        """Show something that happened."""
        text = clean_line(line, length=_LINE_LENGTH)
        self._console.print(Text(f"      {text}", style="dim"), soft_wrap=True)

    def wait(self, line: str) -> None:
        """Show what is being waited for."""
        self._progress.update(self._task, description=clean_line(line, length=70))

    def end(self, result: StepResult) -> None:
        """Show how a step went."""
        self._progress.update(self._task, visible=False)
        mark = Text("   ok ", style="green") if result.is_fine else Text(" MISS ", style="bold red")
        self._console.print(mark + Text(clean_text(result.words)), soft_wrap=True)


def summary(results: Sequence[StepResult], *, seconds: float) -> Table:
    """Make the table at the end.

    Args:
        results: One for each step.
        seconds: How long it all took.
    """
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
    missed = sum(not result.is_fine for result in results)
    table.add_column("", footer="")
    table.add_column("step", footer="all" if not missed else f"{missed} missed", no_wrap=True)
    table.add_column("what happened", overflow="fold")
    table.add_column("time", footer=f"{seconds:.1f} s", justify="right", no_wrap=True)
    for result in results:
        mark = Text("ok", style="green") if result.is_fine else Text("MISS", style="bold red")
        took = "" if result.seconds is None else f"{result.seconds:.1f} s"
        words = clean_line(result.words, length=_LINE_LENGTH)
        table.add_row(mark, result.step.title, Text(words), took)
    return table
