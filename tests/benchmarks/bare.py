"""The smallest server FastMCP makes, with one tool that does nothing."""

from __future__ import annotations

from fastmcp import FastMCP

server = FastMCP("bare")


@server.tool
def nothing() -> str:
    """Do nothing."""
    return "done"


if __name__ == "__main__":
    server.run(show_banner=False)
