"""Idempotency keys: a repeated call finds what the first one made."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from mahavishnu_sched_mcp.errors import IdempotencyConflictError
from mahavishnu_sched_mcp.ledger.database import query
from mahavishnu_sched_mcp.ledger.instant import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    import apsw

    from mahavishnu_sched_mcp.domain.value import JsonObject


class Call(NamedTuple):
    """A call that carries an idempotency key.

    Attributes:
        arguments: All arguments of the call but the key itself, JSON.
    """

    principal: str
    tool: str
    key: str
    arguments: JsonObject

    def fingerprint(self) -> str:
        """Digest the arguments; the order of their keys does not matter."""
        return hashlib.sha256(json.dumps(self.arguments, sort_keys=True).encode()).hexdigest()


class Made(NamedTuple):
    """What the first call of a key made."""

    job_serial: int | None
    run_id: str | None


def recall(db: apsw.Connection, call: Call) -> Made | None:
    """Give what this key made before; None at its first use.

    Raises:
        IdempotencyConflictError: the key was used with other arguments.
    """
    rows = query(
        db,
        """select fingerprint, job_serial, run_id from idempotency_key
            where principal = ? and tool = ? and key = ?""",
        (call.principal, call.tool, call.key),
    )
    if not rows:
        return None
    if rows[0]["fingerprint"] != call.fingerprint():
        msg = f"The idempotency key '{call.key}' was used for {call.tool} with other arguments."
        raise IdempotencyConflictError(
            msg, hint="Repeat the first call word for word, or use a new key for a new call."
        )
    return Made(rows[0]["job_serial"], rows[0]["run_id"])


def remember(db: apsw.Connection, call: Call, made: Made, *, at: datetime) -> None:
    """Bind the key to what it made, in the same transaction."""
    db.execute(
        """insert into idempotency_key
                  (principal, tool, key, fingerprint, job_serial, run_id, created_at)
           values (?, ?, ?, ?, ?, ?, ?)""",
        (*call[:3], call.fingerprint(), made.job_serial, made.run_id, to_micros(at)),
    )
