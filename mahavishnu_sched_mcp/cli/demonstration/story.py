"""The story as data: its steps in their order, and how it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mahavishnu_sched_mcp.cli.demonstration import keeping, scheduling, survival
from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from mahavishnu_sched_mcp.cli.demonstration.scene import Audience, MissError, Scene
from mahavishnu_sched_mcp.server.client import ServerLostError, ToolRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Step:
    """One thing that happens.

    Attributes:
        title: What it shows, for people.
        act: Does it, insists on it, and says what happened.
    """

    title: str
    act: Callable[[Scene], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """How a step went.

    Attributes:
        words: What happened, or what did not.
        seconds: How long it took; None where it was not reached.
    """

    step: Step
    is_fine: bool
    words: str
    seconds: float | None


class Listener(Audience, Protocol):
    """Who hears the story, step by step."""

    def begin(self, step: Step, *, number: int, of: int) -> None:
        """Hear that a step begins."""

    def end(self, result: StepResult) -> None:
        """Hear how it went."""


STORY: tuple[Step, ...] = (
    Step("Start the server", scheduling.start_server),
    Step("Classify three tasks", scheduling.classify_three),
    Step("Deploy on Prefect", scheduling.deploy_workflow),
    Step("Run a task every second", scheduling.run_five_times),
    Step("Send a workflow through the queue", scheduling.run_workflow),
    Step("Preview a schedule", scheduling.preview_nights),
    Step("Pause and resume", keeping.pause_and_resume),
    Step("Run one now", keeping.run_one_now),
    Step("Mend a refusal", keeping.mend_refusal),
    Step("Cancel a job", keeping.cancel_one),
    Step("Watch Prefect run", keeping.watch_prefect),
    Step("List all jobs", keeping.list_all),
    Step("Pause the deployment", keeping.pause_deployment),
    Step("Kill the server", survival.kill_server),
    Step("Start it again", survival.start_again),
    Step("Account for every fire", survival.account_for_fires),
    Step("Leave", survival.leave),
)


async def tell(
    scene: Scene, *, listener: Listener, steps: Sequence[Step] = STORY
) -> list[StepResult]:
    """Go through the steps up to the first miss; nothing of them is left running.

    Args:
        scene: What the steps work with.
        listener: Hears of each step.
        steps: The story.
    """
    results: list[StepResult] = []
    try:
        for number, step in enumerate(steps, start=1):
            listener.begin(step, number=number, of=len(steps))
            result = await _take(step, scene)
            results.append(result)
            listener.end(result)
            if not result.is_fine:
                break
    finally:
        await scene.client.close()
        kill_processes_of(scene.stage.folder)
    return results + [
        StepResult(step=step, is_fine=False, words="not reached", seconds=None)
        for step in steps[len(results) :]
    ]


async def _take(step: Step, scene: Scene) -> StepResult:
    began = scene.clock.monotonic()
    try:
        words, is_fine = await step.act(scene), True
    except (MissError, ToolRefusedError, ServerLostError) as error:
        words, is_fine = str(error), False
    except Exception as error:  # noqa: BLE001 - the guard of the story: a defect is a miss too
        # What a step did not expect must not keep the others from being cleared away.
        words, is_fine = f"{type(error).__name__}: {error}", False
    seconds = scene.clock.monotonic() - began
    return StepResult(step=step, is_fine=is_fine, words=words, seconds=seconds)
