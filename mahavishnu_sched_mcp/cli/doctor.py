"""`doctor`: checks the installation, and says how to mend each part."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mahavishnu_sched_mcp.log import configure_logging
from mahavishnu_sched_mcp.settings import load_settings
from mahavishnu_sched_mcp.upkeep import diagnose

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Print what was found; exit code 1 where something has to be mended.

    Raises:
        SettingsError: the settings are wrong; file, line, key and mend are in the text.
    """
    configure_logging(environ=os.environ)
    settings = load_settings(config=options.config, data_dir=options.data_dir, environ=os.environ)
    findings = diagnose(settings)
    if options.json:
        json.dump([finding.model_dump() for finding in findings], sys.stdout, indent=2)
        print()
    else:
        table = Table("part", "is", "seen", "mend")
        for finding in findings:
            mark = "[green]fine[/]" if finding.ok else "[red]to mend[/]"
            table.add_row(finding.part, mark, finding.detail, finding.mend)
        Console().print(table)
    return 0 if all(finding.ok for finding in findings) else 1
