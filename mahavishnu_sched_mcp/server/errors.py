"""Refusals an agent can mend, one line each: `[code] what was refused. How to mend it.`."""

from __future__ import annotations

import functools
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import structlog
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import Middleware
from pydantic import ValidationError as PydanticError

from mahavishnu_sched_mcp.domain.characteristics import TaskCharacteristics
from mahavishnu_sched_mcp.domain.job import ID_PATTERN
from mahavishnu_sched_mcp.domain.trigger import TriggerRequest
from mahavishnu_sched_mcp.errors import InvalidArgumentsError, InvalidTriggerError, SchedulerError
from mahavishnu_sched_mcp.errors import nearest as nearest_name
from mahavishnu_sched_mcp.server.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from fastmcp.server.middleware import CallNext, MiddlewareContext
    from fastmcp.tools.base import ToolResult
    from mcp.types import CallToolRequestParams
    from pydantic_core import ErrorDetails

log = structlog.get_logger()

INTERNAL_CODE = "internal_error"
INTERNAL_TEXT = (
    f"[{INTERNAL_CODE}] The server met a defect; it is in its log. "
    "Try again; if it stays, see the server's log (stderr)."
)
SHOWN_PROBLEMS = 3
"""An agent mends a few arguments at a time; the rest would only push them out of sight."""

_CONFIG_HINT = (
    "Give one of cron, interval_seconds and rrule, such as "
    '"schedule_config": {"cron": "0 2 * * 1-5", "timezone": "UTC"}.'
)
_TRIGGER_ARGUMENTS = frozenset({"trigger", "schedule_config"})
_FIELDS = {
    "trigger": tuple(TriggerRequest.model_fields),
    "characteristics": tuple(TaskCharacteristics.model_fields),
}
_VALUE_LENGTH = 60
_TEXT_LENGTH = 1500
_UNKNOWN_TYPES = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_MISSING_TYPES = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})


class RefusalError(ToolError):
    """A tool error that says its code, for the log."""

    def __init__(self, text: str, *, code: str) -> None:
        """Keep the line and its code; FastMCP's own log stays silent, ours has a line per call."""
        super().__init__(text, log_level=logging.DEBUG)
        self.code = code


def refusal(error: SchedulerError) -> RefusalError:
    """Turn one of our errors into the line an agent reads."""
    line = clean_line(f"{error.message} {error.hint}", length=_TEXT_LENGTH)
    return RefusalError(f"[{error.code}] {line}", code=error.code)


