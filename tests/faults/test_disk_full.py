"""A disk of its own, filled to many points under a running scheduler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.tally import Tally, amount

ROOT = Path(__file__).parents[2]
_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--kill-child"]


def has_namespaces() -> bool:
    """Whether this machine lets us mount a disk of our own."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False)
    return done.returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not has_namespaces(),
        reason="no mount namespaces: install util-linux and allow unprivileged user namespaces"
        " (sysctl kernel.unprivileged_userns_clone=1)",
    ),
]


@pytest.mark.timeout(900)
def test_a_full_disk_loses_nothing_and_passes(tmp_path: Path, tally: Tally) -> None:
    """storage_full or done, nothing else; cancelling goes on; with room again all goes on."""
    count = amount(60)

    points = filled(tmp_path, count)

    strange = [line for point in points for line in point["strange"]]
    tally(
        points=len(points),
        acknowledged=sum(point["acknowledged"] for point in points),
        refused=sum(point["refused"] for point in points),
        lost=sum(point["lost"] for point in points),
        fires=sum(point["fires"] for point in points),
        strange=len(strange),
    )
    assert strange == []
    assert len(points) == count
    assert all(point["refused"] for point in points)
    assert sum(point["lost"] for point in points) == 0


def filled(folder: Path, count: int) -> list[dict[str, Any]]:
    """Run the program that fills its disk, and give what it says of each point."""
    command = [*_UNSHARE, sys.executable, "-m", "tests.faults.full_disk", str(folder), str(count)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
