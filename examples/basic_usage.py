"""Use the scheduler from Python: `python -m examples.basic_usage FOLDER`.

FOLDER is where the ledger is kept. What an agent does through the tools, a program can do through
`MahavishnuScheduler`; both see the same jobs.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp import MahavishnuApp, load_settings
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.log import configure_logging

if TYPE_CHECKING:
    from mahavishnu_sched_mcp import MahavishnuScheduler

OFFICE_HOURS = TriggerRequest(type="cron", expression="0 9-17 * * 1-5", timezone="America/New_York")


async def main(folder: Path) -> None:
    """Schedule two tasks, look at their runs, and hold one of them."""
    settings = load_settings(
        data_dir=folder, environ={}, overrides={"tasks": {"modules": ["examples.basic_tasks"]}}
    )
    async with MahavishnuApp(settings).lifecycle() as app:
        scheduler = app.scheduler
        every_second = await scheduler.schedule_internal_task(
            "greet", trigger_type="interval", seconds=1, params={"name": "Ada"}, id="greeting"
        )
        tell(f"{every_second.job.job_id}: {every_second.outcome}")

        preview = scheduler.preview(OFFICE_HOURS, count=2)
        tell(f"{preview.in_words}: {', '.join(fire.isoformat() for fire in preview.fires)}")
        await scheduler.schedule_internal_task(
            "checksum", trigger=OFFICE_HOURS, params={"text": "hello"}, id="office"
        )
        extra = await scheduler.run_job_now("apscheduler:office", wait_seconds=10)
        tell(f"checksum says {extra.output.text}")

        for line in await first_greetings(scheduler, count=2):
            tell(line)
        paused = await scheduler.pause_job("apscheduler:greeting", note="that is enough")
        tell(f"{paused.job_id}: {paused.state}")


async def first_greetings(scheduler: MahavishnuScheduler, *, count: int) -> list[str]:
    """Wait until the job has run so often, and give what it said."""
    while True:
        page = await scheduler.list_runs(
            job_id="apscheduler:greeting", state=RunState.SUCCEEDED, limit=count
        )
        if len(page.rows) == count:
            return [run.output.text for run in page.rows]
        await asyncio.sleep(0.1)


def tell(line: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main(Path(sys.argv[1])))
