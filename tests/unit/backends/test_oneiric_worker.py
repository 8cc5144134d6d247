"""How the queue's worker behaves when its neighbours fail."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mahavishnu_sched_mcp.backends.oneiric import worker as worker_module
from mahavishnu_sched_mcp.backends.oneiric.daemon import DaemonThread
from mahavishnu_sched_mcp.backends.oneiric.worker import QueueWorker
from mahavishnu_sched_mcp.backends.protocol import QueueMessage
from mahavishnu_sched_mcp.domain.run import Cause, Outcome, Run, RunState
from mahavishnu_sched_mcp.errors import BackendUnavailableError, LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class MemoryQueue:
    """A queue in memory that notes what is done with its messages."""

    def __init__(self) -> None:
        self.queue_depth = 0
        self.waiting: deque[QueueMessage | Exception] = deque()
        self.acked: list[str] = []
        self.given_back: list[str] = []
        self.extensions: deque[bool | Exception] = deque()
        self.extended = 0
        self.arrived = asyncio.Event()

    async def init(self) -> None:
        """Nothing to open."""

    async def health(self) -> bool:
        """Answer always."""
        return True

    async def cleanup(self) -> None:
        """Nothing to close."""

    async def enqueue(self, data: Mapping[str, object]) -> str:
        """Store a message."""
        number = str(len(self.waiting) + 1)
        self.put(QueueMessage(message_id=number, lease="token", payload=dict(data)))
        return number

    def put(self, item: QueueMessage | Exception) -> None:
        """Let the next read find a message or fail."""
        self.waiting.append(item)
        self.arrived.set()

    async def read(self, *, count: int, block_ms: int) -> list[QueueMessage]:
        """Hand out what waits."""
        assert block_ms > 0
        found: list[QueueMessage] = []
        if not self.waiting:
            self.arrived.clear()
            await self.arrived.wait()
        while self.waiting and len(found) < count:
            item = self.waiting.popleft()
            if isinstance(item, Exception):
                raise item
            found.append(item)
        return found

    async def ack(self, messages: Sequence[QueueMessage]) -> int:
        """Note what was acknowledged."""
        self.acked += [m.message_id for m in messages]
        return len(messages)

    async def nack(self, message: QueueMessage, *, delay_s: float) -> None:
        """Note what was given back."""
        assert delay_s == 0
        self.given_back.append(message.message_id)

    async def extend(self, message: QueueMessage) -> bool:
        """Answer as the test prepared, else hold the lease."""
        assert message.lease == "token"
        self.extended += 1
        answer = self.extensions.popleft() if self.extensions else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def depth(self) -> int:
        """Count what waits."""
        return len(self.waiting)


class MemoryWork:
    """A ledger that begins every run and can fail to finish one."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.failures: list[Exception] = []

    async def begin(self, run_id: str, *, worker: str) -> Run | None:
        """Begin every run but the unknown one."""
        if run_id == "unknown":
            return None
        return Run(
            run_id=run_id,
            job_id="oneiric:etl",
            job_serial=1,
            scheduled_for=NOON,
            cause=Cause.QUEUE,
            state=RunState.RUNNING,
            worker=worker,
        )

    async def finish(self, run_id: str, outcome: Outcome) -> Run:
        """Keep the outcome, or fail as the test prepared."""
        if self.failures:
            raise self.failures.pop()
        self.outcomes[run_id] = outcome
        run = await self.begin(run_id, worker="w")
        assert run is not None
        return run

    def __getattr__(self, name: str) -> Any:
        """Refuse what a worker never asks for: tasks and nodes are the executor's."""
        raise AttributeError(name)


@pytest.fixture
def queue() -> MemoryQueue:
    """Hand the test its queue."""
    return MemoryQueue()


@pytest.fixture
def work() -> MemoryWork:
    """Hand the test its ledger."""
    return MemoryWork()


async def succeed(_: Run, __: dict[str, Any]) -> Outcome:
    """End well at once."""
    return Outcome(state=RunState.SUCCEEDED)


async def until(condition: Callable[[], bool], description: str) -> None:
    """Let the event loop turn until a condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail(f"never: {description}")


def a_worker(
    queue: MemoryQueue,
    work: MemoryWork,
    *,
    execute: Callable[[Run, dict[str, Any]], Awaitable[Outcome]] = succeed,
    concurrency: int = 2,
    extend_every: timedelta = timedelta(seconds=10),
) -> QueueWorker:
    """Make a worker and let it read."""
    worker = QueueWorker(
        queue,
        work=work,
        execute=execute,
        name="w",
        concurrency=concurrency,
        extend_every=extend_every,
    )
    worker.start()
    return worker


def a_payload(run_id: str) -> dict[str, Any]:
    """Make the payload of one run."""
    return {"workflow": "etl", "metadata": {"run_id": run_id}}


async def test_a_finished_run_is_acknowledged(queue: MemoryQueue, work: MemoryWork) -> None:
    """First the outcome is committed, then the message is removed."""
    worker = a_worker(queue, work)
    await queue.enqueue(a_payload("run-1"))
    await until(lambda: queue.acked == ["1"], "the message is acknowledged")
    await until(lambda: worker.in_flight == 0, "the worker is free")

    assert list(work.outcomes) == ["run-1"]
    assert (worker.processed, worker.failed, worker.in_flight) == (1, 0, 0)
    await worker.stop()


@pytest.mark.parametrize("payload", [a_payload("unknown"), {"workflow": "etl"}, {"metadata": 1}])
async def test_a_message_not_to_be_run_is_dropped(
    queue: MemoryQueue, work: MemoryWork, payload: dict[str, Any]
) -> None:
    """What the ledger refuses, or names no run, is acknowledged and not executed."""
    worker = a_worker(queue, work)
    await queue.enqueue(payload)
    await until(lambda: queue.acked == ["1"], "the message is acknowledged")
    await worker.stop()

    assert (worker.processed, work.outcomes) == (0, {})


async def test_a_broken_broker_does_not_end_the_reading(
    queue: MemoryQueue, work: MemoryWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed read the worker pauses and reads again."""
    monkeypatch.setattr(worker_module, "_PAUSE_AFTER_FAILURE", 0)
    queue.put(BackendUnavailableError("gone"))
    worker = a_worker(queue, work)
    await queue.enqueue(a_payload("run-1"))
    await until(lambda: "run-1" in work.outcomes, "the run is finished")
    await worker.stop()


