"""The body of a call: read whole, within bounds, and screened as a line over stdio is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

from mahavishnu_sched_mcp.server.screening import screen

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Message, Receive

BODY_SECONDS = 10.0
"""From the end of the headers to the end of the body."""

_JSON = "application/json"


class RefusedBodyError(Exception):
    """A body is not passed on.

    Attributes:
        reason: For the log.
    """

    def __init__(self, status: int, reason: str, *, message: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self._message = message

    def answer(self) -> Response:
        """Say it to the client, as JSON-RPC where the body was read as such."""
        if self._message is not None:
            return Response(self._message, self.status, media_type=_JSON)
        return PlainTextResponse(f"{self.reason}\n", self.status)


async def read_body(headers: Headers, receive: Receive, *, most: int) -> bytes:
    """Read a call's body.

    Args:
        headers: Of the request.
        receive: Gives its parts.
        most: Bytes.

    Raises:
        RefusedBodyError: too large, too slow, broken off, or no message of the protocol.
    """
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _collect(receive, most=most)
    except TimeoutError:
        reason = f"The body did not arrive within {BODY_SECONDS:.0f} s."
        raise RefusedBodyError(408, reason) from None
    screened = screen(body.decode("utf-8", errors="replace"))
    if not screened.may_pass:
        answer = screened.answer or ""
        raise RefusedBodyError(400, "No message of the protocol.", message=answer)
    return body


def replaying(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, then what comes after it."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again


async def _collect(receive: Receive, *, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RefusedBodyError(400, "The body broke off.")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> RefusedBodyError:
    reason = (
        f"The body is larger than {most} bytes. Send less in one call;"
        " large data belongs into a file that the task reads."
    )
    return RefusedBodyError(413, reason)
