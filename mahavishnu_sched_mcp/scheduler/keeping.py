"""Changing jobs: update, pause, resume, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job
from mahavishnu_sched_mcp.domain.policy import Policies
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, InvalidStateError
from mahavishnu_sched_mcp.ledger import job_lists
from mahavishnu_sched_mcp.scheduler import change
from mahavishnu_sched_mcp.scheduler.checks import check_end, check_texts, read_instant
from mahavishnu_sched_mcp.scheduler.core import SchedulerCore
from mahavishnu_sched_mcp.scheduler.reading import with_next_fire
from mahavishnu_sched_mcp.scheduler.request import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import apsw

    from mahavishnu_sched_mcp.domain.job import JobDefinition
    from mahavishnu_sched_mcp.domain.value import JsonObject


class Keeping(SchedulerCore):
    """Jobs that exist are changed here."""

    async def update_job(
        self,
        job_id: str,
        *,
        trigger: TriggerRequest | None = None,
        params: JsonObject | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        policies: JsonObject | None = None,
    ) -> Job:
        """Change what is given and leave the rest.

        Fires up to now belong to the old definition, later ones to the new.

        Args:
            policies: Only the policies to change, by name.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was changed.
        """
        self._require_open()
        check_texts({"name": name, "note": note}, tags=tags or ())
        now = self._clock.now()
        job = self._ledger.read(lambda db: change.require_changeable(db, job_id))
        change.require_readable(job)
        definition = _changed(job.definition, trigger=trigger, params=params, policies=policies)
        self._parts.admission.recheck(definition)
        if trigger is not None and job.trigger is None:
            msg = f"Job '{job_id}' was enqueued once and has no trigger to change."
            raise InvalidStateError(msg, hint="Make a new job with enqueue_workflow(trigger=...).")
        is_new = definition.trigger_requested != job.definition.trigger_requested
        resolved = (
            self._parts.admission.resolve(trigger, now=now)
            if trigger is not None and is_new
            else None
        )
        if resolved is not None or "expires_at" in (policies or {}):
            check_end(definition.policies.expires_at, trigger=resolved or job.trigger, at=now)

        def write(db: apsw.Connection) -> Job:
            current = change.require_changeable(db, job_id)
            if current.definition != job.definition or current.serial != job.serial:
                msg = f"Job '{job_id}' was changed by another call meanwhile."
                raise InvalidStateError(msg, hint="Look at it with get_job, then call again.")
            return change.update(
                db,
                current,
                definition=definition,
                trigger=resolved,
                name=name,
                tags=tags,
                note=note,
                at=now,
            )

        return await self._done(write)

    async def pause_job(
        self, job_id: str, *, note: str | None = None, until: str | None = None
    ) -> Job:
        """Hold a job's fires; a run that has started goes on.

        Args:
            until: Resume by itself at this RFC 3339 instant; None waits for `resume_job`.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was changed.
        """
        self._require_open()
        check_texts({"note": note}, tags=())
        now = self._clock.now()
        end = read_instant("until", until)
        if end is not None and end <= now:
            msg = f"until='{until}' is not in the future."
            raise InvalidArgumentsError(msg, hint="Use a later instant, or leave it out.")
        return await self._done(
            lambda db: change.pause(db, job_id, note=note, until=end, at=now), essential=True
        )

    async def pause_jobs(
        self, tag: str, *, note: str | None = None, until: str | None = None
    ) -> tuple[Job, ...]:
        """Pause every job that carries a tag and is not paused yet."""
        found = self._tagged(tag, ("active", "pending"))
        return tuple([await self.pause_job(one, note=note, until=until) for one in found])

    async def resume_job(self, job_id: str) -> Job:
        """Let a paused job fire again; the fires of the pause are recorded as skipped.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was changed.
        """
        self._require_open()
        now = self._clock.now()
        return await self._done(
            lambda db: change.resume(db, change.require_changeable(db, job_id), at=now)
        )

    async def resume_jobs(self, tag: str) -> tuple[Job, ...]:
        """Resume every paused job that carries a tag."""
        return tuple([await self.resume_job(one) for one in self._tagged(tag, ("paused",))])

    async def cancel_job(self, job_id: str) -> Job:
        """Take away a job's future fires and its waiting runs; past runs stay.

        Raises:
            SchedulerError: as the contract's refusals say; nothing was changed.
        """
        self._require_open()
        now = self._clock.now()
        return await self._done(lambda db: change.cancel(db, job_id, at=now), essential=True)

    async def _done(
        self, write: Callable[[apsw.Connection], Job], *, essential: bool = False
    ) -> Job:
        job = await self._ledger.write(write, essential=essential)
        if job.backend is Backend.PREFECT:
            job = await self._settled(job.serial)
        return with_next_fire(job, now=self._clock.now())

    def _tagged(self, tag: str, states: tuple[str, ...]) -> list[str]:
        self._require_open()
        found = self._ledger.read(job_lists.unfinished)
        return [
            job.job_id
            for job in found
            if tag in job.tags and job.state in states and job.origin.value != "system"
        ]


def _changed(
    definition: JobDefinition,
    *,
    trigger: TriggerRequest | None,
    params: JsonObject | None,
    policies: JsonObject | None,
) -> JobDefinition:
    given: JsonObject = {}
    if trigger is not None:
        given["trigger_requested"] = canonical(trigger.as_requested())
    if params is not None:
        given["params"] = params
    if policies:
        try:
            merged = definition.policies.model_dump() | policies
            given["policies"] = Policies.model_validate(merged)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            msg = f"{where}={first.get('input')!r}: {first['msg']}."
            raise InvalidArgumentsError(msg, hint="See the tool's schema.") from error
    return definition.model_copy(update=given)
