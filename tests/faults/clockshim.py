"""A wall clock of the test's own: servers started with it see the time that the test sets."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, override

import pytest

from tests.e2e.servers import Place

_SOURCE = Path(__file__).with_name("clockshim.c")
_MICROSECOND = timedelta(microseconds=1)
_BYTES = 8


@dataclass
class Wall:
    """The machine's wall clock, moved by as much as the test says.

    Attributes:
        library: Preloaded into the programs that shall see this clock.
        number: The file through which they see by how many nanoseconds it is moved.
        shifted: By how much it is moved now.
    """

    library: Path
    number: Path
    shifted: timedelta = timedelta(0)

    @classmethod
    def of(cls, folder: Path, *, at: datetime | None = None) -> Self:
        """Build the shim in a folder, and let the clock show an instant.

        Args:
            folder: Nobody else's.
            at: The machine's own time where it is None.
        """
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler: apt-get install gcc libc6-dev")
        wall = cls(library=folder / "clockshim.so", number=folder / "clockshim.shift")
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(
            [compiler, *flags, "-o", wall.library, _SOURCE, "-ldl", "-lpthread"], check=True
        )
        wall.number.write_bytes(bytes(_BYTES))
        if at is not None:
            wall.show(at)
        return wall

    def now(self) -> datetime:
        """Give the time that it shows."""
        return datetime.now(UTC) + self.shifted

    def step(self, by: timedelta) -> None:
        """Set it forward, or back."""
        self.shifted += by
        nanoseconds = self.shifted // _MICROSECOND * 1000
        file = os.open(self.number, os.O_WRONLY)
        try:
            # one write of one aligned word: no reader sees half of it
            os.pwrite(file, nanoseconds.to_bytes(_BYTES, "little", signed=True), 0)
        finally:
            os.close(file)

    def show(self, instant: datetime) -> None:
        """Set it to an instant; it goes on from there."""
        self.step(instant - self.now())

    def environment(self) -> dict[str, str]:
        """Give what a program needs in its environment to see this clock."""
        return {"LD_PRELOAD": str(self.library), "CLOCKSHIM_FILE": str(self.number)}


@dataclass(frozen=True)
class ClockedPlace(Place):
    """A place whose servers see a wall clock of the test's own.

    Attributes:
        wall: Their clock.
        zones: A folder with rules of time zones of their own; None for the machine's.
    """

    wall: Wall | None = None
    zones: Path | None = None

    @classmethod
    def at(cls, wall: Wall, folder: Path, **settings: Any) -> Self:
        """Write settings as `Place.of` does; the server has no jobs of its own."""
        chores = {"health_check_seconds": None, "metrics_collection_seconds": None}
        plain = Place.of(folder, internal_tasks=chores, **settings)
        return cls(plain.folder, wall=wall)

    @override
    def environment(self) -> dict[str, str]:
        own = {} if self.zones is None else {"PYTHONTZPATH": str(self.zones)}
        clock = {} if self.wall is None else self.wall.environment()
        return super().environment() | clock | own
