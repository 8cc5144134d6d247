"""What is remembered: one SQLite file that is the truth about jobs and runs."""

from mahavishnu_sched_mcp.ledger.ledger import Ledger

__all__ = ["Ledger"]
