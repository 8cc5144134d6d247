"""A kill or a disk error at any write of the ledger leaves every promise true."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.autopsy import damage
from tests.faults.faulty_disk import Fault
from tests.faults.scenario import STEPS, Journal
from tests.faults.sweep import objections_to
from tests.faults.tally import Tally, amount, is_soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

_ROOT = Path(__file__).parents[2]
_STRACE = shutil.which("strace")
_TOO_FEW = 300
"""The scenario has more operations than this, or the shim does not see them."""


async def said_by(*command: str) -> tuple[int, str, str]:
    """Run a program of the tests to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=_ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("fault", "stride", "offset"),
    [
        (Fault.KILL, 2, 0),
        (Fault.KILL, 2, 1),
        (Fault.EIO, 2, 0),
        (Fault.EIO, 2, 1),
        (Fault.TORN, 4, 0),
    ],
    ids=["kill-odd", "kill-even", "io-error-odd", "io-error-even", "torn-write"],
)
async def test_a_fault_at_any_write_or_sync_breaks_no_promise(
    tmp_path: Path, tally: Tally, fault: Fault, stride: int, offset: int
) -> None:
    """Wherever the process dies or the disk fails: nothing acknowledged is lost, all accounted."""
    stride *= 1 if is_soak() else 10

    code, out, err = await said_by(
        *(sys.executable, "-m", "tests.faults.sweep", str(tmp_path), fault.value),
        *(str(stride), str(offset)),
    )
    first, *lines = [json.loads(line) for line in out.splitlines()]
    points = [line for line in lines if line["has_struck"]]
    objections = [f"{one['point']}: {what}" for one in points for what in one["objections"]]
    corrupt = [one for one in objections if "corrupt" in one]
    tally(points=len(points), of=first["operations"], lost=len(objections), corrupt=len(corrupt))

    assert code == 0, err  # a failing disk may well be complained about; a broken sweep may not
    assert first["operations"] > _TOO_FEW
    assert len(points) >= 0.8 * first["operations"] / stride  # no two lives are of equal length
    assert objections == []


def strokes() -> list[tuple[str, str, int]]:
    """Choose the system calls to strike at: name, what happens, and the how-manieth of it."""
    kills = [("pwrite64", "signal=KILL", 1 + 10 * number) for number in range(50)]
    syncs = [("fdatasync", "signal=KILL", 1 + number) for number in range(20)]
    errors = [("fdatasync", "error=EIO", 2 + 2 * number) for number in range(10)]
    everything = kills + syncs + errors
    return everything[:: 1 if is_soak() else 10]


async def strike(data_dir: Path, journal: Journal, *, name: str, what: str, number: int) -> str:
    """Live the scenario under strace, strike one system call on the ledger, give the log."""
    files = [data_dir / f"ledger.db{suffix}" for suffix in ("", "-wal", "-journal")]
    watched = [word for file in files for word in ("-P", str(file))]
    await said_by(
        *(str(_STRACE), "-f", "-qq", "-o", f"{journal.path}.strace", *watched),
        *("-e", f"trace={name}", "-e", f"inject={name}:{what}:when={number}"),
        *(sys.executable, "-m", "tests.faults.scenario", str(data_dir), str(journal.path)),
    )
    return await asyncio.to_thread(Path(f"{journal.path}.strace").read_text)


async def test_the_system_calls_themselves_may_fail_or_be_the_last(
    tmp_path: Path, tally: Tally
) -> None:
    """The same holds where the kernel kills or refuses, not SQLite's own interface."""
    if _STRACE is None:
        pytest.skip("strace is missing: install it with `apt-get install strace`")
    if (await said_by(_STRACE, "-o", "/dev/null", "/bin/true"))[0] != 0:
        pytest.skip("ptrace is not allowed: start the container with `--cap-add=SYS_PTRACE`")
    model = Journal(tmp_path / "model.journal")
    await said_by(
        *(sys.executable, "-m", "tests.faults.scenario", str(tmp_path / "model")), str(model.path)
    )
    objections: list[str] = []
    struck = 0

    for number, (name, what, when) in enumerate(strokes()):
        data_dir, journal = tmp_path / f"data-{number}", Journal(tmp_path / f"{number}.journal")
        log = await strike(data_dir, journal, name=name, what=what, number=when)
        struck += "INJECTED" in log or "killed by SIGKILL" in log
        found = damage(data_dir / "ledger.db")
        if journal.read():
            found += await objections_to(data_dir, journal, model.read())
        objections += [f"{name} {what} {when}: {one}" for one in found]
    tally(system_calls=struck, lost=len(objections))

    assert struck >= amount(60)
    assert objections == []


def test_the_scenario_has_every_kind_of_change() -> None:
    """The day that is swept makes, fires, changes, pauses, resumes, runs, enqueues and cancels."""
    words: set[Any] = {name.split()[0] for name, _ in STEPS}

    assert {"make", "run", "enqueue", "retime", "pause", "resume", "replay", "cancel"} <= words
