"""The command line: one command per file, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib.metadata import version
from pathlib import Path

from mahavishnu_sched_mcp.errors import SchedulerError, SettingsError

FINE, FAILED, WRONG_USAGE = 0, 1, 2

_COMMANDS = {
    "serve": "serve MCP over stdio (the default) or HTTP",
    "jobs": "list the jobs of all engines",
    "runs": "list runs, the newest first",
    "status": "say how everything is and what needs attention",
    "catalog": "list what may be scheduled",
    "preview": "show when a trigger would fire",
    "classify": "say which engine suits a task",
    "doctor": "check the installation, and say how to mend each part",
    "backup": "copy the ledger to a file, beside running servers",
    "restore": "put a backup in the ledger's place; what was there is kept",
    "demo": "do the main job on all three engines, through a real server",
}
_ASKING = frozenset({"jobs", "runs", "status", "catalog", "preview", "classify"})
_FILES = {
    "backup": "the copy; must not be there yet",
    "restore": "a backup, or the name of one in the data dir's folder 'backups'",
}
_HIDDEN = {"_prefect-server": "prefect_server", "_prefect-worker": "prefect_worker"}


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code: 0 fine, 1 failed, 2 wrong usage or settings."""
    if arguments and arguments[0] in _HIDDEN:
        hidden = importlib.import_module(f"{__name__}.{_HIDDEN[arguments[0]]}")
        return int(hidden.run(arguments[1:]))
    options = _parser().parse_args(arguments)
    if options.command is None:
        options = _parser().parse_args([*arguments, "serve"])
    name = "ask" if options.command in _ASKING else options.command
    try:
        return int(importlib.import_module(f"{__name__}.{name}").run(options))
    except SettingsError as error:
        print(f"{error}", file=sys.stderr)
        return WRONG_USAGE
    except SchedulerError as error:
        print(f"[{error.code}] {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mahavishnu-sched-mcp", description="A scheduler for AI agents, over MCP."
    )
    parser.add_argument("--version", action="version", version=version("mahavishnu-sched-mcp"))
    _add_common(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {
        name: commands.add_parser(name, help=text, description=text)
        for name, text in _COMMANDS.items()
    }
    for command in parsers.values():
        # Left out after the command, they keep what was said before it.
        _add_common(command, default=argparse.SUPPRESS)
    for name in (*_ASKING, "doctor"):
        parsers[name].add_argument("--json", action="store_true", help="print JSON")
    _add_serving(parsers["serve"])
    parsers["jobs"].add_argument("--state")
    parsers["jobs"].add_argument("--backend", choices=["apscheduler", "oneiric", "prefect"])
    parsers["jobs"].add_argument("--include-system", action="store_true")
    parsers["runs"].add_argument("job_id", nargs="?")
    parsers["runs"].add_argument("--state")
    for name in ("jobs", "runs", "catalog"):
        parsers[name].add_argument("--limit", type=int, default=50)
    parsers["catalog"].add_argument("query", nargs="?")
    parsers["preview"].add_argument("expression", help="cron, such as '0 2 * * 1-5'")
    parsers["preview"].add_argument("--timezone")
    parsers["preview"].add_argument("--count", type=int, default=5)
    parsers["classify"].add_argument("task_name")
    parsers["classify"].add_argument("--description")
    parsers["classify"].add_argument("--interval-seconds", type=float)
    for name, text in _FILES.items():
        parsers[name].add_argument("file", type=Path, metavar="FILE", help=text)
    parsers["backup"].add_argument("--force", action="store_true", help="overwrite FILE")
    parsers["demo"].add_argument("--keep", action="store_true", help="keep the demo's data dir")
    return parser


def _add_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--transport", choices=["stdio", "http"], default="stdio", help="default: stdio"
    )
    parser.add_argument("--host", help="with http: where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="with http: 0 takes a free one (default: 8765)")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="with http: let other machines reach it; needs http.allowed_hosts",
    )


def _add_common(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    parser.add_argument(
        "--data-dir", type=Path, default=default, help="where ledger and queues are kept"
    )
    parser.add_argument("--config", type=Path, default=default, help="the settings file")
