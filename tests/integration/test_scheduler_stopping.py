"""What a call is told that waits while the server stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import ShuttingDownError
from mahavishnu_sched_mcp.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_call_that_waits_is_told_of_the_stop(tmp_path: Path) -> None:
    """Who waits for a run that outlasts the server is refused as shutting_down, not as a defect."""
    scheduler = MahavishnuApp(load_settings(data_dir=tmp_path, environ={})).scheduler
    await scheduler.start(lead=False)  # so that the run waits
    later = TriggerRequest(type="date", in_seconds=3600)
    await scheduler.schedule_internal_task("remind", trigger=later, params={"message": "x"}, id="x")
    run = await scheduler.run_job_now("apscheduler:x")
    waiting = asyncio.create_task(scheduler.get_run(run.run_id, wait_seconds=20))
    await asyncio.sleep(0)

    await scheduler.stop(drain=0)

    with pytest.raises(ShuttingDownError, match="get_run"):
        await asyncio.wait_for(waiting, 10)
