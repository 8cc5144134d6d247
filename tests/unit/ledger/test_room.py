"""Room on the disk: what is kept back, what may use it, and how long the log gets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.errors import StorageFullError
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.ledger.database import connect, query, scalar
from mahavishnu_sched_mcp.ledger.mark import Mark
from mahavishnu_sched_mcp.ledger.reserve import SIZE, Reserve
from tests.factories import eventually

MIB = 1024 * 1024


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open a ledger with a table to write to."""
    opened = Ledger(tmp_path / "ledger.db")
    await opened.open()
    await opened.write(lambda db: db.execute("create table note (text)").fetchall())
    yield opened
    await opened.close()


def adding(size: int) -> object:
    """Make a change that needs so much room."""
    return lambda db: db.execute("insert into note values (zeroblob(?))", (size,)).fetchall()


def noting(db: apsw.Connection) -> None:
    """Make a table and write to it."""
    db.execute("create table note (text)")
    db.execute("insert into note values ('one')")


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk have no room for a reserve."""
    monkeypatch.setattr(Reserve, "_has_room", lambda _: False)


def test_the_reserve_takes_real_blocks(tmp_path: Path) -> None:
    """A hole would be no room at all."""
    reserve = Reserve(tmp_path / "reserve")

    made = reserve.make(), reserve.is_there
    found = (tmp_path / "reserve").stat()
    reserve.give_back()
    reserve.give_back()

    assert made == (True, True)
    assert found.st_size == SIZE
    assert found.st_blocks * 512 >= SIZE
    assert found.st_mode & 0o777 == 0o600
    assert not reserve.is_there


async def test_while_the_reserve_is_given_back_only_essential_changes_are_taken(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would use up what is left for them; with room again all are taken."""
    (tmp_path / "ledger.reserve").unlink()
    with monkeypatch.context() as disk:
        full(disk)
        with pytest.raises(StorageFullError):
            await ledger.write(adding(1))  # type: ignore[arg-type]  # the result is of no interest
        await ledger.write(adding(2), essential=True)  # type: ignore[arg-type]  # the same
        told = ledger.troubles()
    await ledger.write(adding(3))  # type: ignore[arg-type]  # the same
    sizes = ledger.read(lambda db: query(db, "select length(text) as n from note"))

    assert [row["n"] for row in sizes] == [2, 3]
    assert "full" in told[0]
    assert ledger.troubles() == []
    assert (tmp_path / "ledger.reserve").stat().st_size == SIZE


async def test_a_group_on_a_full_disk_keeps_what_is_essential(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the group are refused, each with its own answer."""
    (tmp_path / "ledger.reserve").unlink()
    full(monkeypatch)

    answers = await asyncio.gather(
        *(ledger.write(adding(n), essential=n % 2 == 0) for n in range(1, 7)),  # type: ignore[arg-type]  # see above
        return_exceptions=True,
    )

    assert [isinstance(answer, StorageFullError) for answer in answers] == [True, False] * 3


async def test_the_log_is_short_after_a_long_reader(ledger: Ledger, tmp_path: Path) -> None:
    """A list of seconds lets the log grow by what is written meanwhile, and no longer."""
    log = tmp_path / "ledger.db-wal"
    reader = connect(tmp_path / "ledger.db", read_only=True)
    reader.execute("begin")
    reader.execute("select count(*) from note").fetchall()
    for _ in range(240):  # 12 MiB: 20 runs a second for about ten seconds
        await ledger.write(adding(48 * 1024))  # type: ignore[arg-type]  # see above
    during = log.stat().st_size
    reader.close()

    async def is_short() -> bool:
        await ledger.write(adding(1))  # type: ignore[arg-type]  # see above
        return log.stat().st_size <= 8 * MIB

    await eventually(is_short, description="the log is cut back", within=20)

    assert 8 * MIB < during < 64 * MIB


async def test_the_log_stays_short_under_steady_load(ledger: Ledger, tmp_path: Path) -> None:
    """A checkpoint that never catches up takes the writer's turn: of 38 MiB few are in the log."""
    log, longest = tmp_path / "ledger.db-wal", 0

    async def keep_writing() -> None:
        nonlocal longest
        for _ in range(150):
            await ledger.write(adding(64 * 1024), durable=False)  # type: ignore[arg-type]  # see above
            longest = max(longest, log.stat().st_size)

    await asyncio.gather(*(keep_writing() for _ in range(4)))

    assert longest < 24 * MIB


async def test_closing_empties_the_log(tmp_path: Path) -> None:
    """The one file holds everything, and is sealed."""
    ledger = Ledger(tmp_path / "ledger.db")
    await ledger.open()
    await ledger.write(noting)
    await ledger.close()

    connection = apsw.Connection(str(tmp_path / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    tables = scalar(connection, "select count(*) from sqlite_schema where name = 'note'")
    connection.close()
    assert tables == 1
    assert Mark(tmp_path / "ledger.mark").read().seal


async def test_a_ledger_another_process_has_open_is_not_sealed(tmp_path: Path) -> None:
    """The last one to close it seals it."""
    first, second = Ledger(tmp_path / "ledger.db"), Ledger(tmp_path / "ledger.db")
    await first.open()
    await second.open()
    await first.write(noting)
    mark = Mark(tmp_path / "ledger.mark")

    await first.close()
    between = mark.read()
    await second.close()

    assert (between.commits, between.seal) == (1, "")
    assert mark.read().seal


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe rubbish", b'{"commits": 7} 00000000'])
async def test_a_damaged_mark_is_no_damage_of_the_ledger(content: bytes, tmp_path: Path) -> None:
    """It is written anew."""
    ledger = Ledger(tmp_path / "ledger.db")
    await ledger.open()
    await ledger.write(noting)
    await ledger.close()
    (tmp_path / "ledger.mark").write_bytes(content)

    await ledger.open()
    known = Mark(tmp_path / "ledger.mark").read()
    await ledger.close()

    assert known.commits == 1


def test_the_mark_is_for_its_owner_only(tmp_path: Path) -> None:
    """As every file of the data dir."""
    mark = Mark(tmp_path / "ledger.mark")

    mark.make(3)
    mark.raise_to(4)
    mark.close()

    assert os.stat(tmp_path / "ledger.mark").st_mode & 0o777 == 0o600  # noqa: PTH116 - the mode alone
    assert mark.read() == (4, "")
