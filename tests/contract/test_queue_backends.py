"""What every queue adapter promises; each provider is run through the same claims."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import apsw
import pytest

from mahavishnu_sched_mcp.backends.oneiric.queues.sqlite import SqliteQueueAdapter
from mahavishnu_sched_mcp.errors import BackendUnavailableError, InvalidArgumentsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from mahavishnu_sched_mcp.backends.protocol import QueueBackend

LEASE_SECONDS = 30


class ManualClock:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """Give the instant it stands at."""
        return self._now

    def monotonic(self) -> float:
        """Give the same instant in seconds."""
        return self._now.timestamp()

    def move(self, seconds: float) -> None:
        """Set it forward, or back by a negative number."""
        self._now += timedelta(seconds=seconds)


def a_message(run_id: str = "run-1", **metadata: object) -> dict[str, object]:
    """Make a payload as Oneiric's bridge makes it."""
    return {
        "workflow": "etl",
        "run_id": "oneiric-made",
        "workflow_provider": "catalog",
        "context": {"day": "2026-11-20"},
        "metadata": {"run_id": run_id, **metadata},
        "queued_at": "2026-11-20T12:00:00+00:00",
    }


@pytest.fixture
def clock() -> ManualClock:
    """Hand the test the clock that the queues read."""
    return ManualClock()


@pytest.fixture(params=["sqlite"])
async def connect(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Callable[[], QueueBackend]]:
    """Connect one more consumer to the same queue of the provider under test."""
    makers: dict[str, Callable[[], QueueBackend]] = {
        "sqlite": lambda: SqliteQueueAdapter(
            tmp_path / "queue.db", lease_seconds=LEASE_SECONDS, clock=clock
        )
    }
    made: list[QueueBackend] = []

    def make() -> QueueBackend:
        made.append(makers[request.param]())
        return made[-1]

    yield make
    for queue in made:
        await queue.cleanup()


@pytest.fixture
async def queue(connect: Callable[[], QueueBackend]) -> QueueBackend:
    """Open one consumer."""
    queue = connect()
    await queue.init()
    return queue


async def test_a_message_is_read_as_it_was_enqueued(queue: QueueBackend) -> None:
    """A delivery carries the payload, says when it was enqueued and counts itself."""
    number = await queue.enqueue(a_message())

    (message,) = await queue.read(count=5, block_ms=0)

    assert (message.message_id, message.payload) == (number, a_message())
    assert message.deliveries == 1
    assert message.enqueued_at == datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


async def test_messages_are_read_in_the_order_of_their_coming(queue: QueueBackend) -> None:
    """The oldest comes first, and no more than asked for."""
    for number in range(4):
        await queue.enqueue(a_message(f"run-{number}"))

    first = await queue.read(count=3, block_ms=0)
    rest = await queue.read(count=3, block_ms=0)

    assert [m.payload["metadata"]["run_id"] for m in first] == ["run-0", "run-1", "run-2"]
    assert [m.payload["metadata"]["run_id"] for m in rest] == ["run-3"]


async def test_an_empty_queue_answers_nothing_when_the_time_is_up(queue: QueueBackend) -> None:
    """Reading waits for the first message only as long as it was asked to."""
    assert await queue.read(count=1, block_ms=20) == []


async def test_a_second_message_of_a_run_is_dropped(queue: QueueBackend) -> None:
    """Enqueueing again answers the message that waits already."""
    first = await queue.enqueue(a_message())
    second = await queue.enqueue(a_message())

    assert second == first
    assert await queue.depth() == 1


async def test_a_message_sent_again_while_it_is_leased_comes_once_more(
    queue: QueueBackend,
) -> None:
    """A run's next attempt may be enqueued before the last delivery is acknowledged."""
    await queue.enqueue(a_message(attempt=1))
    leased = await queue.read(count=1, block_ms=0)

    await queue.enqueue(a_message(attempt=2))
    assert await queue.read(count=1, block_ms=0) == []
    assert await queue.ack(leased) == 1

    (again,) = await queue.read(count=1, block_ms=0)
    assert (again.payload["metadata"]["attempt"], again.deliveries) == (2, 1)
    assert await queue.ack([again]) == 1
    assert await queue.depth() == 0


