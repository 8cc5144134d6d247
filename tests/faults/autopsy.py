"""What SQLite says of a ledger as a fault has left it, before any server repairs it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from pathlib import Path


def damage(ledger: Path) -> list[str]:
    """Look through a copy of a ledger whose server is dead; empty where it is sound.

    Args:
        ledger: The file; its log is copied with it, for that is half of it.
    """
    copy = ledger.parent.parent / f"{ledger.parent.name}-copy"
    copy.mkdir()
    for part in ledger.parent.glob(f"{ledger.name}*"):
        shutil.copy(part, copy / part.name)
    try:
        return _complaints(copy / ledger.name)
    finally:
        shutil.rmtree(copy)


def _complaints(ledger: Path) -> list[str]:
    if not ledger.exists():
        return []  # it died before it made one
    connection = apsw.Connection(str(ledger))
    try:
        report = str(connection.execute("pragma integrity_check").get)
    except apsw.Error as error:
        report = str(error)
    connection.close()
    return [] if report == "ok" else [f"corrupt: {report}"]
