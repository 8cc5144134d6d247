"""Who may pass over HTTP: every hostile request is refused, on every route, without effect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import Place
from tests.e2e.web import WebServer, modern_call, web_serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROUTES = [
    "/mcp", "/healthz", "/metrics", "/", "/mcp/health", "/healthz/", "/jobs/x/health", "/nothing",
]  # fmt: skip
TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", None]
PAUSE = {"type": "interval", "seconds": 600}
LARGEST = 65_536 + 1_048_576


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """Serve once for all that only asks."""
    place = Place.of(tmp_path_factory.mktemp("http"), workflows={})
    with web_serving(place) as serving:
        yield serving


def job_ids(server: WebServer) -> list[str]:
    """List what has been scheduled."""
    answer = server.call("list_jobs").message["result"]["structuredContent"]
    return [job["job_id"] for job in answer["jobs"]]


def test_every_hostile_host_origin_and_content_is_refused(server: WebServer) -> None:
    """A rebound name is answered 421, a foreign page 403, what is no JSON 415, on all routes."""
    own = f"127.0.0.1:{server.port}"
    hosts = {own: True, "evil.example": False, f"127.0.0.1.evil.example:{server.port}": False}
    origins = {
        None: True,
        f"http://{own}": True,
        "null": False,
        "http://evil.example": False,
        "http://127.0.0.1:3000": False,
    }
    call, body = modern_call("schedule_internal_task", {"task": "shout", "trigger": PAUSE})
    rest = [header for header in call if header[0] != "Content-Type"]
    seen: Counter[int] = Counter()

    for host, origin, kind, route in product(hosts, origins, TYPES, ROUTES):
        is_let_in = hosts[host] and origins[origin]
        if is_let_in and (route, kind) == ("/mcp", "application/json"):
            continue  # the one that is meant
        headers = [*server.credentials(), *rest, ("Host", host)]
        headers += [] if origin is None else [("Origin", origin)]
        headers += [] if kind is None else [("Content-Type", kind)]
        status = server.ask("POST", route, headers, body).status
        seen[status] += 1
        refused = {"/mcp": 415, "/healthz": 405}.get(route, 404)
        wanted = 421 if not hosts[host] else 403 if not origins[origin] else refused
        assert status == wanted, (host, origin, kind, route)

    assert sum(seen.values()) == 3 * 5 * 4 * len(ROUTES) - 2
    assert job_ids(server) == []


def test_every_method_and_route_is_behind_the_token(server: WebServer) -> None:
    """Without the token nothing but `/healthz` tells anything, whatever a path ends in."""
    for route, method in product(ROUTES, ["GET", "POST", "DELETE", "PUT", "OPTIONS", "HEAD"]):
        answer = server.ask(method, route, [("Content-Type", "application/json")])

        if route == "/healthz":
            assert answer.status == (200 if method in {"GET", "HEAD"} else 405)
        else:
            assert answer.status == 401, (method, route)
            assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_health_says_one_word(server: WebServer) -> None:
    """`/healthz` is open and says only whether all is well; no header says what serves it."""
    answer = server.ask("GET", "/healthz")

    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    assert answer.headers.keys() == {"date", "content-length", "content-type"}


def bad_authorizations(token: str) -> dict[str, list[str]]:
    """Make Authorization headers that may not let in."""

    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    def jwt(head: dict[str, str], claims: dict[str, object], *, key: bytes = b"") -> str:
        signed = f"{encoded(head)}.{encoded(claims)}"
        signature = hmac.new(key, signed.encode(), hashlib.sha256).digest() if key else b""
        return f"Bearer {signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    claims: dict[str, object] = {"sub": "local", "aud": "mahavishnu-sched-mcp", "exp": 4e9}
    hs256, key = {"alg": "HS256"}, token.encode()
    return {
        "none": [],
        "empty": [""],
        "scheme only": ["Bearer"],
        "blank": ["Bearer  "],
        "word": ["Bearer null"],
        "beginning": [f"Bearer {token[:-1]}"],
        "longer": [f"Bearer {token}x"],
        "other case": [f"Bearer {token.swapcase()}"],
        "reversed": [f"Bearer {token[::-1]}"],
        "bare": [token],
        "basic": [f"Basic {base64.b64encode(f':{token}'.encode()).decode()}"],
        "other scheme": [f"Token {token}"],
        "quoted": [f'Bearer "{token}"'],
        "twice in one": [f"Bearer {token} {token}"],
        "listed": [f"Bearer {token},Bearer {token}"],
        "two headers": [f"Bearer {token}", "Bearer other"],
        "latin-1": [f"Bearer {token}\u00e9"],
        "huge": [f"Bearer {token * 200}"],
        "alg none": [jwt({"alg": "none"}, claims)],
        "signed by the token": [jwt(hs256, claims, key=key)],
        "expired": [jwt(hs256, claims | {"exp": 1}, key=key)],
        "not yet": [jwt(hs256, claims | {"nbf": 4e9}, key=key)],
        "foreign audience": [jwt(hs256, claims | {"aud": "other"}, key=key)],
        "foreign issuer": [jwt(hs256, claims | {"iss": "https://evil.example"}, key=key)],
        "key by path": [jwt(hs256 | {"kid": "../../dev/null"}, claims, key=b"\0")],
        "key by url": [jwt(hs256 | {"jku": "http://evil.example/k"}, claims, key=key)],
    }


def test_no_bad_token_lets_in(server: WebServer) -> None:
    """A token that is not exactly the server's is answered 401, and is not written down."""
    headers, body = modern_call("schedule_internal_task", {"task": "shout", "trigger": PAUSE})
    bad = bad_authorizations(server.token)

    statuses = {
        name: server.ask(
            "POST", "/mcp", [*headers, *(("Authorization", value) for value in values)], body
        )
        for name, values in bad.items()
    }
    in_the_address = server.ask("POST", f"/mcp?access_token={server.token}", headers, body)

    assert len(bad) >= 20
    assert {name: one.status for name, one in statuses.items()} == dict.fromkeys(bad, 401)
    assert in_the_address.status == 401
    assert all(one.headers["www-authenticate"].startswith("Bearer ") for one in statuses.values())
    assert job_ids(server) == []
    assert server.token not in server.place.log.read_text(encoding="utf-8")


