"""Where HTTP clients knock: loopback, unless the operator says otherwise twice."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKLOG = 128
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket.

    Attributes:
        address: The IP address it is bound to.
        is_remote: Whether other machines may reach it.
    """

    socket: socket.socket
    address: str
    port: int
    is_remote: bool

    @property
    def url(self) -> str:
        """What clients connect to."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/mcp"


def open_door(host: str, *, port: int, allow_remote: bool, allowed_hosts: Sequence[str]) -> Door:
    """Listen on an address.

    Args:
        host: An IP address or a name; of a name's addresses the first is taken.
        port: 0 takes a free one.
        allow_remote: `--allow-remote`: other machines may reach it.
        allowed_hosts: `http.allowed_hosts`; without a name there, nobody from elsewhere passes.

    Raises:
        SettingsError: the address may not be used, or cannot be.
    """
    family, address = _resolve(host, port=port)
    bound = ip_address(address)
    is_remote = not bound.is_loopback
    if is_remote and not allow_remote:
        message = f"--host '{host}' can be reached from other machines."
        hint = (
            "Leave --host at 127.0.0.1, or add --allow-remote and list the names clients use"
            " in http.allowed_hosts."
        )
        raise SettingsError(message, hint=hint)
    if is_remote and not allowed_hosts:
        message = f"--host '{host}' can be reached from other machines, by no name that is allowed."
        raise SettingsError(message, hint="List the names clients use in http.allowed_hosts.")
    try:
        listening = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        message = f"Port {port} of '{host}' cannot be used: {error.strerror or error}."
        hint = "Another server may have it: choose another with --port."
        raise SettingsError(message, hint=hint) from error
    return Door(listening, address, listening.getsockname()[1], is_remote)


def _resolve(host: str, *, port: int) -> tuple[socket.AddressFamily, str]:
    if not 0 <= port <= _HIGHEST_PORT:
        message = f"--port {port} is no port."
        raise SettingsError(message, hint=f"Choose --port from 0 to {_HIGHEST_PORT}.")
    try:
        # A blank name would mean every address there is.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host.strip() else []
    except (OSError, UnicodeError):
        found = []
    for family, _, _, _, (address, *_) in found:
        return family, str(address)
    message = f"--host '{host}' is no address of this machine."
    raise SettingsError(message, hint="Give an IP address or a host name; 127.0.0.1 is the usual.")
