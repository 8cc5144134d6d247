"""A function's execution in a process of its own, where it can be ended: the server's side."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping

from pydantic import ValidationError

from mahavishnu_sched_mcp.domain.run import Outcome
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.tasks.call import MOST_ANSWER_BYTES
from mahavishnu_sched_mcp.tasks.capture import Capture
from mahavishnu_sched_mcp.tasks.context import OWN_PREFIX, RunContext, run_marks
from mahavishnu_sched_mcp.tasks.guardian import Program, ProgramStartError
from mahavishnu_sched_mcp.tasks.process import ProcessRunner
from mahavishnu_sched_mcp.tasks.registry import RegisteredTask
from mahavishnu_sched_mcp.tasks.result import ended, silent, timed_out, unstartable

_MODULE = "mahavishnu_sched_mcp.tasks.call"
_SEARCH_PATH = "PYTHONPATH"
_WITHHELD = (OWN_PREFIX, "PREFECT_", "FASTMCP_")
"""Settings of the server and its libraries, keys and tokens among them."""
_ANSWER_SECONDS = 1.0


async def run_function(
    found: RegisteredTask,
    *,
    params: JsonObject,
    context: RunContext,
    timeout_seconds: float,
    processes: ProcessRunner,
) -> Outcome:
    """Call a function in a new process, and leave none of its descendants behind.

    Args:
        found: A task of a module; the process imports that module anew.
        params: Checked arguments.
        context: The run, for `current_run()` and the process's environment.
        timeout_seconds: The limit.
        processes: What starts and ends it.
    """
    request = {
        "module": found.module,
        "task": found.entry.name,
        "params": params,
        "context": context.model_dump(mode="json"),
        "cap": processes.max_output_bytes,
        "search_path": os.environ.get(_SEARCH_PATH),
    }
    try:
        with Capture(cap=processes.max_output_bytes) as capture:
            return await _exchange(
                _program(context),
                json.dumps(request).encode(),
                capture=capture,
                timeout_seconds=timeout_seconds,
                processes=processes,
            )
    except ProgramStartError as error:
        return unstartable(f"task '{found.entry.name}'", why=str(error))
    except OSError as error:
        why = error.strerror or type(error).__name__
        return unstartable(f"task '{found.entry.name}'", why=why)


async def _exchange(
    program: Program,
    request: bytes,
    *,
    capture: Capture,
    timeout_seconds: float,
    processes: ProcessRunner,
) -> Outcome:
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours, limit=MOST_ANSWER_BYTES)
        answering = asyncio.create_task(reader.readline())
        try:
            writer.write(request)
            writer.write_eof()
            ending = await processes.run(
                program, capture=capture, timeout_seconds=timeout_seconds, extras=[theirs]
            )
            if ending.is_timed_out:
                return timed_out(timeout_seconds, output=capture.output())
            await asyncio.wait({answering}, timeout=_ANSWER_SECONDS)
            answer = _read_answer(answering)
            if answer is not None:
                capture.add(answer.output)
                return answer.model_copy(update={"output": capture.output()})
            outcome = ended(ending.code, output=capture.output())
            return silent(outcome.output) if ending.code == 0 else outcome
        finally:
            answering.cancel()
            writer.close()


def _read_answer(answering: asyncio.Task[bytes]) -> Outcome | None:
    """Read the outcome the process told; None where it told none."""
    if not answering.done():
        return None
    try:
        return Outcome.model_validate_json(answering.result())
    except (OSError, ValueError, ValidationError):
        return None


def _program(context: RunContext) -> Program:
    environment = _kept(os.environ)
    environment[_SEARCH_PATH] = os.pathsep.join(path for path in sys.path if path)
    return Program(
        run_id=context.run_id,
        executable=sys.executable,
        # -P: what lies in the current folder is not imported; -u: a kill loses no output
        argv=(sys.executable, "-P", "-u", "-m", _MODULE),
        environment=environment | run_marks(context),
        folder=str(os.getcwd()),  # noqa: PTH109 - the text is wanted
    )


def _kept(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(_WITHHELD)}
