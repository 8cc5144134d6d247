"""The row that says who leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.ledger import lease
from mahavishnu_sched_mcp.ledger.database import connect
from mahavishnu_sched_mcp.ledger.lease import Holder, Lease
from mahavishnu_sched_mcp.ledger.schema import migrate
from tests.factories import TWO_O_CLOCK


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Open a fresh ledger."""
    connection = connect(tmp_path / "ledger.db")
    migrate(connection)
    yield connection
    connection.close()


def a_lease(term: int, *, pid: int = 11, expires_ms: int = 9, holds_lock: bool = True) -> Lease:
    """Make a lease of a term."""
    return Lease(term, Holder(pid, "h", "b"), expires_ms, holds_lock, TWO_O_CLOCK)


def test_the_term_rises_with_each_leader(db: apsw.Connection) -> None:
    """And the newest one is named."""
    for term, pid in ((1, 11), (2, 12)):
        assert lease.take(db, a_lease(term, pid=pid), seen=lease.read(db))

    assert lease.read(db) == a_lease(2, pid=12)
    assert lease.term(db) == 2


def test_of_two_who_saw_nobody_lead_one_is_the_leader(db: apsw.Connection) -> None:
    """The slower one is told so, and the row stands."""
    seen = lease.read(db)
    first = lease.take(db, a_lease(1, pid=11), seen=seen)
    second = lease.take(db, a_lease(1, pid=12), seen=seen)

    assert (first, second) == (True, False)
    assert lease.read(db).holder.pid == 11


def test_a_leader_that_renewed_in_the_last_moment_stays(db: apsw.Connection) -> None:
    """Who saw the lease run out looks again before it takes it, in one transaction."""
    lease.take(db, a_lease(1), seen=lease.read(db))
    seen = lease.read(db)
    lease.renew(db, expires_ms=99, holds_lock=True)

    assert not lease.take(db, a_lease(2, pid=12), seen=seen)
    assert lease.read(db) == a_lease(1, expires_ms=99)


@pytest.mark.parametrize(
    ("boot", "now_ms", "is_live"), [("b", 8, True), ("b", 9, False), ("another", 8, False)]
)
def test_a_lease_lives_until_its_end_and_in_its_boot(
    boot: str, now_ms: int, *, is_live: bool
) -> None:
    """The monotonic clock of another start of the machine says nothing here."""
    assert a_lease(1).is_live(boot=boot, now_ms=now_ms) is is_live
