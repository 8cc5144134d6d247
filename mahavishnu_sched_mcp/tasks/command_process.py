"""A command's execution: from its arguments to the outcome of its run."""

from __future__ import annotations

import structlog

from mahavishnu_sched_mcp.domain.run import Outcome
from mahavishnu_sched_mcp.domain.value import JsonObject
from mahavishnu_sched_mcp.errors import SettingsError
from mahavishnu_sched_mcp.tasks.capture import Capture
from mahavishnu_sched_mcp.tasks.command import NEUTRAL_FOLDER, Command, resolve_executable
from mahavishnu_sched_mcp.tasks.context import RunContext
from mahavishnu_sched_mcp.tasks.guardian import Program, ProgramStartError
from mahavishnu_sched_mcp.tasks.process import ProcessRunner
from mahavishnu_sched_mcp.tasks.result import ended, timed_out, unstartable

_log = structlog.get_logger()


async def run_command(
    command: Command,
    *,
    params: JsonObject,
    context: RunContext,
    timeout_seconds: float,
    processes: ProcessRunner,
) -> Outcome:
    """Run a command to its end, with all its descendants.

    Args:
        command: What to start.
        params: Checked arguments.
        context: The run; its ids stand in the command's environment.
        timeout_seconds: The limit.
        processes: What starts and ends it.
    """
    what = f"command '{command.name}'"
    try:
        executable = resolve_executable(command.spec.argv[0], name=command.name)
    except SettingsError as error:
        _log.warning("command_refused", command=command.name, reason=str(error))
        return unstartable(what, why="its executable is missing or no longer safe")
    program = Program(
        run_id=context.run_id,
        executable=str(executable),
        argv=tuple(command.argv(params)),
        environment=command.environment(context),
        folder=command.spec.cwd or NEUTRAL_FOLDER,
    )
    try:
        with Capture(cap=processes.max_output_bytes) as capture:
            ending = await processes.run(program, capture=capture, timeout_seconds=timeout_seconds)
            output = capture.output()
    except ProgramStartError as error:
        return unstartable(what, why=str(error))
    except OSError as error:
        return unstartable(what, why=error.strerror or type(error).__name__)
    if ending.is_timed_out:
        return timed_out(timeout_seconds, output=output)
    return ended(ending.code, output=output)