async def test_a_message_sent_again_by_another_process_comes_at_once(
    queue: QueueBackend, connect: Callable[[], QueueBackend]
) -> None:
    """A new leader sends what the old one left: it need not wait for a dead consumer's lease."""
    survivor = connect()
    await survivor.init()
    await queue.enqueue(a_message(attempt=1))
    dead = await queue.read(count=1, block_ms=0)

    await survivor.enqueue(a_message(attempt=2))
    (message,) = await survivor.read(count=1, block_ms=0)

    assert message.payload["metadata"]["attempt"] == 2
    assert await queue.ack(dead) == 0
    assert not await queue.extend(dead[0])
    assert await survivor.ack([message]) == 1
    assert await survivor.depth() == 0


async def test_a_leased_message_is_nobody_elses(
    queue: QueueBackend, connect: Callable[[], QueueBackend]
) -> None:
    """Two consumers never hold one message at the same time."""
    other = connect()
    await other.init()
    await queue.enqueue(a_message())

    assert len(await queue.read(count=5, block_ms=0)) == 1
    assert await other.read(count=5, block_ms=0) == []


async def test_a_dead_consumers_message_comes_back_after_its_lease(
    queue: QueueBackend, connect: Callable[[], QueueBackend], clock: ManualClock
) -> None:
    """A message not acknowledged in time is delivered again, and the count says so."""
    survivor = connect()
    await survivor.init()
    await queue.enqueue(a_message())
    dead = await queue.read(count=1, block_ms=0)

    clock.move(LEASE_SECONDS - 1)
    assert await survivor.read(count=1, block_ms=0) == []
    clock.move(2)
    (message,) = await survivor.read(count=1, block_ms=0)

    assert message.deliveries == 2
    assert await queue.ack(dead) == 0, "a late acknowledgement removes nothing"
    assert await queue.extend(dead[0]) is False
    assert await survivor.ack([message]) == 1


async def test_an_extended_lease_is_kept(queue: QueueBackend, clock: ManualClock) -> None:
    """Work longer than the lease keeps its message by prolonging it."""
    await queue.enqueue(a_message())
    (message,) = await queue.read(count=1, block_ms=0)

    clock.move(LEASE_SECONDS - 1)
    assert await queue.extend(message)
    clock.move(LEASE_SECONDS - 1)

    assert await queue.read(count=1, block_ms=0) == []
    assert await queue.ack([message]) == 1


async def test_a_message_given_back_waits_for_its_delay(
    queue: QueueBackend, clock: ManualClock
) -> None:
    """`nack` makes a message visible again after the delay, not before."""
    await queue.enqueue(a_message())
    (message,) = await queue.read(count=1, block_ms=0)

    await queue.nack(message, delay_s=60)
    assert await queue.read(count=1, block_ms=0) == []
    clock.move(61)

    assert len(await queue.read(count=1, block_ms=0)) == 1


async def test_a_delayed_message_waits_for_its_instant(
    queue: QueueBackend, clock: ManualClock
) -> None:
    """`metadata.not_before` holds a message back, and nothing behind it."""
    await queue.enqueue(a_message("late", not_before="2026-11-20T13:05:00+01:00"))
    await queue.enqueue(a_message("now"))

    (now,) = await queue.read(count=5, block_ms=0)
    await queue.ack([now])
    clock.move(301)
    (late,) = await queue.read(count=5, block_ms=0)

    assert now.payload["metadata"]["run_id"] == "now"
    assert late.payload["metadata"]["run_id"] == "late"


async def test_what_is_no_json_is_refused(queue: QueueBackend) -> None:
    """Nothing is stored that could not be read again."""
    with pytest.raises(InvalidArgumentsError, match="no JSON"):
        await queue.enqueue(a_message(bad=object()))
    with pytest.raises(InvalidArgumentsError, match="no instant"):
        await queue.enqueue(a_message(not_before="tomorrow"))

    assert await queue.depth() == 0


async def test_a_closed_queue_says_so(queue: QueueBackend) -> None:
    """Closing twice does no harm; what comes after is refused, not lost."""
    await queue.enqueue(a_message())
    await queue.cleanup()
    await queue.cleanup()

    assert await queue.health() is False
    with pytest.raises(BackendUnavailableError, match="closed"):
        await queue.enqueue(a_message("run-2"))


