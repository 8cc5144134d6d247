"""`_prefect-server`: the embedded Prefect server, started by the server process only."""

from __future__ import annotations

import argparse
import importlib


def run(args: list[str]) -> int:
    """Serve Prefect on the loopback address until the parent ends it or is gone.

    Args:
        args: `--port NUMBER`.
    """
    parser = argparse.ArgumentParser(prog="mahavishnu-sched-mcp _prefect-server")
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args(args)
    server = importlib.import_module("mahavishnu_sched_mcp.backends.prefect.server")
    return int(server.serve(chosen.port))
