"""What goes wrong outside a tool's body is mended or masked, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import MiddlewareContext
from mcp.types import CallToolRequestParams
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from mahavishnu_sched_mcp.errors import InvalidArgumentsError, JobNotFoundError
from mahavishnu_sched_mcp.server.errors import (
    INTERNAL_TEXT,
    RefusalError,
    RefusalMiddleware,
    explain_arguments,
    refusing,
    unknown_tool,
)

if TYPE_CHECKING:
    from fastmcp.tools import ToolResult


async def passed_through(error: Exception, *, tool: str = "get_job") -> RefusalError:
    """Send a call through the middleware to a server that fails with this error."""

    async def fail(context: MiddlewareContext[CallToolRequestParams]) -> ToolResult:  # noqa: ARG001 - the name is the protocol's
        raise error

    context = MiddlewareContext(message=CallToolRequestParams(name=tool, arguments={}))
    with pytest.raises(RefusalError) as caught:
        await RefusalMiddleware().on_call_tool(context, fail)
    return caught.value


def a_pydantic_error(kind: Any, value: object) -> PydanticError:
    """Make the error of a value that is not of this kind."""
    with pytest.raises(PydanticError) as caught:
        TypeAdapter(kind).validate_python(value, strict=True)
    return caught.value


@pytest.mark.parametrize(
    "error", [ToolError("Error calling tool: /srv/secret"), ValidationError("output is wrong")]
)
async def test_a_foreign_error_is_masked(error: Exception) -> None:
    """Only our own refusals are worded for a client."""
    refused = await passed_through(error)

    assert str(refused) == INTERNAL_TEXT
    assert refused.code == "internal_error"


async def test_an_unknown_tool_is_a_refusal_even_without_a_session() -> None:
    """The name is said back, short and clean."""
    refused = await passed_through(NotFoundError("Unknown tool"), tool="x\n" * 100)

    assert refused.code == "invalid_arguments"
    assert "\n" not in str(refused)
    assert len(str(refused)) < 150


async def test_wrong_arguments_are_mended_even_without_a_session() -> None:
    """The middleware reads the cause of FastMCP's own error."""
    error = ValidationError("1 validation error")
    error.__cause__ = a_pydantic_error(int, "five")

    refused = await passed_through(error)

    assert str(refused) == (
        '[invalid_arguments] The call is "five"; input should be a valid integer. '
        "Correct it and call get_job again."
    )


def test_a_value_without_json_is_shown_by_its_type() -> None:
    """Nothing that a caller sends can break the refusal."""
    mended = explain_arguments(a_pydantic_error(int, {1}), tool="get_job")

    assert mended.message == "The call is a set; input should be a valid integer."


def test_an_unknown_tool_far_from_any_lists_them_all() -> None:
    """Without a near miss, the whole choice is shown."""
    error = unknown_tool("zzz", ["get_job", "list_jobs"])

    assert isinstance(error, InvalidArgumentsError)
    assert error.hint == "The tools are: get_job, list_jobs."


async def test_a_refusing_function_keeps_its_name_and_result() -> None:
    """The guard is invisible where all goes well."""

    @refusing
    async def double(number: int) -> int:
        """Double it."""
        return 2 * number

    assert double.__name__ == "double"
    assert await double(4) == 8


async def test_a_refusing_function_names_the_code() -> None:
    """The code is there for the log without being read out of the text."""

    @refusing
    async def fail() -> NoReturn:
        message = "No job 'a'."
        raise JobNotFoundError(message, hint="See list_jobs.")

    with pytest.raises(RefusalError) as caught:
        await fail()

    assert caught.value.code == "job_not_found"
    assert str(caught.value) == "[job_not_found] No job 'a'. See list_jobs."
