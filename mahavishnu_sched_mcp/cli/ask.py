"""`jobs`, `runs`, `status`, `catalog`, `preview`, `classify`: the tools' answers as tables."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mahavishnu_sched_mcp.app import MahavishnuApp
from mahavishnu_sched_mcp.cli import tables
from mahavishnu_sched_mcp.domain.engine import Backend
from mahavishnu_sched_mcp.domain.job import JobState
from mahavishnu_sched_mcp.domain.run import RunState
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import (
    InvalidArgumentsError,
    InvalidTriggerError,
    JobNotFoundError,
    nearest,
)
from mahavishnu_sched_mcp.log import configure_logging
from mahavishnu_sched_mcp.scheduler import MahavishnuScheduler
from mahavishnu_sched_mcp.server import views
from mahavishnu_sched_mcp.settings import load_settings
from mahavishnu_sched_mcp.upkeep import has_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from rich.console import RenderableType

    from mahavishnu_sched_mcp.settings import Settings

FINE, WRONG_USAGE = 0, 2
MOST_ROWS = 200
NO_LEDGER = "No ledger yet: nothing was ever scheduled here."
WIDTH_ELSEWHERE = 160
"""Columns where no terminal says how many there are: ids stay whole in a file or a pipe."""


def run(options: argparse.Namespace) -> int:
    """Ask one question and print the answer; nothing is changed and nothing fires.

    Raises:
        SettingsError: the settings are wrong.
        SchedulerError: the question has no answer; it says why.
    """
    configure_logging(environ=os.environ)
    settings = load_settings(config=options.config, data_dir=options.data_dir, environ=os.environ)
    ask, show = _QUESTIONS[options.command]
    is_new = options.command in _OF_LEDGER and not has_ledger(settings)
    try:
        if is_new:
            view = _answered_anew(settings, ask, options)
        else:
            app = MahavishnuApp(settings, config_path=options.config)
            view = asyncio.run(_answered(app, ask, options))
    except (InvalidArgumentsError, InvalidTriggerError) as error:
        print(f"[{error.code}] {error}", file=sys.stderr)
        return WRONG_USAGE
    if is_new:
        print(NO_LEDGER, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(view, indent=2, ensure_ascii=False))
    elif not is_new:
        width = None if sys.stdout.isatty() else WIDTH_ELSEWHERE
        Console(width=width, highlight=False).print(*show(view), sep="\n")
    return FINE


type Question = Callable[[MahavishnuScheduler, argparse.Namespace], Awaitable[JsonObject]]
type Show = Callable[[JsonObject], Iterable[RenderableType]]


async def _answered(app: MahavishnuApp, ask: Question, options: argparse.Namespace) -> JsonObject:
    """Ask beside the servers of the data dir, without ever taking their place."""
    if options.command not in _OF_LEDGER:
        return await ask(app.scheduler, options)
    await app.scheduler.start(lead=False)
    try:
        return await ask(app.scheduler, options)
    finally:
        await app.stop_scheduler(drain=0)


def _answered_anew(settings: Settings, ask: Question, options: argparse.Namespace) -> JsonObject:
    """Ask where no server ever ran: looking makes no ledger, so a folder for the moment has it."""
    with tempfile.TemporaryDirectory() as folder:
        app = MahavishnuApp(
            settings.model_copy(update={"data_dir": Path(folder)}), config_path=options.config
        )
        everything = argparse.Namespace(**(vars(options) | {"job_id": None}))
        return asyncio.run(_answered(app, ask, everything))


async def _ask_jobs(scheduler: MahavishnuScheduler, options: argparse.Namespace) -> JsonObject:
    page = await scheduler.list_jobs(
        backend=None if options.backend is None else Backend(options.backend),
        state=_named(JobState, options.state),
        include_system=options.include_system,
        limit=_limit(options),
    )
    return {
        "jobs": [views.job_view(job) for job in page.rows],
        "total": page.total,
        "next_cursor": page.next_cursor,
        "engines": scheduler.engines(),
    }


async def _ask_runs(scheduler: MahavishnuScheduler, options: argparse.Namespace) -> JsonObject:
    try:
        page = await scheduler.list_runs(
            job_id=options.job_id, state=_named(RunState, options.state), limit=_limit(options)
        )
    except JobNotFoundError as error:
        raise JobNotFoundError(error.message, hint="`jobs` lists them all.") from error
    return {
        "runs": [views.run_view(run, output_bytes=views.LISTED_OUTPUT_BYTES) for run in page.rows],
        "total": page.total,
        "next_cursor": page.next_cursor,
    }


async def _ask_status(scheduler: MahavishnuScheduler, _: argparse.Namespace) -> JsonObject:
    return views.status_view(await scheduler.status())


async def _ask_catalog(scheduler: MahavishnuScheduler, options: argparse.Namespace) -> JsonObject:
    return views.catalog_view(scheduler.list_catalog(query=options.query, limit=_limit(options)))


async def _ask_preview(scheduler: MahavishnuScheduler, options: argparse.Namespace) -> JsonObject:
    trigger = TriggerRequest(type="cron", expression=options.expression, timezone=options.timezone)
    count = _between(options.count, most=100, name="--count")
    return views.preview_view(scheduler.preview(trigger, count=count))


async def _ask_classify(scheduler: MahavishnuScheduler, options: argparse.Namespace) -> JsonObject:
    classification = scheduler.classify(
        options.task_name,
        description=options.description,
        interval_seconds=options.interval_seconds,
    )
    return views.classification_view(classification)


def _limit(options: argparse.Namespace) -> int:
    return _between(options.limit, most=MOST_ROWS, name="--limit")


def _between(number: int, *, most: int, name: str) -> int:
    if not 1 <= number <= most:
        msg = f"{name} {number} is not between 1 and {most}."
        raise InvalidArgumentsError(msg, hint="Choose a number in between.")
    return number


def _named[State: StrEnum](states: type[State], name: str | None) -> State | None:
    if name is None:
        return None
    if name not in list(states):
        msg = f"'{name[:40]}' is not a state."
        mend = nearest(name, states) or f"Choose one of {', '.join(states)}."
        raise InvalidArgumentsError(msg, hint=mend)
    return states(name)


_OF_LEDGER = frozenset({"jobs", "runs", "status"})
"""The others ask the settings and the clock only."""

_QUESTIONS: dict[str, tuple[Question, Show]] = {
    "jobs": (_ask_jobs, tables.show_jobs),
    "runs": (_ask_runs, tables.show_runs),
    "status": (_ask_status, tables.show_status),
    "catalog": (_ask_catalog, tables.show_catalog),
    "preview": (_ask_preview, tables.show_preview),
    "classify": (_ask_classify, tables.show_classification),
}
