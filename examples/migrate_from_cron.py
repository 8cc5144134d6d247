"""Move a crontab over by hand: `python -m examples.migrate_from_cron FOLDER`.

Each line becomes two things: the operator's entry in the allow-list (what may run) and a call
(when). Nothing of a crontab line is handed to a shell.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp import MahavishnuApp, load_settings
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.log import configure_logging

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.domain.value import JsonObject


@dataclass(frozen=True)
class Line:
    """One line of a crontab and what becomes of it.

    Attributes:
        crontab: As it stood there.
        task: The name of its entry in the allow-list.
        entry: The entry: what was the command, as an argument vector.
        trigger: When: the five fields as they were, and the zone that cron took from the machine.
        policies: What cron could not say.
    """

    crontab: str
    task: str
    entry: JsonObject
    trigger: TriggerRequest
    policies: dict[str, Any] = field(default_factory=dict)


def cron(expression: str) -> TriggerRequest:
    """Take over the fields of a line, in the zone of the machine it ran on."""
    return TriggerRequest(type="cron", expression=expression, timezone="Europe/Berlin")


CRONTAB = (
    Line(
        crontab="*/15 * * * *  /usr/bin/du -sk /tmp",
        task="measure_tmp",
        entry={"description": "Size of /tmp in KiB", "argv": ["/usr/bin/du", "-sk", "/tmp"]},  # noqa: S108 - only looked at
        trigger=cron("*/15 * * * *"),
        # cron starts the next one beside it; here a fire is skipped while the last one runs.
        policies={"overlap_policy": "skip"},
    ),
    Line(
        crontab="30 2 * * 1-5  /usr/bin/find /tmp -maxdepth 1 -name '*.old'",
        task="find_old",
        entry={
            "description": "Names of old files",
            # No shell: the quotes of the crontab line are gone, the pattern is one element.
            "argv": ["/usr/bin/find", "/tmp", "-maxdepth", "1", "-name", "*.old"],  # noqa: S108 - only looked at
            "timeout_seconds": 60,
        },
        trigger=cron("30 2 * * 1-5"),
        # cron forgets what it missed while the machine was off; run_once makes up for it.
        policies={"missed_policy": "run_once"},
    ),
    Line(
        crontab="@daily  TZ=UTC /bin/date",
        task="tell_date",
        entry={"description": "The date", "argv": ["/bin/date"], "env": {"TZ": "UTC"}},
        trigger=cron("@daily"),
        policies={"missed_policy": "skip"},
    ),
)


async def main(folder: Path) -> None:
    """Allow the commands, schedule them as the crontab did, and try each once."""
    commands = {line.task: line.entry | {"idempotent": True} for line in CRONTAB}
    settings = load_settings(
        data_dir=folder, environ={}, overrides={"tasks": {"commands": commands}}
    )
    async with MahavishnuApp(settings).lifecycle() as app:
        for line in CRONTAB:
            made = await app.scheduler.schedule_internal_task(
                line.task,
                trigger=line.trigger,
                id=line.task.replace("_", "-"),
                policies=Policies.model_validate(line.policies),
                tags=["from-cron"],
            )
            first = made.next_fires[0].isoformat()
            run = await app.scheduler.run_job_now(made.job.job_id, wait_seconds=30)
            sys.stdout.write(f"{line.crontab}\n  {made.job.job_id}: next {first}; {run.state}\n")


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main(Path(sys.argv[1])))
