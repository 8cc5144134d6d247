"""The engine's life: its server and worker processes, started, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from mahavishnu_sched_mcp.backends.prefect.child import ChildProcess
from mahavishnu_sched_mcp.backends.prefect.environment import (
    server_environment,
    worker_environment,
)
from mahavishnu_sched_mcp.backends.prefect.library import load_api
from mahavishnu_sched_mcp.backends.prefect.place import Place
from mahavishnu_sched_mcp.backends.prefect.records import Addresses, api_address, ui_address
from mahavishnu_sched_mcp.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    import httpx

    from mahavishnu_sched_mcp.backends.prefect.api import ServerClient

DEFAULT_POOL = "mahavishnu"
PREFLIGHT_SECONDS = 0.5
CALL_SECONDS = 1.5
EMBEDDED_CALL_SECONDS = 5.0
START_LIMIT = timedelta(seconds=120)
POLL_SECONDS = 0.1
STOP_GRACE_SECONDS = 1.0
CLOSE_SECONDS = 0.3
RUNS_AT_ONCE = 16
MEND = (
    "Start it with `prefect server start`, or set schedulers.prefect_server_url to null "
    "for the embedded one."
)

logger = structlog.get_logger()


class Installation:
    """The processes of one start, and the connection to them.

    Args:
        data_dir: The product's data folder.
        config_path: The operator's settings, for the flows; None for the default place.
        server_url: The user's own server, or None for an embedded one.
        api_key: Of the user's own server.
        ui: Whether the embedded server serves its UI.
        work_pool: The operator's choice, or None for ours.
        entrypoints: The dotted paths the worker may run.
        before_work: Called when the server answers and before a worker takes anything.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        config_path: Path | None,
        server_url: str | None,
        api_key: str | None,
        ui: bool,
        work_pool: str | None,
        entrypoints: Sequence[str],
        before_work: Callable[[Installation], Awaitable[None]],
    ) -> None:
        self._place = Place(data_dir)
        self._config_path = config_path
        self._server_url = server_url
        self._api_key = api_key
        self._ui = ui
        self._work_pool = work_pool
        self._entrypoints = list(entrypoints)
        self._before_work = before_work
        self._server = ChildProcess("server", place=self._place)
        self._worker = ChildProcess("worker", place=self._place)
        self._client: ServerClient | None = None
        self._has_own_worker = True
        self._api_url = "" if server_url is None else api_address(server_url)
        self.step = ""

    @property
    def client(self) -> ServerClient:
        """Give the connection.

        Raises:
            BackendUnavailableError: nothing is connected.
        """
        if self._client is None:
            msg = "Backend 'prefect' is not connected to a server."
            raise BackendUnavailableError(msg, hint="Ask get_status how it is, and try again.")
        return self._client

    @property
    def is_embedded(self) -> bool:
        """Whether the server is our own child."""
        return self._server_url is None

    @property
    def has_private_pool(self) -> bool:
        """Whether no worker but ours can take runs from the pool."""
        return self.is_embedded or self._work_pool is None

    @property
    def pool(self) -> str:
        """Give the pool our worker serves; on a shared server one of this data folder alone."""
        if self._work_pool is not None:
            return self._work_pool
        return DEFAULT_POOL if self.is_embedded else f"{DEFAULT_POOL}-{self.owner}"

    @property
    def owner(self) -> str:
        """Give the lasting name of this data folder, by which its runs are told apart."""
        return self._place.instance()

    @property
    def addresses(self) -> Addresses:
        """Say where people look."""
        if not self._api_url or (self.is_embedded and not self._ui):
            return Addresses(ui=None)
        return Addresses(ui=ui_address(self._api_url))

    @property
    def figures(self) -> dict[str, int | None]:
        """Give the numbers of the processes."""
        return {"server_pid": self._server.pid, "worker_pid": self._worker.pid}

    @property
    def trouble(self) -> str | None:
        """Say which process has ended by itself, or None."""
        if self.is_embedded and not self._server.is_running:
            return self._server.ending
        if self._has_own_worker and not self._worker.is_running:
            return self._worker.ending
        return None

    async def start(self) -> None:
        """Bring everything up, in order.

        Raises:
            BackendUnavailableError: it did not come up; what had started is ended.
        """
        try:
            async with asyncio.timeout(START_LIMIT.total_seconds()):
                await self._bring_up()
        except TimeoutError as error:
            await self.stop()
            msg = f"Backend 'prefect' did not start within {START_LIMIT.seconds} s: {self.step}."
            raise BackendUnavailableError(msg, hint="Run `mahavishnu-sched-mcp doctor`.") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the worker, then the server, and close the connection. Idempotent."""
        await self._disconnect()
        await self._worker.stop(grace_seconds=STOP_GRACE_SECONDS)
        await self._server.stop(grace_seconds=STOP_GRACE_SECONDS)

    async def probe(self) -> None:
        """Ask whether the server answers.

        Raises:
            BackendUnavailableError: it does not.
        """
        async with _asker() as asker:
            answers = await _answers(asker, self._api_url)
        if not answers:
            msg = (
                f"Backend 'prefect' did not answer at {self._server_url or self._api_url} "
                f"within {PREFLIGHT_SECONDS:g} s."
            )
            raise BackendUnavailableError(msg, hint=MEND)

    async def _bring_up(self) -> None:
        if not self.is_embedded:
            self.step = f"waiting for an answer of {self._server_url}"
            await self.probe()
        self._place.prepare()
        self.step = "waiting for the processes of an earlier start to end"
        await self._worker.stop(grace_seconds=STOP_GRACE_SECONDS)
        await self._worker.clear_stale()
        if self.is_embedded and not self._server.is_running:
            await self._start_server()
        self.step = "importing Prefect"
        client_type = await load_api(self._place)
        if self.is_embedded:
            await self._await_server()
        self.step = "connecting to the server"
        if self._client is None:
            client = client_type(
                api_url=self._api_url,
                api_key=self._api_key,
                # Ours is never out of reach, at most slow on a busy machine.
                call_seconds=EMBEDDED_CALL_SECONDS if self.is_embedded else CALL_SECONDS,
            )
            await client.open()
            self._client = client
        self._has_own_worker = await self._client.ensure_pool(self.pool)
        await self._before_work(self)
        if self._has_own_worker:
            await self._start_worker()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.close()

    async def _start_server(self) -> None:
        await self._disconnect()
        await self._server.stop(grace_seconds=STOP_GRACE_SECONDS)
        await self._server.clear_stale()
        port = _free_port(self._place.last_port())
        self._place.remember_port(port)
        self._api_url = f"http://127.0.0.1:{port}/api"
        environment = server_environment(self._place, port=port, ui=self._ui, inherited=os.environ)
        self._server.start(["_prefect-server", "--port", str(port)], environment=environment)

    async def _await_server(self) -> None:
        self.step = "waiting for the embedded server to answer"
        async with _asker() as asker:
            while not await _answers(asker, self._api_url):
                if not self._server.is_running:
                    raise _ended(self._server)
                await asyncio.sleep(POLL_SECONDS)

    async def _start_worker(self) -> None:
        self.step = "waiting for the worker to take work"
        self._place.worker_ready.unlink(missing_ok=True)
        environment = worker_environment(
            self._place,
            api_url=self._api_url,
            api_key=self._api_key,
            config_path=self._config_path,
            is_embedded=self.is_embedded,
            inherited=os.environ,
        )
        allowed = [part for path in self._entrypoints for part in ("--entrypoint", path)]
        arguments = ["_prefect-worker", "--pool", self.pool, "--owner", self.owner]
        arguments += ["--ready-file", str(self._place.worker_ready)]
        arguments += ["--limit", str(RUNS_AT_ONCE), *allowed]
        self._worker.start(arguments, environment=environment)
        while not self._place.worker_ready.exists():
            if not self._worker.is_running:
                raise _ended(self._worker)
            await asyncio.sleep(POLL_SECONDS)


def _ended(child: ChildProcess) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"Backend 'prefect' did not start: {child.ending}.",
        hint="Run `mahavishnu-sched-mcp doctor`.",
    )


def _asker() -> httpx.AsyncClient:
    import httpx  # noqa: PLC0415 - with Prefect only: a start without it is sooner

    # Prefect's own client takes 1.5 s to notice that nobody listens.
    return httpx.AsyncClient(
        timeout=PREFLIGHT_SECONDS, transport=httpx.AsyncHTTPTransport(retries=0)
    )


async def _answers(asker: httpx.AsyncClient, api_url: str) -> bool:
    import httpx  # noqa: PLC0415 - as in _asker

    try:
        async with asyncio.timeout(PREFLIGHT_SECONDS):
            return (await asker.get(f"{api_url}/health")).is_success
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return False


def _free_port(preferred: int | None) -> int:
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as listener, contextlib.suppress(OSError):
            # As the server does: a port it had a moment ago is free again.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            found: int = listener.getsockname()[1]
            return found
    msg = "Backend 'prefect' found no free port on the loopback address."
    raise BackendUnavailableError(msg, hint="Run `mahavishnu-sched-mcp doctor`.")
