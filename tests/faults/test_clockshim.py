"""The clock that the fault tests set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.clockshim import Wall

if TYPE_CHECKING:
    from pathlib import Path

READ = """
import apsw, datetime, json, time
sql = apsw.Connection(":memory:").execute("select cast(strftime('%s', 'now') as integer)")
print(json.dumps({
    "clock_gettime": time.time(),
    "coarse": time.clock_gettime(5),
    "localtime": time.mktime(time.localtime()),
    "datetime": datetime.datetime.now(datetime.UTC).timestamp(),
    "SQLite": sql.fetchone()[0],
    "monotonic": time.monotonic(),
}))
"""
WAIT = """
import os, sys, threading, time

def note(word):
    print(word, flush=True)

timer = os.timerfd_create(time.CLOCK_REALTIME)
flags = os.TFD_TIMER_ABSTIME | (os.TFD_TIMER_CANCEL_ON_SET if sys.argv[1] == "told" else 0)
began = time.monotonic()
os.timerfd_settime(timer, flags=flags, initial=time.time() + 3600)
note("armed")
try:
    os.read(timer, 8)
    note("rung")
except OSError as error:
    note(error.strerror)
threading.Event().wait(0.2)
note("slept" if time.monotonic() - began < 60 else "overslept")
"""


def program(wall: Wall, source: str, *words: str) -> subprocess.Popen[str]:
    """Start a Python program that sees the test's clock."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *words],
        env=os.environ | wall.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("by", [timedelta(days=3650), timedelta(days=-2), timedelta(0)])
def test_every_reading_of_the_wall_clock_is_moved(tmp_path: Path, by: timedelta) -> None:
    """Python and SQLite see the clock that was set; the monotonic one goes on."""
    wall = Wall.of(tmp_path)

    wall.step(by)
    answer, _ = program(wall, READ).communicate(timeout=20)
    seen: dict[str, Any] = json.loads(answer)
    monotonic = seen.pop("monotonic")

    assert {name for name, at in seen.items() if abs(at - wall.now().timestamp()) < 10} == {*seen}
    assert 0 < monotonic < 10**9


@pytest.mark.parametrize(("wish", "word"), [("told", "Operation canceled"), ("not", "rung")])
def test_a_step_reaches_an_armed_timer_as_in_the_kernel(
    tmp_path: Path, wish: str, word: str
) -> None:
    """Set past its time, a timer rings; one that asked for it hears that the clock was set."""
    wall = Wall.of(tmp_path)

    with program(wall, WAIT, wish) as waiting:
        assert waiting.stdout is not None
        armed = waiting.stdout.readline()
        wall.step(timedelta(hours=2))
        rest, _ = waiting.communicate(timeout=20)

    assert [armed.strip(), *rest.split("\n")[:2]] == ["armed", word, "slept"]
