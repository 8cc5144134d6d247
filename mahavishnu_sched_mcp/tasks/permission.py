"""Whether a process may still be started for a run: its leader may have been replaced meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar


class PermissionLostError(Exception):
    """The leader of a run was replaced before its process was started; nothing was started."""


type Permission = Callable[[], Awaitable[bool]]


async def _granted() -> bool:
    return True


_permission: ContextVar[Permission] = ContextVar("mahavishnu_permission", default=_granted)


def require_permission(permission: Permission) -> None:
    """Ask before each process that this task and its own tasks start from now on.

    Args:
        permission: Answers without a pause where it need not look anything up.
    """
    _permission.set(permission)


async def is_permitted() -> bool:
    """Ask; a process is to be started right after the answer, with no wait in between."""
    return await _permission.get()()
