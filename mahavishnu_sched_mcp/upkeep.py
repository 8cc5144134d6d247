"""What an operator does to a data dir without a scheduler: look it over, copy it, put it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.ledger import backup, restoration
from mahavishnu_sched_mcp.ledger.inspection import is_new

if TYPE_CHECKING:
    from pathlib import Path

    from mahavishnu_sched_mcp.domain.finding import Finding
    from mahavishnu_sched_mcp.ledger.backup import Backup
    from mahavishnu_sched_mcp.ledger.restoration import Restoration
    from mahavishnu_sched_mcp.settings import Settings

LEDGER_NAME = "ledger.db"


def diagnose(settings: Settings) -> list[Finding]:
    """Check the installation part by part, without starting anything."""
    # A server never asks for it and need not pay for its imports.
    from mahavishnu_sched_mcp import diagnosis  # noqa: PLC0415

    return diagnosis.diagnose(settings)


def has_ledger(settings: Settings) -> bool:
    """Whether a ledger was ever made in the data dir, even where it is gone now."""
    return not is_new(settings.data_path / LEDGER_NAME)


def back_up(settings: Settings, file: Path, *, replace: bool = False) -> Backup:
    """Copy the ledger to a file, beside running servers.

    Raises:
        SchedulerError: there is no sound ledger, or no place for the copy.
    """
    return backup.back_up(settings.data_path / LEDGER_NAME, to=file, replace=replace)


def restore(settings: Settings, file: Path) -> Restoration:
    """Put a backup in the ledger's place; what was there is renamed.

    Raises:
        SchedulerError: the backup is not sound, or the ledger is in use.
    """
    return restoration.restore(settings.data_path / LEDGER_NAME, backup=file)