def test_a_body_that_is_too_large_is_refused(server: WebServer) -> None:
    """The limit is exact, and the same whether the length is declared or not."""
    headers = [*server.credentials(), *modern_call("list_jobs", {})[0]]
    chunked = [*headers, ("Transfer-Encoding", "chunked")]
    blank = b" " * LARGEST

    largest = server.ask("POST", "/mcp", headers, blank)
    larger = server.ask("POST", "/mcp", headers, blank + b" ")
    streamed = raw(server, "POST /mcp HTTP/1.1", chunked, b"%x\r\n%s\r\n0\r\n\r\n" % (
        LARGEST + 1, blank + b" "
    ))  # fmt: skip

    assert (largest.status, larger.status) == (400, 413)
    assert streamed.startswith(b"HTTP/1.1 413 ")
    assert str(LARGEST).encode() in larger.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"x": NaN}}',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": '
        + b"[" * 500
        + b"]" * 500
        + b"}",
        b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe',
    ],
    ids=["empty", "no json", "batch", "nan", "no method", "deep", "broken utf-8"],
)
def test_what_is_no_message_is_answered_400(body: bytes, server: WebServer) -> None:
    """The server says what is wrong with a body, and goes on."""
    headers = [*server.credentials(), *modern_call("list_jobs", {})[0]]

    answer = server.ask("POST", "/mcp", headers, body)

    assert answer.status == 400
    assert job_ids(server) == []


def test_a_session_may_have_its_stream_and_its_end(server: WebServer) -> None:
    """GET and DELETE of 2025-11-25 pass without a type of content, and with no other one."""
    unknown = [*server.credentials(), ("Mcp-Session-Id", "unknown")]
    form = ("Content-Type", "text/plain")

    assert server.ask("DELETE", "/mcp", unknown).status == 404
    assert server.ask("GET", "/mcp", [*unknown, ("Accept", "text/event-stream")]).status == 404
    assert server.ask("DELETE", "/mcp", [*unknown, form]).status == 415
    assert server.ask("PUT", "/mcp", unknown).headers["allow"] == "POST, GET, DELETE"


def test_no_page_is_told_that_it_may_read(server: WebServer) -> None:
    """CORS is off: no answer has a header that lets a page of another origin read it."""
    own = ("Origin", f"http://127.0.0.1:{server.port}")
    preflight = ("Access-Control-Request-Method", "POST")

    answers = [
        server.ask("OPTIONS", "/mcp", [*server.credentials(), own, preflight]),
        server.ask("GET", "/healthz", [own]),
        server.call("list_jobs"),
    ]

    assert [answer.status for answer in answers] == [405, 200, 200]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-")]


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("GET /healthz HTTP/1.1", [("Host", "{own}"), ("Host", "evil.example")], 400),
        ("GET /healthz HTTP/1.1", [], 400),
        ("GET /healthz HTTP/1.0", [], 421),
        ("GET http://evil.example/healthz HTTP/1.1", [("Host", "evil.example")], 421),
        ("GET /healthz HTTP/1.1", [("Host", "{own}@evil.example")], 421),
        ("GET /healthz HTTP/1.1", [("Host", "[::1].evil.example")], 421),
        ("GET /healthz HTTP/1.1", [("Host", "{own}"), ("Origin", "")], 403),
        ("GET /healthz HTTP/1.1", [("Host", "{own}"), ("X-Forwarded-Host", "x")], 200),
        ("GET /%6dcp HTTP/1.1", [("Host", "{own}")], 401),
        ("GET /healthz/../mcp HTTP/1.1", [("Host", "{own}")], 401),
    ],
)
def test_odd_requests_find_no_gap(
    line: str, headers: list[tuple[str, str]], status: int, server: WebServer
) -> None:
    """Two hosts, none, or one within another, and odd paths are no way in."""
    filled = [(name, value.format(own=f"127.0.0.1:{server.port}")) for name, value in headers]

    answer = raw(server, line, filled)

    assert answer.split()[1] == str(status).encode()


def test_headers_without_end_are_refused(server: WebServer) -> None:
    """Headers are not collected for ever: past 32 KiB without their end they are refused."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 40_000)

        answer = connection.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_client_that_sends_no_request_is_not_kept(server: WebServer) -> None:
    """A connection without the end of its headers is closed after ten seconds."""
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", server.port)) as silent,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        silent.settimeout(30)
        slow.settimeout(30)

        ends = silent.recv(1), slow.recv(1)

    assert ends == (b"", b"")
    assert 9 < time.monotonic() - began < 25


def raw(server: WebServer, line: str, headers: list[tuple[str, str]], body: bytes = b"") -> bytes:
    """Send bytes as they are, and give all that comes back."""
    given = dict.fromkeys(name for name, _ in headers)
    if "Host" not in given and "Transfer-Encoding" in given:
        headers = [("Host", f"127.0.0.1:{server.port}"), *headers]
    text = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{line}\r\n{text}Connection: close\r\n\r\n".encode() + body)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer
