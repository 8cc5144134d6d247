"""Runs: look at them, start an extra one, stop one, run one again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import InvalidArgumentsError
from mahavishnu_sched_mcp.scheduler import extra, reading
from mahavishnu_sched_mcp.scheduler.checks import check_texts, read_instant
from mahavishnu_sched_mcp.scheduler.core import Progress, SchedulerCore

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.domain.page import Page
    from mahavishnu_sched_mcp.domain.run import Run, RunState

CANCEL_SECONDS = 1.5
"""A cancelling call waits so long for the run's end; the clean-up may take longer."""


class Running(SchedulerCore):
    """Runs are read and asked for here; the leader makes and ends them."""

    async def run_job_now(
        self,
        job_id: str,
        *,
        idempotency_key: str | None = None,
        wait_seconds: float = 0,
        on_progress: Progress | None = None,
        created_by: str = "python",
    ) -> Run:
        """Run a job once beside its schedule, and wait for the end where asked to.

        Args:
            on_progress: Told seconds gone, seconds to wait and the state, about once a second.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was started.
        """
        self._require_open()
        check_texts({"idempotency_key": idempotency_key}, tags=())
        call = self._call("run_job_now", idempotency_key, {"job_id": job_id})
        now = self._clock.now()
        run = await self._ledger.write(
            lambda db: extra.run_now(db, job_id, call=call, by=created_by, at=now)
        )
        return await self._finished(run.run_id, wait_seconds=wait_seconds, on_progress=on_progress)

    async def replay_run(
        self, run_id: str, *, idempotency_key: str | None = None, created_by: str = "python"
    ) -> Run:
        """Run again what failed, died, was interrupted, cancelled or missed.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was started.
        """
        self._require_open()
        check_texts({"idempotency_key": idempotency_key}, tags=())
        call = self._call("replay_run", idempotency_key, {"run_id": run_id})
        now = self._clock.now()
        return await self._ledger.write(
            lambda db: extra.replay(db, run_id, call=call, by=created_by, at=now)
        )

    async def cancel_run(self, run_id: str) -> Run:
        """Stop a run; one that is over stays as it is.

        Raises:
            RunNotFoundError: there is no such run.
        """
        self._require_open()
        run = await self._ledger.write(lambda db: extra.request_cancel(db, run_id), essential=True)
        return await self._finished(run.run_id, wait_seconds=CANCEL_SECONDS, on_progress=None)

    async def get_run(
        self, run_id: str, *, wait_seconds: float = 0, on_progress: Progress | None = None
    ) -> Run:
        """Give one run, and wait for its end where asked to.

        Raises:
            RunNotFoundError: there is no such run.
        """
        self._require_open()
        run = self._ledger.read(lambda db: reading.require_run(db, run_id))
        return await self._finished(run.run_id, wait_seconds=wait_seconds, on_progress=on_progress)

    async def list_runs(
        self,
        *,
        job_id: str | None = None,
        state: RunState | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Run]:
        """Give a page of runs, the newest first.

        Args:
            since: Only runs for this RFC 3339 instant or later.
            until: Only runs for this RFC 3339 instant or earlier.

        Raises:
            SchedulerError: as the contract's refusals say.
        """
        self._require_open()
        first, last = read_instant("since", since), read_instant("until", until)
        if first is not None and last is not None and last < first:
            msg = f"until={until} is before since={since}."
            raise InvalidArgumentsError(msg, hint="Swap them, or leave one out.")
        return self._ledger.read(
            lambda db: reading.run_page(
                db,
                job_id=job_id,
                state=state,
                since=first,
                until=last,
                limit=limit,
                cursor=cursor,
            )
        )
