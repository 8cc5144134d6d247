"""How soon a server answers after it was started, ours beside a bare one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.figures import Figure, milliseconds, percentile
from tests.benchmarks.wire import BARE_SERVER, Era, MeasuredServer, our_server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST_RATIO = 1.35
"""Ours may take this much of the bare server's time."""

_WARM_JOBS = 50
_ROUNDS = {Era.LEGACY: 15, Era.MODERN: 5}
_STEPS = ("handshake", "tools/list")


class Start(NamedTuple):
    """When a server had answered, in seconds from its start."""

    greeted: float
    listed: float


def measure(folder: Path) -> list[Figure]:
    """Start servers in turn; give the medians, and the median ratio of the pairs."""
    warm = folder / "warm"
    fill(warm)
    return [figure for era in Era for figure in _measure_era(folder, warm, era=era)]


def fill(data_dir: Path) -> None:
    """Leave a data dir as a user of some weeks has it: with jobs, and closed in order."""
    with MeasuredServer(our_server(data_dir)) as server:
        server.greet()
        for number in range(_WARM_JOBS):
            server.call(
                "schedule_internal_task",
                {
                    "task": "remind",
                    "params": {"message": "stretch"},
                    "trigger": {"type": "interval", "hours": 1 + number},
                    "id": f"warm-{number}",
                },
            )


def start_once(command: Sequence[str], *, era: Era) -> Start:
    """Start a server, greet it, list its tools and end it."""
    with MeasuredServer(command, era=era) as server:
        server.greet()
        greeted = time.perf_counter() - server.born
        server.request("tools/list", {})
        listed = time.perf_counter() - server.born
        if command is BARE_SERVER:
            server.kill()
        return Start(greeted, listed)


def _measure_era(folder: Path, warm: Path, *, era: Era) -> list[Figure]:
    """Measure fresh and warm data dirs beside the bare server, warm ones every other round."""
    pairs: dict[str, list[tuple[Start, Start]]] = {"fresh": [], "warm": []}
    for number in range(_ROUNDS[era]):
        commands = {"bare": BARE_SERVER, "fresh": our_server(folder / f"{era.name}-{number}")}
        if era is Era.LEGACY and number % 2 == 0:
            commands["warm"] = our_server(warm)
        # Each round begins with another one, so that none is always first.
        names = sorted(commands, key=lambda name: (name == "bare") == bool(number % 2))
        times = {name: start_once(commands[name], era=era) for name in names}
        for kind in pairs.keys() & times.keys():
            pairs[kind].append((times[kind], times["bare"]))
    return [
        _figure(f"start to {step}, {kind} data dir, {era.value}", found, step=index)
        for index, step in enumerate(_STEPS)
        for kind, found in pairs.items()
        if found
    ]


def _figure(what: str, pairs: Sequence[tuple[Start, Start]], *, step: int) -> Figure:
    return Figure(
        what=f"{what}, {len(pairs)} pairs",
        ours=milliseconds(percentile([ours[step] for ours, _ in pairs], 50)),
        beside=milliseconds(percentile([bare[step] for _, bare in pairs], 50)),
        paired=percentile([ours[step] / bare[step] for ours, bare in pairs], 50),
        most=MOST_RATIO,
        is_ratio=True,
    )
