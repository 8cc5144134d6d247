"""Looks at an installation part by part and says how to mend each; changes nothing."""

from __future__ import annotations

import importlib.util
import shutil
import stat
from typing import TYPE_CHECKING

import apsw
import httpx

from mahavishnu_sched_mcp.composition import build_catalog, build_registry
from mahavishnu_sched_mcp.domain.finding import Finding
from mahavishnu_sched_mcp.errors import SchedulerError, SettingsError
from mahavishnu_sched_mcp.leadership import LockFile, is_led
from mahavishnu_sched_mcp.ledger import job_lists, lease
from mahavishnu_sched_mcp.ledger.database import close_last, connect, require_safe_sqlite
from mahavishnu_sched_mcp.ledger.inspection import inspect, is_new
from mahavishnu_sched_mcp.settings import unsupported
from mahavishnu_sched_mcp.settings.token import TOKEN_FILE, obtain_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mahavishnu_sched_mcp.settings import Settings

_LEAST_FREE_BYTES = 64 * 1024 * 1024
_SERVER_SECONDS = 1.0
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


def diagnose(settings: Settings) -> list[Finding]:
    """Check settings, data dir, disk, catalog, ledger, leader and engines.

    Args:
        settings: Already loaded: reading them is the first check, made by `load_settings`.
    """
    looks: tuple[Callable[[Settings], Finding], ...] = (
        _settings,
        _data_dir,
        _disk,
        _sqlite,
        _ledger,
        _leader,
        _catalog,
        _oneiric,
        _prefect,
    )
    return [*(look(settings) for look in looks), *_http_token(settings)]


def _settings(settings: Settings) -> Finding:
    idle = unsupported(settings)
    if idle:
        return Finding(part="settings", ok=False, detail=" ".join(idle), mend="Take these out.")
    return Finding(part="settings", ok=True, detail="read, and every key has its effect")


def _data_dir(settings: Settings) -> Finding:
    path = settings.data_path
    mode = stat.S_IMODE(path.stat().st_mode)
    is_private = not mode & _PRIVATE
    return Finding(
        part="data dir",
        ok=is_private,
        detail=f"{path} has mode {mode:04o}",
        mend="" if is_private else f"chmod 700 {path}",
    )


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.data_path).free
    is_enough = free >= _LEAST_FREE_BYTES
    return Finding(
        part="disk",
        ok=is_enough,
        detail=f"{free // 2**20} MiB are free",
        mend="" if is_enough else "Free some space, or choose another place with --data-dir.",
    )


def _sqlite(_: Settings) -> Finding:
    detail = f"SQLite {apsw.sqlite_lib_version()} through apsw {apsw.apsw_version()}"
    try:
        require_safe_sqlite()
    except SchedulerError as error:
        return Finding(part="sqlite", ok=False, detail=error.message, mend=error.hint)
    return Finding(part="sqlite", ok=True, detail=detail)


def _ledger(settings: Settings) -> Finding:
    path = settings.data_path / "ledger.db"
    if is_new(path):
        return Finding(part="ledger", ok=True, detail="not made yet; the first start makes it")
    try:
        inspect(path)
        count = _looked_up(path, job_lists.count_unfinished)
    except SchedulerError as error:
        return Finding(part="ledger", ok=False, detail=error.message, mend=error.hint)
    detail = f"sound, {count} unfinished jobs, {path.stat().st_size // 1024} KiB"
    return Finding(part="ledger", ok=True, detail=detail)


def _leader(settings: Settings) -> Finding:
    path = settings.data_path / "ledger.db"
    found = _lease(path) if path.exists() else None
    if found is None or not is_led(found, LockFile(settings.data_path / "leader.lock")):
        return Finding(
            part="leader",
            ok=True,  # so it is on a fresh installation, and whenever no editor is open
            detail="no server runs on this data dir: nothing fires now",
            mend="Open an editor that starts it, or run `mahavishnu-sched-mcp serve`.",
        )
    pid, host = found.holder.pid, found.holder.host
    detail = f"process {pid} on {host} leads since {found.started_at.isoformat()}"
    return Finding(part="leader", ok=True, detail=detail)


def _lease(path: Path) -> lease.Lease | None:
    """Read who leads; nothing where the ledger cannot say, which is its own finding."""
    try:
        inspect(path)
        return _looked_up(path, lease.read)
    except (SchedulerError, apsw.Error):
        return None


def _catalog(settings: Settings) -> Finding:
    try:
        catalog = build_catalog(settings, build_registry(settings))
    except SchedulerError as error:
        return Finding(part="catalog", ok=False, detail=error.message, mend=error.hint)
    detail = (
        f"{len(catalog.tasks)} tasks, {len(catalog.workflows)} workflows,"
        f" {len(settings.flows)} flows of your own"
    )
    return Finding(part="catalog", ok=True, detail=detail)


def _oneiric(settings: Settings) -> Finding:
    if not settings.schedulers.oneiric_queue_enabled:
        return Finding(part="oneiric", ok=True, detail="switched off")
    return _installed("oneiric")


def _prefect(settings: Settings) -> Finding:
    schedulers = settings.schedulers
    if not schedulers.prefect_deployments_enabled:
        return Finding(part="prefect", ok=True, detail="switched off")
    url = schedulers.prefect_server_url
    if url is None:
        return _installed("prefect")
    address = f"{str(url).rstrip('/').removesuffix('/api')}/api/health"
    try:
        answer = httpx.get(address, timeout=_SERVER_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        return Finding(
            part="prefect",
            ok=False,
            detail=f"the server at {url} does not answer ({type(error).__name__})",
            mend="Start it with `prefect server start`,"
            " or set schedulers.prefect_server_url to null.",
        )
    return Finding(part="prefect", ok=True, detail=f"the server at {url} answers")


def _looked_up[Answer](path: Path, ask: Callable[[apsw.Connection], Answer]) -> Answer:
    """Ask a sound ledger, and leave no file of SQLite's behind."""
    connection = connect(path, read_only=True)
    try:
        return ask(connection)
    finally:
        close_last(connection)


def _http_token(settings: Settings) -> list[Finding]:
    """Look at the token where there is one already: only a start over HTTP makes it."""
    path = settings.data_path / TOKEN_FILE
    is_set = settings.http.token is not None
    if not is_set and not path.is_file():
        return []
    try:
        obtain_token(settings)
    except SettingsError as error:
        return [Finding(part="http token", ok=False, detail=error.message, mend=error.hint)]
    mode = "" if is_set else f"{stat.S_IMODE(path.stat().st_mode):04o}"
    detail = "set by http.token" if is_set else f"{path} has mode {mode}"
    return [Finding(part="http token", ok=True, detail=detail)]


def _installed(package: str) -> Finding:
    if importlib.util.find_spec(package) is None:
        return Finding(
            part=package,
            ok=False,
            detail=f"the package {package} is not installed",
            mend="Install mahavishnu-sched-mcp anew with its dependencies.",
        )
    return Finding(part=package, ok=True, detail="installed; started on first need")
