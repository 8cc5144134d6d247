"""The MCP face: what an agent sees of the scheduler."""
