"""When the engine starts, and what happens when a part of it dies."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import pytest

from mahavishnu_sched_mcp.backends.prefect import life as life_module
from mahavishnu_sched_mcp.backends.prefect.life import EngineLife
from mahavishnu_sched_mcp.backends.prefect.records import Addresses
from mahavishnu_sched_mcp.domain.clock import SystemClock
from mahavishnu_sched_mcp.domain.engine import EngineState
from mahavishnu_sched_mcp.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mahavishnu_sched_mcp.backends.prefect.installation import Installation


class PaperInstallation:
    """Processes that exist on paper: they start when told and die when told."""

    def __init__(self) -> None:
        self.addresses = Addresses(ui="http://127.0.0.1:4200")
        self.figures: dict[str, int | None] = {"server_pid": 1, "worker_pid": 2}
        self.step = "importing Prefect"
        self.trouble: str | None = "the server process has not ended"
        self.failure: str | None = None
        self.starts = 0
        self.stops = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None:
        """Come up when the gate is open, or fail."""
        self.starts += 1
        await self.gate.wait()
        if self.failure is not None:
            raise BackendUnavailableError(self.failure)
        self.trouble = None

    async def stop(self) -> None:
        """Count."""
        self.stops += 1

    async def probe(self) -> None:
        """Answer as the look would."""
        if self.failure is not None:
            raise BackendUnavailableError(self.failure)


class Stage:
    """A life around paper processes."""

    def __init__(self) -> None:
        self.paper = PaperInstallation()
        self.looks = 0
        self.life = EngineLife(
            cast("Installation", self.paper), look=self.look, clock=SystemClock()
        )

    async def look(self) -> None:
        """Count, or fail as a silent server does."""
        self.looks += 1
        await self.paper.probe()

    @property
    def state(self) -> EngineState:
        """Give the engine's state."""
        return self.life.health().state


async def wait_until(condition: Callable[[], bool], *, description: str) -> None:
    """Poll a condition for at most five seconds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, f"never: {description}"
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(life_module, "FIRST_PAUSE_SECONDS", 0.05)


async def test_callers_share_one_start() -> None:
    """However many need the engine, it starts once; one that gives up ends nobody's start."""
    stage = Stage()
    stage.paper.gate.clear()
    impatient = asyncio.create_task(stage.life.ensure_started())
    patient = [asyncio.create_task(stage.life.ensure_started()) for _ in range(3)]

    await wait_until(lambda: stage.state is EngineState.STARTING, description="it is starting")
    assert stage.life.health().detail.startswith("importing Prefect, for 0 s")
    impatient.cancel()
    stage.paper.gate.set()
    await asyncio.gather(*patient)

    assert (stage.paper.starts, stage.state) == (1, EngineState.READY)
    assert stage.life.health().url == "http://127.0.0.1:4200"
    await stage.life.stop()


async def test_a_failed_start_is_told_and_tried_again() -> None:
    """The reason stands in the status; the next need starts anew."""
    stage = Stage()
    stage.paper.failure = "no room"
    with pytest.raises(BackendUnavailableError, match="no room"):
        await stage.life.ensure_started()
    assert (stage.state, stage.life.health().detail) == (EngineState.UNAVAILABLE, "no room")

    stage.paper.failure = None
    await stage.life.ensure_started()

    assert stage.state is EngineState.READY
    await stage.life.stop()


async def test_a_process_that_dies_is_started_again() -> None:
    """Nobody has to call: the engine watches its processes."""
    stage = Stage()
    await stage.life.ensure_started()

    stage.paper.trouble = "the worker process ended with signal 9"
    await wait_until(
        lambda: stage.state is EngineState.UNAVAILABLE, description="the death is noticed"
    )
    assert "signal 9" in stage.life.health().detail
    await wait_until(lambda: stage.state is EngineState.READY, description="it is ready again")

    assert stage.paper.starts == 2
    await stage.life.stop()


async def test_a_silent_server_is_unavailable_until_it_answers() -> None:
    """Processes that run and do not answer are no engine; nothing is restarted for it."""
    stage = Stage()
    await stage.life.ensure_started()

    stage.paper.failure = "did not answer"
    await wait_until(lambda: stage.state is EngineState.UNAVAILABLE, description="silence noticed")
    with pytest.raises(BackendUnavailableError, match="did not answer"):
        await stage.life.ensure_started()
    stage.paper.failure = None
    await wait_until(lambda: stage.state is EngineState.READY, description="answers again")

    assert stage.paper.starts == 1
    await stage.life.stop()


async def test_a_stop_during_a_start_tells_those_who_wait() -> None:
    """They get an error they can handle, not a cancellation of their own work."""
    stage = Stage()
    stage.paper.gate.clear()
    waiting = asyncio.create_task(stage.life.ensure_started())
    await wait_until(lambda: stage.paper.starts == 1, description="the start has begun")

    await stage.life.stop()

    with pytest.raises(BackendUnavailableError, match="stopped while it started"):
        await waiting
    assert stage.state is EngineState.STOPPED


async def test_a_stop_before_any_start_is_quiet() -> None:
    """An engine nobody used stays idle."""
    stage = Stage()

    await stage.life.stop()
    await stage.life.stop()

    assert (stage.state, stage.paper.starts) == (EngineState.IDLE, 0)


async def test_a_stopped_engine_can_start_again() -> None:
    """A server that leads, follows and leads again uses the same engine."""
    stage = Stage()
    await stage.life.ensure_started()
    await stage.life.stop()
    stage.paper.trouble = "the server process has not ended"

    await stage.life.ensure_started()

    assert (stage.state, stage.paper.starts) == (EngineState.READY, 2)
    await stage.life.stop()
