"""How much memory the server's own process holds, before and after an engine is in use."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.figures import Figure
from tests.benchmarks.wire import BARE_SERVER, MeasuredServer, our_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SETTINGS = """
tasks: {modules: [tests.benchmarks.chore]}
workflows:
  one: {description: One node, nodes: [{id: first, task: note_instant}]}
"""
_LONGEST_SECONDS = 90.0
_KIBIBYTES = 1024


def measure(folder: Path) -> list[Figure]:
    """Use one engine after the other in one server, and look at its memory."""
    settings = folder / "settings.yaml"
    settings.write_text(_SETTINGS, encoding="utf-8")
    with (
        MeasuredServer(BARE_SERVER) as bare,
        MeasuredServer(our_server(folder / "data", config=settings)) as ours,
    ):
        for server in (bare, ours):
            server.greet()
            server.request("tools/list", {})
        beside = _resident(bare)
        figures = [_figure("idle, tools listed", ours, beside)]
        ours.call("enqueue_workflow", {"workflow_key": "one", "id": "once"})
        _await_run(ours, "oneiric:once")
        figures.append(_figure("after a workflow through Oneiric", ours, beside))
        deployment = {"flow_name": "one", "schedule_config": {"interval_seconds": 5}}
        ours.call("schedule_deployment", deployment)
        _await_run(ours, "prefect:one")
        figures.append(_figure("after a run on the embedded Prefect", ours, beside))
        ours.call("cancel_job", {"job_id": "prefect:one"})
    return figures


def _figure(when: str, server: MeasuredServer, beside: float) -> Figure:
    what = f"resident memory of the server's process, {when}"
    return Figure(what=what, ours=_resident(server), unit="MiB", beside=beside)


def _resident(server: MeasuredServer) -> float:
    """Give the resident set of a process in MiB."""
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(server.pid)], capture_output=True, check=True, text=True
    )
    return int(said.stdout) / _KIBIBYTES


def _await_run(server: MeasuredServer, job_id: str) -> None:
    """Wait until a run of the job succeeded."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        page: Mapping[str, Any] = server.call("list_runs", {"job_id": job_id, "state": "succeeded"})
        if page["total"] > 0:
            return
        time.sleep(0.5)
    msg = f"No run of {job_id} succeeded within {_LONGEST_SECONDS:.0f} s."
    raise RuntimeError(msg)