async def test_an_engines_defect_fails_the_run(queue: MemoryQueue, work: MemoryWork) -> None:
    """What the engine itself raises is on record as the run's failure, in one line."""

    async def break_down(_: Run, __: dict[str, Any]) -> Outcome:
        msg = "wrong\nplace"
        group = "Oneiric's task group"
        raise ExceptionGroup(group, [RuntimeError(msg)])

    worker = a_worker(queue, work, execute=break_down)
    await queue.enqueue(a_payload("run-1"))
    await until(lambda: queue.acked == ["1"], "the message is acknowledged")
    await worker.stop()

    outcome = work.outcomes["run-1"]
    assert outcome.state is RunState.FAILED
    assert outcome.reason == "the workflow engine failed: RuntimeError: wrong"
    assert worker.failed == 1


async def test_an_outcome_that_was_not_committed_is_not_acknowledged(
    queue: MemoryQueue, work: MemoryWork
) -> None:
    """When the ledger fails the message stays leased and comes again."""
    work.failures.append(LedgerCorruptError("torn page"))
    worker = a_worker(queue, work, concurrency=1)
    await queue.enqueue(a_payload("run-1"))
    await until(lambda: not work.failures and worker.in_flight == 0, "the first try is over")
    await queue.enqueue(a_payload("run-2"))
    await until(lambda: "run-2" in work.outcomes, "the worker goes on")
    await until(lambda: worker.in_flight == 0, "the second is acknowledged")
    await worker.stop()

    assert list(work.outcomes) == ["run-2"]
    assert len(queue.acked) == 1


async def test_no_more_run_at_once_than_allowed(queue: MemoryQueue, work: MemoryWork) -> None:
    """With a concurrency of 2 the third message waits in the queue."""
    gate = asyncio.Event()
    most = 0

    async def wait(_: Run, __: dict[str, Any]) -> Outcome:
        nonlocal most
        most = max(most, worker.in_flight)
        await gate.wait()
        return Outcome(state=RunState.SUCCEEDED)

    worker = a_worker(queue, work, execute=wait, concurrency=2)
    for number in range(3):
        await queue.enqueue(a_payload(f"run-{number}"))
    await until(lambda: worker.in_flight == 2, "two run")
    assert len(queue.waiting) == 1
    gate.set()
    await until(lambda: len(work.outcomes) == 3, "all are finished")
    await worker.stop()

    assert most == 2


async def test_a_lease_is_prolonged_while_the_work_goes_on(
    queue: MemoryQueue, work: MemoryWork
) -> None:
    """A failed extension is tried again; after a lost lease the work is left to end."""
    gate = asyncio.Event()

    async def wait(_: Run, __: dict[str, Any]) -> Outcome:
        await gate.wait()
        return Outcome(state=RunState.SUCCEEDED)

    queue.extensions.extend([True, BackendUnavailableError("away"), True, False])
    worker = a_worker(queue, work, execute=wait, extend_every=timedelta(0))
    await queue.enqueue(a_payload("run-1"))
    await until(lambda: queue.extended == 4, "the lease is extended until it is lost")
    gate.set()
    await until(lambda: "run-1" in work.outcomes, "the run is finished")
    await worker.stop()

    assert queue.extended == 4


async def test_a_stop_cancels_and_gives_back(queue: MemoryQueue, work: MemoryWork) -> None:
    """What runs at the stop is cancelled, has no outcome, and its message is free again."""
    ended = False

    async def hang(_: Run, __: dict[str, Any]) -> Outcome:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True
        return Outcome(state=RunState.SUCCEEDED)

    worker = a_worker(queue, work, execute=hang)
    await queue.enqueue(a_payload("run-1"))
    await until(lambda: worker.in_flight == 1, "the work has begun")
    await asyncio.sleep(0)
    await worker.stop()
    await worker.stop()

    assert (queue.given_back, queue.acked, work.outcomes, ended) == (["1"], [], {}, True)


async def test_a_thread_runs_calls_in_order_and_hands_errors_over() -> None:
    """An error of a call is raised where it was asked for; the thread goes on."""
    thread = DaemonThread("calls")
    order: list[int] = []

    def fail() -> None:
        order.append(1)
        msg = "no file"
        raise OSError(msg)

    first = asyncio.ensure_future(thread.call(fail))
    second = asyncio.ensure_future(thread.call(lambda: order.append(2)))

    with pytest.raises(OSError, match="no file"):
        await first
    await second
    thread.stop()
    thread.stop()
    assert order == [1, 2]
