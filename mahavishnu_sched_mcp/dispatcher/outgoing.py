"""The outbox: what the ledger wants engines to have is handed over until they have it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.errors import SchedulerError
from mahavishnu_sched_mcp.ledger import jobs, outbox, runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import apsw

    from mahavishnu_sched_mcp.backends.protocol import SchedulerBackend
    from mahavishnu_sched_mcp.domain.clock import Clock
    from mahavishnu_sched_mcp.domain.dispatch import Dispatch
    from mahavishnu_sched_mcp.domain.job import Job
    from mahavishnu_sched_mcp.leadership import Leadership
    from mahavishnu_sched_mcp.ledger import Ledger

MOST_BACKOFF_SECONDS = 30.0
_log = structlog.get_logger()


class Outgoing:
    """Hands runs over to the engines that are switched on."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        leadership: Leadership,
        clock: Clock,
        engines: Mapping[Backend, SchedulerBackend],
    ) -> None:
        self._ledger = ledger
        self._leadership = leadership
        self._clock = clock
        self._engines = engines

    def due(self) -> list[tuple[Backend, Dispatch]]:
        """Give what may be tried now, oldest first."""
        now = self._clock.now()
        return self._ledger.read(lambda db: outbox.due(db, now=now))

    async def send(self, backend: Backend, work: Dispatch) -> None:
        """Try once, and write down what came of it."""
        job, tries = self._ledger.read(
            lambda db: (
                jobs.require(db, runs.require(db, work.run_id).job_serial),
                outbox.tries(db, work.run_id),
            )
        )
        fresh = work.model_copy(update={"reference": job.reference})
        try:
            receipt = await self._engines[backend].dispatch(fresh)
        except SchedulerError as refusal:
            error, wait = refusal.message, min(0.5 * 2.0**tries, MOST_BACKOFF_SECONDS)
            again = self._clock.now() + timedelta(seconds=wait)
            _log.warning("hand_over_failed", run_id=work.run_id, error=error)
            note = f"{backend} has not taken it: {refusal}"

            def failed(db: apsw.Connection) -> None:
                outbox.mark_failed(db, work.run_id, error=error, next_try_at=again)
                known = jobs.require(db, job.serial)
                if known.state is JobState.PENDING and known.note != note:
                    jobs.set_note(db, job.serial, note)

            await self._leadership.write(failed, durable=False)
            return
        at = self._clock.now()

        def taken(db: apsw.Connection) -> None:
            outbox.mark_sent(db, work.run_id, at=at)
            runs.refer(db, work.run_id, receipt.reference)
            if job.trigger is None and job.backend is Backend.ONEIRIC:
                take_receipt(db, jobs.require(db, job.serial), receipt.reference)

        await self._leadership.write(taken)


def take_receipt(db: apsw.Connection, job: Job, reference: dict[str, object]) -> None:
    """Remember that the engine has the job as it is."""
    jobs.record_receipt(db, job.serial, revision=job.revision, reference=reference)
    jobs.complete_if_over(db, job.serial)
