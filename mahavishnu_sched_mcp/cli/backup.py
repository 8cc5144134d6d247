"""`backup`: copies the ledger to a file, beside running servers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.log import configure_logging
from mahavishnu_sched_mcp.settings import load_settings
from mahavishnu_sched_mcp.upkeep import back_up

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Copy, look through the copy, and say what is in it.

    Raises:
        SettingsError: the settings are wrong.
        SchedulerError: there is no sound ledger, or no place for the copy.
    """
    configure_logging(environ=os.environ)
    settings = load_settings(config=options.config, data_dir=options.data_dir, environ=os.environ)
    made = back_up(settings, options.file.absolute(), replace=options.force)
    print(f"Backed up {made.jobs} jobs and {made.runs} runs to {made.file}: looked through, sound.")
    print(f"Put it back with: mahavishnu-sched-mcp restore {made.file}")
    return 0
