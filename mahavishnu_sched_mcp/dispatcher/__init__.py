"""The leader's errands: what the ledger says becomes what the engines do."""

from mahavishnu_sched_mcp.dispatcher.dispatcher import Dispatcher, idle

__all__ = ["Dispatcher", "idle"]
