"""Prefect's own client, bounded in time, in the ledger's words.

With `flow_runs`, the only modules of our own process that import Prefect (`library.load_api`).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING
from pydantic import ValidationError

from mahavishnu_sched_mcp.backends.prefect.deployment_request import (
    POOL_TYPE,
    deployment_arguments,
    work_pool,
)
from mahavishnu_sched_mcp.backends.prefect.flow_runs import PAGE, FlowRuns
from mahavishnu_sched_mcp.backends.prefect.records import JOB_TAG
from mahavishnu_sched_mcp.errors import BackendUnavailableError, InvalidArgumentsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prefect.client.schemas.responses import DeploymentResponse

    from mahavishnu_sched_mcp.backends.prefect.records import DeploymentPlan
    from mahavishnu_sched_mcp.domain.value import JsonObject

BUSY_PAUSE_SECONDS = 0.05
NOT_ANSWERING_HINT = (
    "Start it with `prefect server start`, or set schedulers.prefect_server_url to null "
    "for the embedded one."
)

_FORBIDDEN = {401, 403}
_REFUSED = {400, 409, 422}


class ServerBusyError(Exception):
    """The server's database was busy for a moment: the same question may be asked again."""


class ServerClient:
    """Asks the server, each call with a limit of time, failures in our own errors.

    Args:
        api_url: The server's API.
        api_key: Of the user's own server, or None.
        call_seconds: The most one call may take.
    """

    def __init__(self, *, api_url: str, api_key: str | None, call_seconds: float) -> None:
        self._api_url = api_url
        self._api_key = api_key
        self._call_seconds = call_seconds
        self._stack = AsyncExitStack()
        self._client: PrefectClient | None = None
        self.runs = FlowRuns(self.ask)

    async def open(self) -> None:
        """Open the connections, on the event loop that will use them."""
        auth = PREFECT_API_AUTH_STRING.value()
        client = PrefectClient(
            self._api_url,
            auth_string=None if auth is None else auth.get_secret_value(),
            api_key=self._api_key,
            httpx_settings={
                "timeout": self._call_seconds,
                "event_hooks": {"response": [_refuse_busy]},
            },
        )
        self._client = await self._stack.enter_async_context(client)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client = None
        await self._stack.aclose()

    async def ask[Answer](self, question: Callable[[PrefectClient], Awaitable[Answer]]) -> Answer:
        """Ask one thing and wait a bounded time for the answer.

        Raises:
            BackendUnavailableError: no answer in time, or none that can be read.
            InvalidArgumentsError: the server refuses what was asked.
            ObjectNotFound: the server has no such thing; for the callers in this package.
        """
        if self._client is None:
            what = "is not connected"
            raise self._unanswered(what)
        try:
            async with asyncio.timeout(self._call_seconds):
                return await _patiently(question, self._client)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                raise ObjectNotFound(error) from error
            raise self._status_error(error) from error
        except TimeoutError as error:
            what = f"did not answer within {self._call_seconds:g} s"
            raise self._unanswered(what) from error
        except httpx.HTTPError as error:
            what = f"did not answer ({type(error).__name__})"
            raise self._unanswered(what) from error
        except ValidationError as error:
            raise self._unreadable(error) from error
        except ValueError as error:
            what = "answered something that is not Prefect's API"
            raise self._unanswered(what) from error

    async def check(self) -> None:
        """Ask whether the server answers at all.

        Raises:
            BackendUnavailableError: it does not.
        """
        await self.ask(lambda client: client.hello())

    async def ensure_pool(self, name: str) -> bool:
        """Make a work pool for our worker where none has this name.

        Returns:
            Whether the pool is of our worker's type; another type has its own workers.
        """
        try:
            pool = await self.ask(lambda client: client.read_work_pool(name))
        except ObjectNotFound:
            new = work_pool(name)
            try:
                pool = await self.ask(lambda client: client.create_work_pool(new))
            except ObjectAlreadyExists:
                pool = await self.ask(lambda client: client.read_work_pool(name))
        return pool.type == POOL_TYPE

    async def put_deployment(self, plan: DeploymentPlan) -> JsonObject:
        """Make the server's deployment exactly as planned, and its next runs at once.

        Returns:
            `deployment_id` and `flow_id`.

        Raises:
            InvalidArgumentsError: the work pool does not exist, or the server refuses.
        """
        flow_id = await self.ask(lambda client: client.create_flow_from_name(plan.flow_name))
        arguments = deployment_arguments(plan, flow_id)
        try:
            deployment_id = await self.ask(lambda client: client.create_deployment(**arguments))
        except ObjectNotFound as error:
            msg = f"Work pool '{plan.work_pool}' does not exist on the Prefect server."
            hint = (
                f"Create it with `prefect work-pool create {plan.work_pool}`, or leave "
                "work_pool_name out."
            )
            raise InvalidArgumentsError(msg, hint=hint) from error
        if plan.schedule is not None and not plan.is_paused:
            # Prefect's own loop would take seconds to notice the change.
            await self.ask(
                lambda client: client.request(
                    "POST", "/deployments/{id}/schedule", path_params={"id": deployment_id}, json={}
                )
            )
        return {"deployment_id": str(deployment_id), "flow_id": str(flow_id)}

    async def delete_deployment(self, deployment_id: str) -> None:
        """Delete a deployment and its waiting runs; past runs stay. Idempotent."""
        try:
            await self.ask(lambda client: client.delete_deployment(UUID(deployment_id)))
        except ObjectNotFound:
            return

    async def find_deployment(self, flow_name: str, name: str) -> str | None:
        """Give the id of a deployment by its names, or None."""
        try:
            found = await self.ask(
                lambda client: client.read_deployment_by_name(f"{flow_name}/{name}")
            )
        except ObjectNotFound:
            return None
        return str(found.id)

    async def own_deployments(self) -> list[str]:
        """Give the ids of all deployments on the server that a ledger asked for."""
        found: list[str] = []
        for offset in count(0, PAGE):
            page = await self.ask(partial(_read_deployments, offset=offset))
            found += [
                str(one.id)
                for one in page
                if any(tag.startswith(JOB_TAG) for tag in one.tags or [])
            ]
            if len(page) < PAGE:
                break
        return found

    def _status_error(self, error: httpx.HTTPStatusError) -> Exception:
        status = error.response.status_code
        if status in _FORBIDDEN:
            return BackendUnavailableError(
                f"Backend 'prefect' refused our key at {self._api_url} (status {status}).",
                hint="Set prefect.api_key to a key of that server.",
            )
        if status in _REFUSED:
            return InvalidArgumentsError(
                f"Prefect refused the request: {_detail(error.response)}",
                hint="Compare the parameters with list_catalog.",
            )
        return self._unanswered(f"answered status {status}")

    def _unanswered(self, what: str) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"Backend 'prefect' {what} at {self._api_url}.", hint=NOT_ANSWERING_HINT
        )

    def _unreadable(self, error: ValidationError) -> InvalidArgumentsError:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return InvalidArgumentsError(
            f"Prefect cannot take {where or error.title}: {first['msg']}.",
            hint="Try the schedule with preview_schedule.",
        )


async def _read_deployments(client: PrefectClient, *, offset: int) -> list[DeploymentResponse]:
    return await client.read_deployments(limit=PAGE, offset=offset)


async def _patiently[Answer](
    question: Callable[[PrefectClient], Awaitable[Answer]], client: PrefectClient
) -> Answer:
    """Ask again while the database is busy; the caller bounds the time."""
    while True:
        try:
            return await question(client)
        except ServerBusyError:
            await asyncio.sleep(BUSY_PAUSE_SECONDS)


async def _refuse_busy(response: httpx.Response) -> None:
    # Before Prefect's client sees it: that one would sleep for two seconds and then give up.
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise ServerBusyError


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json().get("detail", response.text))[:500]
    except (ValueError, AttributeError):
        return response.text[:500]
