"""`restore`: puts a backup in the ledger's place; what was there is renamed, never deleted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.log import configure_logging
from mahavishnu_sched_mcp.settings import load_settings
from mahavishnu_sched_mcp.upkeep import restore

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Restore, and say what was done.

    Raises:
        SettingsError: the settings are wrong.
        SchedulerError: the backup is not sound, or the ledger is in use; nothing was changed.
    """
    configure_logging(environ=os.environ)
    settings = load_settings(config=options.config, data_dir=options.data_dir, environ=os.environ)
    done = restore(settings, options.file)
    for file in done.put_aside:
        print(f"Kept what was there: {file}")
    print(f"Restored {done.backup.jobs} jobs and {done.backup.runs} runs from {done.backup.file}.")
    print("Runs since that backup are unknown; what came due since follows each missed_policy.")
    return 0
