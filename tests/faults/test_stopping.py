"""Every way to end a server: in time, with nothing left running and nothing unaccounted for."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.stops import Ended, Stop, carry_out
from tests.faults.tally import amount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.tally import Tally

pytestmark = pytest.mark.slow

STDIO_SECONDS = 2.0
"""What the library's client grants between closing its end and SIGTERM."""

DRAIN_SECONDS = 25.0
AT_ONCE_SECONDS = 1.0

# The first five, the tenth of `make test`, have the awkward ones of each transport.
WAYS = [
    Stop("stdio", "EOF", 8),
    Stop("http", "TWICE", 8),
    Stop("stdio", "SIGTERM", 1),
    Stop("http", "SIGTERM", 8, seconds=2),
    Stop("stdio", "TWICE", 8),
    Stop("stdio", "EOF", 0),
    Stop("stdio", "EOF", 1),
    Stop("stdio", "SIGTERM", 0),
    Stop("stdio", "SIGTERM", 8),
    Stop("stdio", "SIGINT", 0),
    Stop("stdio", "SIGINT", 1),
    Stop("stdio", "SIGINT", 8),
    Stop("stdio", "TWICE", 0),
    Stop("stdio", "TWICE", 1),
    Stop("http", "SIGTERM", 0),
    Stop("http", "SIGTERM", 1, seconds=2),
    Stop("http", "SIGINT", 0),
    Stop("http", "SIGINT", 1, seconds=2),
    Stop("http", "SIGINT", 8, seconds=2),
    Stop("http", "TWICE", 0),
    Stop("http", "TWICE", 1),
]


def check(stop: Stop, ended: Ended) -> None:
    """Insist on what the manual says of this way."""
    is_twice = stop.how == "TWICE"
    limit = AT_ONCE_SECONDS if is_twice else STDIO_SECONDS
    if stop.transport == "http" and not is_twice:
        limit = stop.seconds + STDIO_SECONDS if stop.tasks else STDIO_SECONDS
    assert ended.seconds < limit, (stop, ended)
    # With nothing to drain the first signal may have ended it before the second came.
    codes = {143} if is_twice and stop.tasks else {0, 143} if is_twice else {0, None}
    assert ended.code in codes, (stop, ended)
    first = "SIGTERM" if is_twice else "end_of_input" if stop.how == "EOF" else stop.how
    assert ended.causes == [first], (stop, ended)
    is_drained = stop.transport == "http" and not is_twice
    wanted = "succeeded" if is_drained else "interrupted"
    assert Counter(ended.after.values()) == Counter({wanted: stop.tasks} if stop.tasks else {})
    assert ended.finished == (stop.tasks if is_drained else 0), (stop, ended)


@pytest.mark.timeout(900)
async def test_every_way_to_stop_leaves_nothing(tmp_path: Path, tally: Tally) -> None:
    """Whatever ends a server, no process is left, and every run is in one state afterwards."""
    chosen = list(itertools.islice(itertools.cycle(WAYS), amount(50)))
    ends: list[tuple[Stop, Ended]] = []

    for number, stop in enumerate(chosen):
        ends.append((stop, await carry_out(stop, tmp_path / str(number))))

    over_stdio = [
        ended.seconds for stop, ended in ends if stop.transport == "stdio" and stop.how != "TWICE"
    ]
    tally(
        stops=len(ends),
        hangs=sum(math.isinf(ended.seconds) for _, ended in ends),
        survivors=sum(len(ended.survivors) for _, ended in ends),
        runs=sum(len(ended.after) for _, ended in ends),
        unaccounted=sum(
            state in {"pending", "running"} for _, ended in ends for state in ended.after.values()
        ),
        longest_stdio_exit_ms=round(max(over_stdio) * 1000),
    )
    assert [ended.survivors for _, ended in ends] == [{}] * len(ends)
    for stop, ended in ends:
        check(stop, ended)


@pytest.mark.timeout(120)
async def test_over_http_runs_have_25_seconds(tmp_path: Path, tally: Tally) -> None:
    """What is still at work after the drain is ended, recorded as interrupted, and told apart."""
    ended = await carry_out(Stop("http", "SIGTERM", 8), tmp_path / "drain")

    tally(seconds=round(ended.seconds, 2), survivors=len(ended.survivors))
    assert ended.code == 0
    assert DRAIN_SECONDS <= ended.seconds <= DRAIN_SECONDS + 2
    assert ended.survivors == {}
    assert Counter(ended.at_rest.values()) == Counter({"interrupted": 8})
    assert ended.after == ended.at_rest
