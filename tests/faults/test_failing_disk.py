"""Every write to the disk fails once: nothing acknowledged is lost, and the ledger goes on."""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.errors import InternalError, StorageFullError
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.ledger.database import query, scalar
from tests.faults.failing_disk import FailingWrites
from tests.faults.tally import Tally, amount

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)
SPANS = (1, 3, 40)
CHANGES = 6


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_write_that_fails_loses_nothing(tmp_path: Path, tally: Tally) -> None:
    """Each change is there or was refused, whichever write failed, and the next ones are taken."""
    seen: Counter[str] = Counter()
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    ledger = Ledger(base / "ledger.db")
    await ledger.open()
    await ledger.write(lambda db: db.execute("create table note (n integer)").fetchall())
    await ledger.close()
    for point in range(amount(400)):
        data = tmp_path / f"point-{point}"
        shutil.copytree(base, data)
        await one_point(data / "ledger.db", point, seen)
        shutil.rmtree(data)

    tally(points=amount(400), **seen)
    assert seen["lost"] == 0
    assert seen["undead"] == 0
    assert seen["corrupt"] == 0
    assert seen["storage_full"] > 0
    assert seen["acknowledged"] > amount(400)


async def one_point(path: Path, point: int, seen: Counter[str]) -> None:
    """Write while a write fails, and compare what is there with what was answered."""
    kept, refused = set[int](), set[int]()
    with FailingWrites(
        at=1 + point * 37 % 120,
        count=SPANS[point % len(SPANS)],
        number=ERRORS[point % len(ERRORS)],
    ) as failing:
        ledger = Ledger(path)
        while True:  # a start that finds no room is tried again, as an editor does
            try:
                await ledger.open()
                break
            except (StorageFullError, InternalError) as error:
                seen[f"start_{error.code}"] += 1
        for number in range(CHANGES):
            try:
                await ledger.write(
                    lambda db, n=number: db.execute("insert into note values (?)", (n,)).fetchall(),  # type: ignore[misc]  # bound now
                    essential=number % 2 == 1,
                )
                kept.add(number)
            except (StorageFullError, InternalError) as error:
                seen[error.code] += 1
                refused.add(number)
        seen["failed_writes"] += failing.failed
    await ledger.write(lambda db: db.execute("insert into note values (99)").fetchall())
    found = {row["n"] for row in ledger.read(lambda db: query(db, "select n from note"))}
    await ledger.close()
    again = Ledger(path)
    await again.open()
    after = {row["n"] for row in again.read(lambda db: query(db, "select n from note"))}
    await again.close()
    with apsw.Connection(str(path)) as connection:
        seen["corrupt"] += scalar(connection, "pragma integrity_check") != "ok"
    connection.close()
    seen["acknowledged"] += len(kept)
    seen["lost"] += len((kept | {99}) - found) + len((kept | {99}) - after)
    seen["undead"] += len(refused & after)
