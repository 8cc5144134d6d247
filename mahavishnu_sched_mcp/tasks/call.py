"""One call of a function in a process of its own: that process's side.

Started as `python -m mahavishnu_sched_mcp.tasks.call`. Descriptor 3 is a socket: a request as
JSON comes in, its end closed, and one line goes out, the outcome as JSON. The function is found
by name in the module the operator listed; nothing but JSON crosses.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from mahavishnu_sched_mcp.domain.run import Outcome
from mahavishnu_sched_mcp.tasks.context import RunContext, enter_run
from mahavishnu_sched_mcp.tasks.registry import TaskRegistry
from mahavishnu_sched_mcp.tasks.result import failed, succeeded
from mahavishnu_sched_mcp.tasks.supervisor import FIRST_EXTRA

MOST_ANSWER_BYTES = 1_048_576
"""More cannot be returned by a function in a process of its own."""

_SEARCH_PATH = "PYTHONPATH"
_TERMINATED = 128 + signal.SIGTERM


class AnswerTooLargeError(Exception):
    """A function returned more than can be handed to the server."""


def main() -> None:
    """Do the call that the server asks for, and leave without waiting for other threads."""
    channel = socket.socket(fileno=FIRST_EXTRA)
    channel.set_inheritable(False)
    request = _read(channel)
    _restore_search_path(request["search_path"])
    signal.signal(signal.SIGTERM, _leave)
    answer = _answer(request)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the function may have closed or replaced it
            stream.flush()
    channel.sendall(answer + b"\n")
    # A thread the function left running would keep the interpreter, and with it the run.
    os._exit(0)


def _read(channel: socket.socket) -> dict[str, Any]:
    pieces = iter(lambda: channel.recv(65536), b"")
    request: dict[str, Any] = json.loads(b"".join(pieces))
    return request


def _restore_search_path(search_path: str | None) -> None:
    """Keep the way to the server's modules from the programs that the function starts."""
    if search_path is None:
        os.environ.pop(_SEARCH_PATH, None)
    else:
        os.environ[_SEARCH_PATH] = search_path


def _leave(*_: object) -> None:
    """Let `finally` blocks run at the limit; SIGKILL follows two seconds later."""
    sys.exit(_TERMINATED)


def _answer(request: dict[str, Any]) -> bytes:
    cap: int = request["cap"]
    answer = _call(request, cap=cap).model_dump_json().encode()
    if len(answer) < MOST_ANSWER_BYTES:
        return answer
    msg = (
        f"it returned {len(answer)} bytes as JSON, more than {MOST_ANSWER_BYTES}:"
        " let it write a file and return the name"
    )
    return failed(AnswerTooLargeError(msg), cap=cap).model_dump_json().encode()


def _call(request: dict[str, Any], *, cap: int) -> Outcome:
    context = enter_run(RunContext.model_validate(request["context"]))
    try:
        registry = TaskRegistry(modules=[request["module"]], builtins=())
        found = registry.get(request["task"])
        arguments = found.arguments(request["params"])
        value = context.run(lambda: found.called(**arguments))
        if inspect.isawaitable(value):
            value = context.run(asyncio.run, _awaited(value))
        return succeeded(value, cap=cap)
    # A task may raise anything: it is the task's own affair, and told as such.
    except BaseException as error:  # noqa: BLE001 - said above
        return failed(error, cap=cap)


async def _awaited(value: Any) -> Any:
    return await value


if __name__ == "__main__":
    main()
