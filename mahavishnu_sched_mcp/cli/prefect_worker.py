"""`_prefect-worker`: the worker of the Prefect engine, started by the server process only."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from mahavishnu_sched_mcp.backends.prefect.guard import guard_child


def run(args: list[str]) -> int:
    """Run flows of a work pool until the parent ends this process or is gone.

    Args:
        args: `--pool NAME --owner NAME --ready-file FILE --limit NUMBER` and any number of
            `--entrypoint DOTTED.PATH`.
    """
    parser = argparse.ArgumentParser(prog="mahavishnu-sched-mcp _prefect-worker")
    parser.add_argument("--pool", required=True)
    parser.add_argument("--owner", required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--entrypoint", action="append", default=[])
    chosen = parser.parse_args(args)
    # Before the import that takes seconds: a parent gone meanwhile is noticed.
    guard_child()
    worker = importlib.import_module("mahavishnu_sched_mcp.backends.prefect.worker")
    return int(
        worker.serve(
            pool=chosen.pool,
            owner=chosen.owner,
            entrypoints=chosen.entrypoint,
            limit=chosen.limit,
            ready_file=chosen.ready_file,
        )
    )
