"""How a server over HTTP starts, and when it refuses to."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import Place
from tests.e2e.web import EVERYBODY, listening_sockets, logged, web_serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

GOOD = "q7Rk2v-Xw9_TzB4mNc8LpYhDs3GfJa6EuKoIi1Q"


def refused(place: Place, *words: str, **variables: str) -> str:
    """Start a server that must not come up, and give what it says."""
    done = subprocess.run(
        place.command("serve", *words),
        env=place.environment() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_listens_on_loopback_only_and_says_where(tmp_path: Path) -> None:
    """By default nobody but this machine can connect; the token is made, and not shown."""
    place = Place.of(tmp_path, workflows={})

    with web_serving(place) as server:
        sockets = listening_sockets(server.process.pid)
        (line,) = logged(place, "http_listening")

    file = place.folder / "data" / "http.token"
    assert sockets == {("127.0.0.1", server.port)}
    assert (line["url"], line["token_kept_in"]) == (server.url, str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert server.token not in place.log.read_text(encoding="utf-8")


def test_two_decisions_open_it_to_other_machines(tmp_path: Path) -> None:
    """With --allow-remote and a name in `http.allowed_hosts` it listens, and warns."""
    http = {"allowed_hosts": ["scheduler.example"], "allowed_origins": ["https://page.example"]}
    place = Place.of(tmp_path, workflows={}, http=http)
    origin = ("Origin", "https://page.example")

    with web_serving(place, "--host", EVERYBODY, "--allow-remote") as server:
        sockets = listening_sockets(server.process.pid)
        statuses = {
            host: server.ask("GET", "/healthz", [("Host", host), origin]).status
            for host in ("scheduler.example", "SCHEDULER.example:1", "localhost", "evil.example")
        }
        without = server.ask("GET", "/metrics", [("Host", "scheduler.example")])

    assert sockets == {(EVERYBODY, server.port)}
    assert list(statuses.values()) == [200, 200, 200, 421]
    assert without.status == 401
    assert len(logged(place, "http_unencrypted")) == 1


def test_the_settings_token_is_the_one(tmp_path: Path) -> None:
    """`http.token` from the environment lets in, no file is made, the log does not show it."""
    place = Place.of(tmp_path, workflows={})

    with web_serving(place, environment={"MAHAVISHNU_HTTP__TOKEN": GOOD}) as server:
        answer = server.ask("GET", "/metrics", [("Authorization", f"bearer {GOOD}")])

    assert answer.status == 404
    assert not (place.folder / "data" / "http.token").exists()
    assert GOOD not in place.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--transport", "http", "--host", EVERYBODY], "--allow-remote"),
        (["--transport", "http", "--host", "::", "--allow-remote"], "http.allowed_hosts"),
        (["--port", "8765"], "--transport http"),
        (["--transport", "sse"], "invalid choice"),
    ],
)
def test_wrong_options_stop_the_start(words: list[str], said: str, tmp_path: Path) -> None:
    """What would open more than was decided, or do nothing, exits with 2 and says the mend."""
    assert said in refused(Place.of(tmp_path, workflows={}), *words)


@pytest.mark.parametrize(
    ("mode", "token", "variables", "said"),
    [
        (0o644, GOOD, {}, "chmod 600"),
        (0o600, "", {}, "is empty"),
        (0o600, GOOD, {"MAHAVISHNU_HTTP__TOKEN": ""}, "http.token is empty"),
        (0o600, GOOD, {"MAHAVISHNU_HTTP__TOKEN": "changeme"}, "8 characters"),
    ],
    ids=["readable by others", "empty file", "empty variable", "short variable"],
)
def test_a_secret_that_is_none_stops_the_start(
    mode: int, token: str, variables: Mapping[str, str], said: str, tmp_path: Path
) -> None:
    """There is no start without a secret."""
    place = Place.of(tmp_path, workflows={})
    data = place.folder / "data"
    data.mkdir(mode=0o700)
    (data / "http.token").write_text(token)
    (data / "http.token").chmod(mode)

    told = refused(place, "--transport", "http", "--port", "0", **variables)

    assert said in told
    assert GOOD not in told
