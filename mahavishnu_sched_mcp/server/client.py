"""A client of our own server over stdio, as an editor is one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import mcp
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from mcp.types import TextContent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mahavishnu_sched_mcp.domain.value import JsonObject

_CALL_SECONDS = 120.0


class ToolRefusedError(Exception):
    """A tool answered with an error; the text is what an agent reads."""


class ServerLostError(Exception):
    """The server's process is gone, or does not answer."""


class StdioClient:
    """Starts a server process and calls its tools; one process per connection.

    Args:
        command: The program and its arguments.
        environment: All variables of the process.
        log_path: Where its stderr is appended.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], log_path: Path
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._log_path = log_path
        self._open: AsyncExitStack | None = None
        self._client: Client[StdioTransport] | None = None

    async def connect(self) -> None:
        """Start the process and shake hands with it.

        Raises:
            ServerLostError: it ended instead; its log says why.
        """
        transport = StdioTransport(
            self._command[0],
            self._command[1:],
            env=self._environment,
            keep_alive=False,
            log_file=self._log_path,
        )
        async with AsyncExitStack() as stack:
            client = Client(transport, timeout=_CALL_SECONDS)
            try:
                self._client = await stack.enter_async_context(client)
            except (RuntimeError, OSError, mcp.MCPError) as error:
                msg = f"The server did not start: {error}"
                raise ServerLostError(msg) from error
            self._open = stack.pop_all()

    async def close(self) -> None:
        """Close the process's input, as an editor does, and wait for its end. Idempotent."""
        stack, self._open, self._client = self._open, None, None
        if stack is not None:
            await stack.aclose()

    async def tool_names(self) -> list[str]:
        """Name the server's tools, in its own order."""
        return [tool.name for tool in await self._connected().list_tools()]

    async def call(self, tool: str, arguments: JsonObject) -> JsonObject:
        """Call a tool and give its structured answer.

        Raises:
            ToolRefusedError: the tool answered with an error.
            ServerLostError: nothing answers any more.
        """
        try:
            result = await self._connected().call_tool(tool, arguments, raise_on_error=False)
        except (RuntimeError, OSError, mcp.MCPError) as error:
            msg = f"{tool} got no answer: {error}"
            raise ServerLostError(msg) from error
        if result.is_error:
            texts = [part.text for part in result.content if isinstance(part, TextContent)]
            raise ToolRefusedError("\n".join(texts))
        answer: dict[str, Any] = result.structured_content or {}
        return answer

    def _connected(self) -> Client[StdioTransport]:
        if self._client is None:
            msg = "The server is not connected."
            raise ServerLostError(msg)
        return self._client
