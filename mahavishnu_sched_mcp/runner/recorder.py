"""Writes down how attempts ended, for as long as this process leads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.leadership import DeposedError
from mahavishnu_sched_mcp.ledger import jobs
from mahavishnu_sched_mcp.ledger.zone_rules import follow_zone_rules
from mahavishnu_sched_mcp.runner import outcomes
from mahavishnu_sched_mcp.tasks.leftovers import end_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.domain.run import Outcome, Run
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger

_RETRY_SECONDS = 0.5
_END_SECONDS = 5.0
"""What the last leader left running gets so long to end: a new leader has to begin soon."""
_log = structlog.get_logger()


class Recorder:
    """The leader's pen.

    Args:
        is_idempotent: Whether a job's target may run twice.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        leadership: Leadership,
        clock: Clock,
        is_idempotent: Callable[[Job], bool],
    ) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._clock = clock
        self._is_idempotent = is_idempotent

    async def take_over(self) -> list[Run]:
        """Account for what the last leader left going, and give those runs.

        Their processes are ended first: nothing runs again beside what is left of it.
        """
        going = self._ledger.read(outcomes.going)
        undead = await asyncio.to_thread(end_leftovers, going, within=_END_SECONDS)
        if going:
            await self._leadership.renew()  # that may have taken a while
        now = self._clock.now()

        def change(db: apsw.Connection) -> list[Run]:
            lost = outcomes.recover(db, at=now, is_idempotent=self._is_idempotent, undead=undead)
            jobs.end_ephemeral(db)
            outcomes.drop_orphans(db, at=now)
            follow_zone_rules(db, now=now)
            outcomes.cap_waits(db, at=now)
            return lost

        lost = await self._leadership.write(change)
        for run in lost:
            _log.warning("run_recovered", run_id=run.run_id, job_id=run.job_id, state=run.state)
        return lost

    async def finish(self, run_id: str, outcome: Outcome, *, term: int) -> Run | None:
        """Record how the attempt of a run ended; tries until the ledger takes it.

        Args:
            term: The term in which the attempt began; 0 takes the present one.

        Returns:
            The run as it is then; None where another process leads, which has accounted for it.
        """
        at = self._clock.now()

        def change(db: apsw.Connection) -> Run:
            return outcomes.record(db, run_id, outcome, at=at, is_idempotent=self._is_idempotent)

        while True:
            try:
                run = await self._leadership.write(change, durable=False, essential=True, term=term)
                break
            except DeposedError:
                _log.warning("outcome_of_lost_term", run_id=run_id, state=outcome.state)
                return None
            except SchedulerError as error:  # a full disk passes; the outcome must not be lost
                _log.warning("outcome_not_recorded", run_id=run_id, error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
        _log.info(
            "run_finished",
            job_id=run.job_id,
            run_id=run_id,
            state=run.state,
            duration_ms=None if run.duration is None else round(run.duration.total_seconds() * 1e3),
        )
        return run

    async def close(self) -> None:
        """Record as interrupted whatever still counts as running."""
        now = self._clock.now()
        await self._leadership.write(
            lambda db: outcomes.recover(db, at=now, is_idempotent=self._is_idempotent)
        )
