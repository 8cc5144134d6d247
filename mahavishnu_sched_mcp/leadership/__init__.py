"""Who fires: one process of a data dir, by a lease with a rising term."""

from mahavishnu_sched_mcp.leadership.leadership import DeposedError, Leadership
from mahavishnu_sched_mcp.leadership.lock_file import LockFile
from mahavishnu_sched_mcp.leadership.vacancy import Terms, is_led

__all__ = ["DeposedError", "Leadership", "LockFile", "Terms", "is_led"]