def refusing[**P, R](function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Let a tool's failures out as refusals only.

    Args:
        function: The tool's body.
    """

    @functools.wraps(function)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except SchedulerError as error:
            if error.code == INTERNAL_CODE:
                log.exception("tool_failed", tool=function.__name__)
                raise RefusalError(INTERNAL_TEXT, code=INTERNAL_CODE) from error
            raise refusal(error) from error
        except Exception as error:
            # The guard of every tool: whatever a defect raises, no traceback reaches a client.
            log.exception("tool_failed", tool=function.__name__)
            raise RefusalError(INTERNAL_TEXT, code=INTERNAL_CODE) from error

    return guarded


def explain_arguments(
    error: PydanticError, *, tool: str, known: Collection[str] = ()
) -> SchedulerError:
    """Say which arguments are wrong, with their values, what is allowed and the likely meaning.

    Args:
        error: What the validation found.
        tool: The tool that was called.
        known: The tool's arguments.
    """
    problems = error.errors(include_url=False, include_context=True, include_input=True)
    under = {str(problem["loc"][0]) for problem in problems if problem["loc"]}
    sentences = [_sentence(problem, known=known) for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        sentences.append(f"{len(problems) - SHOWN_PROBLEMS} more after these.")
    if under == {"schedule_config"}:
        return InvalidTriggerError(" ".join(sentences), hint=_CONFIG_HINT)
    if under and under <= _TRIGGER_ARGUMENTS:
        hint = "Try it with preview_schedule before committing."
        return InvalidTriggerError(" ".join(sentences), hint=hint)
    return InvalidArgumentsError(" ".join(sentences), hint=f"Correct it and call {tool} again.")


def unknown_tool(name: str, known: Sequence[str]) -> SchedulerError:
    """Say that there is no such tool, and which there are."""
    hint = nearest_name(name, known) or f"The tools are: {', '.join(known)}."
    return InvalidArgumentsError(f"No tool is named '{clean_line(name, length=64)}'.", hint=hint)


class RefusalMiddleware(Middleware):
    """Mends what never reached a tool's body, and logs one line per call."""

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Pass the call on and let only refusals out."""
        started = time.monotonic()
        code = "ok"
        try:
            return await self._call(context, call_next)
        except RefusalError as error:
            code = error.code
            raise
        finally:
            log.info(
                "tool_called",
                tool=clean_line(context.message.name, length=64),
                code=code,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
            )

    async def _call(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        name = context.message.name
        try:
            return await call_next(context)
        except NotFoundError as error:
            raise refusal(unknown_tool(name, await _tool_names(context))) from error
        except ValidationError as error:
            if not isinstance(error.__cause__, PydanticError):
                log.exception("tool_failed", tool=name)
                raise RefusalError(INTERNAL_TEXT, code=INTERNAL_CODE) from error
            known = await _argument_names(context)
            mended = explain_arguments(error.__cause__, tool=name, known=known)
            raise refusal(mended) from error
        except RefusalError:
            raise
        except ToolError as error:
            log.exception("tool_failed", tool=name)
            raise RefusalError(INTERNAL_TEXT, code=INTERNAL_CODE) from error


def _sentence(problem: ErrorDetails, *, known: Collection[str]) -> str:
    """Say one problem: the argument, its value, what is allowed."""
    path = ".".join(clean_line(str(part), length=64) for part in problem["loc"])
    label = f"Argument '{path}'" if path else "The call"
    value = _short(problem.get("input"))
    context: Mapping[str, Any] = problem.get("ctx", {})
    if problem["type"] in _UNKNOWN_TYPES:
        return f"{label} is not known. {_suggestion(problem, known=known)}".strip()
    if problem["type"] in _MISSING_TYPES:
        return f"{label} is missing."
    if problem["type"] == "literal_error":
        expected = str(context.get("expected", ""))
        near = nearest_name(str(problem.get("input")), _quoted(expected))
        return f"{label} is {value}; allowed: {expected}. {near}".strip()
    if context.get("pattern") == ID_PATTERN:
        allowed = "1 to 64 of a-z, 0-9, '.', '_' and '-' are allowed, a letter or digit first"
        return f"{label} is {value}; {allowed}. Use '{_as_id(str(problem['input']))}'."
    return f"{label} is {value}; {_lowered(problem['msg'])}."


def _as_id(text: str) -> str:
    """Propose the nearest id."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64].rstrip("-._") or "my-job"


def _suggestion(problem: ErrorDetails, *, known: Collection[str]) -> str:
    """Name the nearest argument or field, or all of them."""
    *above, name = problem["loc"] or ("",)
    names = _FIELDS.get(str(above[0]), ()) if above else known
    if not names:
        return "It takes no arguments." if not above else ""
    return nearest_name(str(name), names) or f"Known: {', '.join(names)}."


def _quoted(expected: str) -> list[str]:
    return [word for word in expected.split("'")[1::2] if word]


def _short(value: object) -> str:
    """Write a value as short JSON, its type where it has no JSON."""
    try:
        return clean_line(json.dumps(value, ensure_ascii=False), length=_VALUE_LENGTH)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")


async def _tool_names(context: MiddlewareContext[Any]) -> list[str]:
    if context.fastmcp_context is None:
        return []
    return [tool.name for tool in await context.fastmcp_context.fastmcp.list_tools()]


async def _argument_names(context: MiddlewareContext[CallToolRequestParams]) -> list[str]:
    if context.fastmcp_context is None:
        return []
    tool = await context.fastmcp_context.fastmcp.get_tool(context.message.name)
    return [] if tool is None else list(tool.parameters.get("properties", {}))
