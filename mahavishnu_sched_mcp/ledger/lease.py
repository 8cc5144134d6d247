"""Who leads: one row with a term that only rises, and how long its leader may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mahavishnu_sched_mcp.ledger.database import query, scalar
from mahavishnu_sched_mcp.ledger.instant import from_micros, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    import apsw


class Holder(NamedTuple):
    """A process that may lead.

    Attributes:
        boot: Which start of the machine it lives in: `expires_ms` means nothing in another.
    """

    pid: int
    host: str
    boot: str


class Lease(NamedTuple):
    """The newest leader, living or gone.

    Attributes:
        term: How many leaders there were; 0 before the first.
        expires_ms: On the monotonic clock of `holder.boot`; 0 where it was given up in order.
        holds_lock: The leader has the lock file too, so the lock tells of its death.
        started_at: When the term began.
    """

    term: int
    holder: Holder
    expires_ms: int
    holds_lock: bool
    started_at: datetime

    def is_live(self, *, boot: str, now_ms: int) -> bool:
        """Whether the leader may still believe that it leads."""
        return self.holder.boot == boot and now_ms < self.expires_ms


def read(db: apsw.Connection) -> Lease:
    """Give the row."""
    row = query(db, "select * from leader")[0]
    return Lease(
        term=row["term"],
        holder=Holder(row["pid"], row["host"], row["boot"]),
        expires_ms=row["expires_ms"],
        holds_lock=bool(row["holds_lock"]),
        started_at=from_micros(row["started_at"]),
    )


def term(db: apsw.Connection) -> int:
    """Give the newest term."""
    return int(scalar(db, "select term from leader"))


def take(db: apsw.Connection, lease: Lease, *, seen: Lease) -> bool:
    """Write down a new leader; False where another one was faster, or the old one goes on.

    Args:
        lease: The new one, of the term after `seen`.
        seen: The row by which the taker judged that nobody leads. A leader that was only slow
            may have renewed it since.
    """
    rows = query(
        db,
        """update leader set term = ?, pid = ?, host = ?, boot = ?, expires_ms = ?,
                  holds_lock = ?, started_at = ?
            where term = ? and expires_ms = ? returning term""",
        (
            lease.term,
            *lease.holder,
            lease.expires_ms,
            lease.holds_lock,
            to_micros(lease.started_at),
            seen.term,
            seen.expires_ms,
        ),
    )
    return bool(rows)


def renew(db: apsw.Connection, *, expires_ms: int, holds_lock: bool) -> None:
    """Prolong the lease; the caller has made sure of the term in the same transaction."""
    db.execute("update leader set expires_ms = ?, holds_lock = ?", (expires_ms, holds_lock))


def give_up(db: apsw.Connection) -> None:
    """End the lease in order, so that the next leader need not wait for its end."""
    db.execute("update leader set expires_ms = 0")
