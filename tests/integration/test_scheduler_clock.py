"""The wall clock is set under a running server."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from mahavishnu_sched_mcp.errors import StorageFullError
from mahavishnu_sched_mcp.ledger import Ledger
from tests.factories import (
    ManualClock,
    an_app,
    an_interval,
    eventually,
    ring,
    runs_of,
)

if TYPE_CHECKING:
    from pathlib import Path

JOB = "apscheduler:a"
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("by", "words"), [(2 * HOUR, "follows each job's missed_policy"), (-HOUR, "made twice")]
)
async def test_get_status_says_that_the_clock_was_set(
    by: timedelta, words: str, tmp_path: Path
) -> None:
    """By how much, when, and what becomes of the fires; for a day."""
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await ring(app, clock)
        clock._now += by
        await ring(app, clock, by=timedelta(seconds=1))
        soon = (await app.scheduler.status()).attention
        clock.shift(timedelta(days=1, hours=2))
        later = (await app.scheduler.status()).attention

    (line,) = [line for line in soon if "wall clock" in line]
    assert f"{by.total_seconds():+.0f} s" in line
    assert words in line
    assert not [line for line in later if "wall clock" in line]


async def test_a_server_that_starts_on_a_full_disk_leads_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it answers; nobody has to start it again."""
    write, is_full = Ledger.write, True

    async def write_if_room(self: Ledger, *args: object, **kwargs: object) -> object:
        if is_full:
            msg = "The disk has no room for the ledger; nothing was changed."
            raise StorageFullError(msg, hint="Free some space and try again.")
        return await write(self, *args, **kwargs)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Ledger, "write", write_if_room)
    clock = ManualClock()
    async with an_app(tmp_path, clock=clock) as app:
        with pytest.raises(StorageFullError):
            await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        empty = await app.scheduler.list_jobs()
        was_leader, is_full = app.scheduler.is_leader, False
        dispatcher = app.scheduler._parts.lead._dispatcher
        await eventually(lambda: dispatcher._loop is not None, description="it leads")
        await app.scheduler.schedule_internal_task("greet", trigger=an_interval(60), id="a")
        await ring(app, clock)
        runs = await runs_of(app, JOB)

    assert (empty.total, was_leader) == (0, False)
    assert len(runs) == 1
