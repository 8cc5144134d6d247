"""`python -m tests.benchmarks [PART ...]`: measure, and print a Markdown table."""

from __future__ import annotations

import argparse
import compileall
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks import calls, lateness, memory, retention, start
from tests.benchmarks.figures import Figure, conditions, table
from tests.benchmarks.wire import BARE_SERVER, CHECKOUT, Era, our_server

_PARTS = {
    "start": start.measure,
    "calls": calls.measure,
    "lateness": lateness.measure,
    "memory": memory.measure,
    "retention": retention.measure,
}


def main() -> None:
    """Measure the parts that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}")
    parts = parser.parse_args().parts or list(_PARTS)
    unknown = [part for part in parts if part not in _PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(_PARTS)}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-") as name:
        folder = Path(name)
        _compile(folder)
        for part in parts:
            began = time.monotonic()
            room = folder / part
            room.mkdir()
            figures += _PARTS[part](room)
            sys.stderr.write(f"{part}: {time.monotonic() - began:.0f} s\n")
    sys.stdout.write(f"{table(figures)}\n\nMeasured on {conditions()}\n")


def _compile(folder: Path) -> None:
    """Write every .pyc beforehand: ours at once, those of the libraries by using them."""
    compileall.compile_dir(CHECKOUT / "mahavishnu_sched_mcp", quiet=1)
    for command in (BARE_SERVER, our_server(folder / "compiled")):
        start.start_once(command, era=Era.LEGACY)


if __name__ == "__main__":
    main()
