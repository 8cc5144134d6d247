"""Who may pass: the right host, no foreign web page, the token, JSON of bounded size.

It stands in front of every route, those that do not exist included.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from mahavishnu_sched_mcp.server.http.body import RefusedBodyError, read_body, replaying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr
    from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger()

MCP_PATH = "/mcp"
HEALTH_PATH = "/healthz"
LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})

_REALM = 'Bearer realm="mahavishnu-sched-mcp"'
_METHODS = ("POST", "GET", "DELETE")
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?")
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_JSON = "application/json"


class _RefusedError(Exception):
    """A request does not pass."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


class Perimeter:
    """Lets the operator's clients in, and nobody else.

    FastMCP's own guard compares names by pattern and lets pages of every other port of this
    machine pass; its token verifiers stand before `/mcp` only. So both are done here, exactly
    and for all routes; its guard stays switched on behind this one.

    Args:
        app: What is guarded.
        token: What clients send as `Authorization: Bearer`.
        hosts: Names in `Host` that are ours, in lower case, without port.
        origins: Web pages that may call, beside our own; any port has to be named.
        most_bytes: The largest body of a request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: SecretStr,
        hosts: Iterable[str],
        origins: Iterable[str],
        most_bytes: int,
    ) -> None:
        self._app = app
        self._digest = _digest(token.get_secret_value())
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in hosts}
        self._origins = frozenset(origin.lower() for origin in origins)
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            if scope["path"] == MCP_PATH and scope["method"] == "POST":
                body = await read_body(Headers(scope=scope), receive, most=self._most_bytes)
                receive = replaying(body, receive)
        except _RefusedError as refused:
            log.info("request_refused", status=refused.status, reason=str(refused))
            answer = PlainTextResponse(f"{refused}\n", refused.status, refused.headers)
            await answer(scope, receive, send)
        except RefusedBodyError as refused:
            log.info("request_refused", status=refused.status, reason=refused.reason)
            await refused.answer()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        self._check_origin(headers)
        if scope["path"] == HEALTH_PATH:
            return
        self._check_token(headers)
        if scope["path"] == MCP_PATH:
            _check_form(scope["method"], headers)

    def _check_host(self, headers: Headers) -> None:
        given = [value.lower() for value in headers.getlist("host")]
        found = _AUTHORITY.fullmatch(given[0]) if len(given) == 1 else None
        if found is None or (found[1] or found[2]) not in self._hosts:
            text = "This server has another name. Add the Host you use to http.allowed_hosts."
            raise _RefusedError(421, text)

    def _check_origin(self, headers: Headers) -> None:
        own = f"http://{headers['host'].lower()}"
        given = {value.lower() for value in headers.getlist("origin")}
        if not given <= self._origins | {own}:
            text = "Web pages of this origin may not call. Add it to http.allowed_origins."
            raise _RefusedError(403, text)

    def _check_token(self, headers: Headers) -> None:
        given = headers.getlist("authorization")
        found = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
        # Digests have one length, and nothing of the token shows in the time this takes.
        if found is not None and hmac.compare_digest(_digest(found[1]), self._digest):
            return
        challenge = f'{_REALM}, error="invalid_token"' if given else _REALM
        text = (
            "Send 'Authorization: Bearer TOKEN'; the server's start says where the token is kept."
        )
        raise _RefusedError(401, text, {"WWW-Authenticate": challenge})


def _check_form(method: str, headers: Headers) -> None:
    """Let through what the protocol knows: calls, and a session's stream and end.

    GET and DELETE belong to 2025-11-25; they carry no message, so no type of content either.
    """
    if method not in _METHODS:
        raise _RefusedError(405, "Send POST.", {"Allow": ", ".join(_METHODS)})
    kinds = headers.getlist("content-type")
    is_json = [kind.partition(";")[0].strip().lower() for kind in kinds] == [_JSON]
    if not is_json and (method == "POST" or kinds):
        raise _RefusedError(415, f"Send Content-Type: {_JSON}.")


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
