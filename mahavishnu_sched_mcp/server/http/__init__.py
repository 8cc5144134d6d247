"""MCP over streamable HTTP: the door, who may pass it, and the serving behind it."""
