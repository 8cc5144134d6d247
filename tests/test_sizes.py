"""Files stay small enough to be read in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMITS = {"mahavishnu_sched_mcp": 300, "examples": 300, "tests": 400}

EXCEPTIONS: dict[str, str] = {}
"""Path of a larger file, and the reason why it has to be; may only shrink."""


def length_of(path: Path) -> int:
    """Count the lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("folder", LIMITS)
def test_no_file_is_longer_than_its_limit(folder: str) -> None:
    """A larger file needs a reason in EXCEPTIONS."""
    too_long = {
        str(path.relative_to(ROOT)): length_of(path)
        for path in sorted((ROOT / folder).rglob("*.py"))
        if length_of(path) > LIMITS[folder]
    }

    assert {name: lines for name, lines in too_long.items() if name not in EXCEPTIONS} == {}


def test_no_exception_outlives_its_need() -> None:
    """An exception goes as soon as its file fits."""
    stale = [
        name
        for name in EXCEPTIONS
        if not (ROOT / name).is_file() or length_of(ROOT / name) <= LIMITS[Path(name).parts[0]]
    ]

    assert stale == []
