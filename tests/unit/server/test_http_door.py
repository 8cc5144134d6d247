"""Which addresses an HTTP server may listen on."""

from __future__ import annotations

import socket

import pytest

from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.server.http.door import Door, open_door

ALLOWED = ("scheduler.example",)


def opened(host: str, **choices: object) -> Door:
    """Listen, and let go at once."""
    given = {"port": 0, "allow_remote": False, "allowed_hosts": ()} | choices
    door = open_door(host, **given)  # type: ignore[arg-type]  # chosen by the test
    door.socket.close()
    return door


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_machine_may_always_listen_to_itself(host: str) -> None:
    """Loopback needs no permission."""
    door = opened(host)

    assert not door.is_remote
    assert door.port > 0
    assert door.url.endswith(f":{door.port}/mcp")


# The forms in which "everybody" can be written; the resolver decides what they mean.
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "0x0", "00.0.0.0"])  # noqa: S104
def test_other_machines_are_let_in_by_two_decisions(host: str) -> None:
    """Without --allow-remote and `http.allowed_hosts` the start is refused, with the mend."""
    with pytest.raises(SettingsError, match="--allow-remote"):
        opened(host)
    with pytest.raises(SettingsError, match="--allow-remote"):
        opened(host, allowed_hosts=ALLOWED)
    with pytest.raises(SettingsError, match=r"http\.allowed_hosts"):
        opened(host, allow_remote=True)

    assert opened(host, allow_remote=True, allowed_hosts=ALLOWED).is_remote


@pytest.mark.parametrize("host", ["", " ", "no such name", "256.0.0.1", "scheduler.invalid"])
def test_what_is_no_address_is_refused(host: str) -> None:
    """A blank name would mean all addresses; it is refused as any other wrong one."""
    with pytest.raises(SettingsError, match="is no address of this machine"):
        opened(host)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_refused(port: int) -> None:
    """Ports end at 65535."""
    with pytest.raises(SettingsError, match="is no port"):
        opened("127.0.0.1", port=port)


def test_a_port_in_use_is_told_with_the_mend() -> None:
    """Two servers cannot share a port."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="choose another with --port"),
    ):
        opened("127.0.0.1", port=taken.getsockname()[1])
