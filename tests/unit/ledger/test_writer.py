"""One thread commits: in order, in groups, each change for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from mahavishnu_sched_mcp.errors import InternalError, LedgerCorruptError, StorageFullError
from mahavishnu_sched_mcp.ledger import Ledger
from mahavishnu_sched_mcp.ledger.database import connect, query, scalar
from mahavishnu_sched_mcp.ledger.schema import migrate
from mahavishnu_sched_mcp.ledger.writer import Change, Writer


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open a ledger with a table to write to."""
    opened = Ledger(tmp_path / "ledger.db")
    await opened.open()
    await opened.write(lambda db: db.execute("create table note (text unique)").fetchall())
    yield opened
    await opened.close()


def adding(text: str) -> Change:
    """Make a change that adds one note."""

    def add(db: apsw.Connection) -> str:
        db.execute("insert into note values (?)", (text,))
        return text

    return add


def notes_of(ledger: Ledger) -> list[str]:
    """Give the notes that are committed."""
    return ledger.read(lambda db: [row["text"] for row in query(db, "select text from note")])


class Held:
    """Holds the writer's thread, so that what comes meanwhile makes one group."""

    def __init__(self, ledger: Ledger) -> None:
        """Hold it from now on."""
        self._go = threading.Event()
        self._is_held = threading.Event()
        self.task = asyncio.ensure_future(ledger.write(self._wait))

    async def begun(self) -> None:
        """Wait until the thread is held."""
        await asyncio.to_thread(self._is_held.wait, 5)

    def release(self) -> None:
        """Let it go on."""
        self._go.set()

    def _wait(self, _: apsw.Connection) -> None:
        self._is_held.set()
        self._go.wait(5)


async def test_a_change_is_committed_when_its_result_is_there(ledger: Ledger) -> None:
    """Another process would see it."""
    result = await ledger.write(adding("one"))

    assert result == "one"
    assert notes_of(ledger) == ["one"]


async def test_a_change_that_fails_takes_nothing_of_others_with_it(ledger: Ledger) -> None:
    """Its own writes are rolled back, its error is its caller's, the group is committed."""

    def fail(db: apsw.Connection) -> None:
        adding("lost")(db)
        message = "no"
        raise LookupError(message)

    held = Held(ledger)
    await held.begun()
    waiting = [
        asyncio.ensure_future(ledger.write(change)) for change in (adding("a"), fail, adding("b"))
    ]
    await asyncio.sleep(0)
    held.release()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    await held.task

    assert answers[::2] == ["a", "b"]
    assert isinstance(answers[1], LookupError)
    assert notes_of(ledger) == ["a", "b"]


async def test_a_group_is_durable_when_one_of_it_is(ledger: Ledger) -> None:
    """Bookkeeping alone may wait for the disk; beside an acknowledged change it does not."""
    levels: list[int] = []

    def look(db: apsw.Connection) -> None:
        levels.append(int(scalar(db, "pragma synchronous")))

    await ledger.write(look, durable=False)
    await ledger.write(look, durable=True)
    held = Held(ledger)
    await held.begun()
    group = [asyncio.ensure_future(ledger.write(look, durable=d)) for d in (False, True, False)]
    await asyncio.sleep(0)
    held.release()
    await asyncio.gather(held.task, *group)

    normal, full = 1, 2
    assert levels == [normal, full, full, full, full]


async def test_changes_are_committed_in_the_order_they_came(ledger: Ledger) -> None:
    """Whatever the groups."""
    texts = [f"{number:03}" for number in range(200)]

    await asyncio.gather(*(ledger.write(adding(text)) for text in texts))

    assert notes_of(ledger) == texts


async def test_a_change_nobody_waits_for_any_more_is_left_out(ledger: Ledger) -> None:
    """Cancelled before its turn it is not done; the ones beside it are."""
    held = Held(ledger)
    await held.begun()
    gone, kept = (asyncio.ensure_future(ledger.write(adding(text))) for text in ("gone", "kept"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    held.release()
    await asyncio.gather(held.task, kept)

    assert notes_of(ledger) == ["kept"]
    assert gone.cancelled()


async def test_a_full_disk_changes_nothing_and_passes(ledger: Ledger) -> None:
    """The whole group is refused; with room again, changes are taken."""

    def limit(pages: int) -> Change:
        return lambda db: scalar(db, f"pragma max_page_count = {pages}")

    pages = await ledger.write(limit(1))
    with pytest.raises(StorageFullError, match="no room"):
        await ledger.write(adding("x" * 100_000))
    refused = notes_of(ledger)
    await ledger.write(limit(int(pages) + 1000))
    await ledger.write(adding("y" * 100_000))

    assert refused == []
    assert len(notes_of(ledger)) == 1


async def test_a_damage_found_while_writing_is_told(ledger: Ledger) -> None:
    """Nothing of the group is written."""

    def stumble(db: apsw.Connection) -> None:
        adding("lost")(db)
        raise apsw.CorruptError

    with pytest.raises(LedgerCorruptError, match="damaged"):
        await ledger.write(stumble)

    assert notes_of(ledger) == []


async def test_closing_commits_what_waits_and_refuses_the_rest(tmp_path: Path) -> None:
    """A closed writer says so; closing twice is fine."""
    path = tmp_path / "ledger.db"
    connection = connect(path)
    migrate(connection)
    connection.execute("create table note (text unique)")
    writer = Writer(connection, connect(path))
    last = writer.submit(adding("last"), durable=False)
    writer.close()
    writer.close()

    assert last.result(timeout=0) == "last"
    with pytest.raises(InternalError, match="closed"):
        writer.submit(adding("late"), durable=False)


async def test_a_ledger_opens_and_closes_twice(tmp_path: Path) -> None:
    """What was written is there when it is opened again."""
    ledger = Ledger(tmp_path / "ledger.db")
    await ledger.open()
    await ledger.open()
    await ledger.write(lambda db: db.execute("create table note (text unique)").fetchall())
    await ledger.write(adding("kept"))
    await ledger.close()
    await ledger.close()
    await ledger.open()
    found = notes_of(ledger)
    await ledger.close()

    assert found == ["kept"]


async def test_a_commit_of_another_process_is_heard(ledger: Ledger, tmp_path: Path) -> None:
    """Within a tenth of a second or two, without asking."""
    other = connect(tmp_path / "ledger.db")
    waiting = asyncio.ensure_future(ledger.changed(since=ledger.version, within=5))
    await asyncio.sleep(0)
    other.execute("insert into note values ('theirs')")
    other.close()

    assert await waiting is True
    assert notes_of(ledger) == ["theirs"]


async def test_a_commit_between_looking_and_waiting_counts(ledger: Ledger) -> None:
    """Whoever read the version before it looked misses nothing."""
    seen = ledger.version
    await ledger.write(adding("between"))

    assert await ledger.changed(since=seen, within=0) is True
    assert await ledger.changed(since=ledger.version, within=0.01) is False
