"""What the scheduler answers to questions; nothing here changes anything."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mahavishnu_sched_mcp.domain.answer import CatalogPage, JobDetail
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import Job, JobState
from mahavishnu_sched_mcp.domain.page import Page
from mahavishnu_sched_mcp.domain.run import Run
from mahavishnu_sched_mcp.errors import RunNotFoundError
from mahavishnu_sched_mcp.ledger import job_lists, run_lists, runs
from mahavishnu_sched_mcp.scheduler.change import require_job
from mahavishnu_sched_mcp.scheduler.cursor import read_cursor, write_cursor

if TYPE_CHECKING:
    import apsw

    from mahavishnu_sched_mcp.domain.catalog import Catalog
    from mahavishnu_sched_mcp.domain.run import RunState

_SHOWN_FIRES = 5
_SHOWN_RUNS = 5


def job_page(
    db: apsw.Connection,
    *,
    backend: Backend | None,
    state: JobState | None,
    tag: str | None,
    include_system: bool,
    limit: int,
    cursor: str | None,
    now: datetime,
) -> Page[Job]:
    """Give a page of jobs, oldest first.

    Raises:
        InvalidArgumentsError: the cursor is not one of this list's.
    """
    after = read_cursor(cursor, length=1)
    found, total = job_lists.select(
        db,
        backend=backend,
        state=state,
        tag=tag,
        include_system=include_system,
        after_serial=after[0] if after else 0,
        limit=limit + 1,
    )
    shown = found[:limit]
    following = write_cursor(shown[-1].serial) if len(found) > limit else None
    rows = tuple(with_next_fire(job, now=now) for job in shown)
    return Page[Job](rows=rows, total=total, next_cursor=following)


def job_detail(db: apsw.Connection, job_id: str, *, now: datetime) -> JobDetail:
    """Give a job with what is next and what was last.

    Raises:
        JobNotFoundError: there is none.
    """
    job = with_next_fire(require_job(db, job_id), now=now)
    newest, _, _ = run_lists.select(
        db,
        job_id=job_id,
        state=None,
        since=None,
        until=None,
        include_system=True,
        before=None,
        limit=_SHOWN_RUNS,
    )
    fires = next_fires(job, now=now, count=_SHOWN_FIRES)
    return JobDetail(job=job, next_fires=fires, runs=tuple(newest))


def run_page(
    db: apsw.Connection,
    *,
    job_id: str | None,
    state: RunState | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[Run]:
    """Give a page of runs, the newest first.

    Raises:
        JobNotFoundError: no such job was ever made.
        InvalidArgumentsError: the cursor is not one of this list's.
    """
    if job_id is not None:
        require_job(db, job_id)
    place = read_cursor(cursor, length=2)
    found, total, end = run_lists.select(
        db,
        job_id=job_id,
        state=state,
        since=since,
        until=until,
        include_system=False,
        before=None if place is None else (place[0], place[1]),
        limit=limit,
    )
    following = None if end is None else write_cursor(*end)
    return Page[Run](rows=tuple(found), total=total, next_cursor=following)


def require_run(db: apsw.Connection, run_id: str) -> Run:
    """Give one run.

    Raises:
        RunNotFoundError: there is none.
    """
    run = runs.get(db, run_id)
    if run is None:
        msg = f"No run is called '{run_id[:100]}'."
        raise RunNotFoundError(msg, hint="See list_runs(job_id=...) for the ids of a job's runs.")
    return run


def with_next_fire(job: Job, *, now: datetime) -> Job:
    """Fill in the next fire of a job whose engine makes its own fires."""
    if job.backend is not Backend.PREFECT or job.trigger is None:
        return job
    is_going = job.state in {JobState.ACTIVE, JobState.PENDING}
    following = job.trigger.next_after(now) if is_going else None
    return job.model_copy(update={"next_run_at": following})


def next_fires(job: Job, *, now: datetime, count: int) -> tuple[datetime, ...]:
    """Give the next fires of a job in its own zone; none where it does not fire."""
    if job.trigger is None or job.next_run_at is None:
        return ()
    first = max(job.next_run_at, now) - timedelta(microseconds=1)
    until = job.definition.policies.expires_at
    most = job.definition.policies.max_runs
    left = count if most is None else max(0, min(count, most - job.fired))
    zone = ZoneInfo(job.trigger.zone)
    found = job.trigger.fires(first, count=left, until=until) if left else []
    return tuple(fire.astimezone(zone) for fire in found)


def catalog_page(
    catalog: Catalog, *, kind: str | None, query: str | None, limit: int, cursor: str | None
) -> CatalogPage:
    """Give the catalog's entries that match, in a fixed order.

    Args:
        kind: task, workflow, flow or provider; None for all.
        query: Words that all have to occur in name or description.

    Raises:
        InvalidArgumentsError: the cursor is not one of this list's.
    """
    families: tuple[tuple[str, Any], ...] = (
        ("task", catalog.tasks),
        ("workflow", catalog.workflows),
        ("flow", catalog.flows),
        ("provider", catalog.providers),
    )
    words = (query or "").lower().split()
    matching = [
        (family, entry)
        for family, entries in families
        if kind in {None, family}
        for _, entry in sorted(entries.items())
        if all(word in f"{entry.name} {entry.description}".lower() for word in words)
    ]
    place = read_cursor(cursor, length=1)
    start = max(0, place[0]) if place else 0
    shown = matching[start : start + limit]
    end = start + limit
    return CatalogPage(
        tasks=tuple(entry for family, entry in shown if family == "task"),
        workflows=tuple(entry for family, entry in shown if family == "workflow"),
        flows=tuple(entry for family, entry in shown if family == "flow"),
        providers=tuple(entry for family, entry in shown if family == "provider"),
        total=len(matching),
        next_cursor=write_cursor(end) if len(matching) > end else None,
    )
