"""How a tool is declared: its function, and what clients are told about it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, get_type_hints

from fastmcp.tools import FunctionTool, ToolResult
from mcp.types import Tool, ToolAnnotations

from mahavishnu_sched_mcp.server.errors import refusing
from mahavishnu_sched_mcp.server.schemas import compact_parameters
from mahavishnu_sched_mcp.server.text import clean_value, compact_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mahavishnu_sched_mcp.domain.value import JsonObject


class Effect(Enum):
    """What a call does to the world; clients ask their user by it.

    READ changes nothing. WRITE makes or starts something, once per call unless a key is given.
    SETTLE may be repeated with the same result. REMOVE takes something away, repeatably.
    """

    READ = "read"
    WRITE = "write"
    SETTLE = "settle"
    REMOVE = "remove"


class LeanTool(FunctionTool):
    """A tool that does not spend its listing on FastMCP's own remarks."""

    def to_mcp_tool(self, **overrides: Any) -> Tool:
        """List the tool without `_meta`."""
        return super().to_mcp_tool(**({"_meta": None} | overrides))


@dataclass(frozen=True, slots=True)
class ToolDeclaration:
    """A tool before it is part of a server.

    Attributes:
        function: Its body; the name is the tool's, the docstring the description.
        title: What people see.
        effect: What it does to the world.
        reaches_out: Whether what it starts may act beyond this server (run user code).
        output_schema: The top-level fields of its answer.
    """

    function: Callable[..., Awaitable[ToolResult]]
    title: str
    effect: Effect
    output_schema: JsonObject
    reaches_out: bool = False

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.function.__name__

    def build(self) -> FunctionTool:
        """Make the tool as FastMCP serves it."""
        # FastMCP reads the annotations some seven times; evaluated, each reading is cheap.
        self.function.__annotations__ = get_type_hints(self.function, include_extras=True)
        body = refusing(self.function)
        # Given a docstring FastMCP imports a parser for it; ours is the description as it stands.
        body.__doc__ = None
        tool = LeanTool.from_function(
            body,
            name=self.name,
            title=self.title,
            description=inspect.cleandoc(self.function.__doc__ or ""),
            annotations=ToolAnnotations(
                read_only_hint=self.effect is Effect.READ,
                destructive_hint=self.effect is Effect.REMOVE,
                idempotent_hint=self.effect is not Effect.WRITE,
                open_world_hint=self.reaches_out,
            ),
            output_schema=self.output_schema,
        )
        return tool.model_copy(update={"parameters": compact_parameters(tool.parameters)})


def answer(view: JsonObject, *, text: str | None = None) -> ToolResult:
    """Give a view as structured content, and as text.

    Args:
        view: The JSON of the answer.
        text: Rows for a list; None writes the view itself as compact JSON.
    """
    content: Any = clean_value(view)
    return ToolResult(content=text or compact_json(content), structured_content=content)
