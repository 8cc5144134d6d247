"""How long a call takes over stdio, ours beside a tool that does nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.figures import Figure, milliseconds, percentile
from tests.benchmarks.wire import BARE_SERVER, MeasuredServer, our_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_MEDIAN_MS = 5.0
MOST_P99_MS = 25.0

_WRITES = 1000
_READS = 200
_BLOCK = 50
_WARM_UP = 20


def measure(folder: Path) -> list[Figure]:
    """Call tools one after the other, in blocks in turn with the bare server's."""
    with (
        MeasuredServer(our_server(folder / "data")) as ours,
        MeasuredServer(BARE_SERVER) as bare,
    ):

        def schedule(number: int) -> None:
            _schedule(ours, f"job-{number}")

        def do_nothing(_: int) -> None:
            bare.call("nothing", {})

        def list_jobs(_: int) -> None:
            ours.call("list_jobs", {"limit": 50})

        def get_status(_: int) -> None:
            ours.call("get_status", {})

        ours.greet()
        bare.greet()
        for number in range(_WARM_UP):
            _schedule(ours, f"warm-{number}")
            do_nothing(number)
        writes, idle = _interleave(schedule, do_nothing, times=_WRITES)
        pages, status = _interleave(list_jobs, get_status, times=_READS)
    count = _WRITES + _WARM_UP
    return [
        *_figures(f"schedule_internal_task, {_WRITES} new ids", writes, idle, has_target=True),
        *_figures(f"list_jobs, 50 of {count} jobs, {_READS} calls", pages, idle),
        *_figures(f"get_status, {count} jobs, {_READS} calls", status, idle),
    ]


def _schedule(server: MeasuredServer, name: str) -> None:
    arguments = {
        "task": "remind",
        "params": {"message": "stretch"},
        "trigger": {"type": "interval", "hours": 6},
        "id": name,
    }
    made = server.call("schedule_internal_task", arguments)
    assert made["outcome"] == "created"


def _interleave(
    one: Callable[[int], None], other: Callable[[int], None], *, times: int
) -> tuple[list[float], list[float]]:
    """Time both in blocks in turn, so that a busy moment of the machine meets both."""
    first: list[float] = []
    second: list[float] = []
    for start in range(0, times, _BLOCK):
        for work, taken in ((one, first), (other, second)):
            for number in range(start, start + _BLOCK):
                began = time.perf_counter()
                work(number)
                taken.append(time.perf_counter() - began)
    return first, second


def _figures(
    what: str, ours: list[float], idle: list[float], *, has_target: bool = False
) -> list[Figure]:
    return [
        Figure(
            what=f"{what}: p{rank}",
            ours=milliseconds(percentile(ours, rank)),
            beside=milliseconds(percentile(idle, rank)),
            most=most if has_target else None,
        )
        for rank, most in ((50, MOST_MEDIAN_MS), (99, MOST_P99_MS))
    ]