async def test_a_queue_never_opened_is_not_healthy(connect: Callable[[], QueueBackend]) -> None:
    """Oneiric activates no queue that does not answer."""
    assert await connect().health() is False


async def test_a_consumer_that_stops_gives_back_what_it_holds(
    queue: QueueBackend, connect: Callable[[], QueueBackend]
) -> None:
    """After an orderly stop nobody has to wait for a lease to end."""
    await queue.enqueue(a_message())
    await queue.read(count=1, block_ms=0)

    await queue.cleanup()
    successor = connect()
    await successor.init()

    (message,) = await successor.read(count=1, block_ms=0)
    assert message.deliveries == 2


class TestSqlite:
    """What only the embedded queue promises."""

    @pytest.fixture
    async def file(self, queue: QueueBackend, tmp_path: Path) -> Path:
        """Put two messages into the queue's file."""
        await queue.enqueue(a_message("broken"))
        await queue.enqueue(a_message("sound"))
        return tmp_path / "queue.db"

    @pytest.mark.parametrize("body", [b"{not json", b"[1]", b"\xff\xfe\x00"])
    async def test_an_unreadable_message_blocks_no_other(
        self, queue: QueueBackend, file: Path, body: bytes
    ) -> None:
        """It is kept aside with its reason; the next message is delivered."""
        with apsw.Connection(str(file)) as connection:
            connection.execute("UPDATE message SET body = ? WHERE run_id = 'broken'", (body,))

        (message,) = await queue.read(count=5, block_ms=0)

        kept = connection.execute("SELECT run_id, body, reason FROM dead").fetchall()
        connection.close()
        assert message.payload["metadata"]["run_id"] == "sound"
        assert [row[:2] for row in kept] == [("broken", body)]
        assert str(kept[0][2]).startswith("unreadable: ")
        assert await queue.depth() == 1

    async def test_the_file_is_its_owners_alone(self, file: Path) -> None:
        """Messages carry arguments: the queue's files have mode 0600."""
        modes = {p.name: p.stat().st_mode & 0o777 for p in file.parent.glob("queue.db*")}

        assert "queue.db-wal" in modes
        assert set(modes.values()) == {0o600}

    async def test_a_waiting_message_can_be_taken_back(
        self, file: Path, clock: ManualClock
    ) -> None:
        """Discarding removes what waits and leaves what somebody works on."""
        queue = SqliteQueueAdapter(file, clock=clock)
        await queue.init()
        (leased,) = await queue.read(count=1, block_ms=0)

        assert await queue.discard(leased.payload["metadata"]["run_id"]) is False
        assert await queue.discard("sound") is True
        assert await queue.discard("unknown") is False
        assert await queue.depth() == 1
        await queue.cleanup()

    @pytest.mark.usefixtures("file")
    async def test_a_clock_set_back_hides_no_message(
        self, queue: QueueBackend, clock: ManualClock
    ) -> None:
        """What is due stays due when the wall clock is set back by a day."""
        (leased,) = await queue.read(count=1, block_ms=0)

        clock.move(-86_400)
        found = await queue.read(count=5, block_ms=0)

        assert [m.payload["metadata"]["run_id"] for m in found] == ["broken", "sound"]
        assert await queue.ack([leased]) == 0

    async def test_a_newer_file_is_refused(self, file: Path, clock: ManualClock) -> None:
        """A queue written by a newer version is left alone, and the text says why."""
        with apsw.Connection(str(file)) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        queue = SqliteQueueAdapter(file, clock=clock)

        with pytest.raises(BackendUnavailableError, match="version 99 is newer") as refusal:
            await queue.init()
        await queue.cleanup()

        assert "doctor" in refusal.value.hint
        assert str(file) not in str(refusal.value)

    async def test_a_message_is_stored_as_plain_json(self, file: Path) -> None:
        """Anyone can look into the queue with an SQLite shell; nothing is pickled."""
        with apsw.Connection(str(file)) as connection:
            query = "SELECT CAST(body AS TEXT) FROM message ORDER BY id"
            rows = connection.execute(query).fetchall()
        connection.close()

        assert [json.loads(str(body)) for (body,) in rows] == [
            a_message("broken"),
            a_message("sound"),
        ]
