"""A call whose answer was lost is sent again, and changes nothing the second time."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import pytest
import yaml

from mahavishnu_sched_mcp.cli.demonstration.process import kill_processes_of
from tests.e2e.servers import Place
from tests.faults.stage import RefusedError, Stage, Wire, ending
from tests.faults.tally import Tally, amount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_DAILY = {"type": "interval", "days": 1}
_ONE_IN = 50
"""So often the server is killed between a call and its repetition."""


class Way(NamedTuple):
    """A way to ask for something so that asking twice is asking once.

    Attributes:
        call: Makes the arguments from a name used nowhere else.
        other: What to change in them for another call under the same name.
        refusal: How that other call is refused.
    """

    tool: str
    call: Callable[[str], dict[str, Any]]
    other: dict[str, Any]
    refusal: str


WAYS = {
    "a task by key": Way(
        "schedule_internal_task",
        lambda name: {
            "task": "note",
            "trigger": _DAILY,
            "params": {"text": name},
            "idempotency_key": name,
        },
        {"params": {"text": "other"}},
        "idempotency_conflict",
    ),
    "a task by id": Way(
        "schedule_internal_task",
        lambda name: {"task": "note", "trigger": _DAILY, "id": name},
        {"trigger": {"type": "interval", "days": 2}},
        "id_conflict",
    ),
    "a task by its content": Way(
        "schedule_internal_task",
        lambda name: {"task": "note", "trigger": _DAILY, "params": {"text": f"only {name}"}},
        {"missed_policy": "skip"},
        "id_conflict",
    ),
    "a message by key": Way(
        "enqueue_workflow",
        lambda name: {"workflow_key": "errand", "idempotency_key": name},
        {"context": {"text": "other"}},
        "idempotency_conflict",
    ),
    "a scheduled workflow by id": Way(
        "enqueue_workflow",
        lambda name: {"workflow_key": "errand", "trigger": _DAILY, "id": name},
        {"trigger": {"type": "cron", "expression": "@yearly"}},
        "id_conflict",
    ),
    "an extra run by key": Way(
        "run_job_now",
        lambda name: {"job_id": "apscheduler:ready", "idempotency_key": name},
        {"job_id": "apscheduler:stumbles"},
        "idempotency_conflict",
    ),
    "a replay by key": Way(
        "replay_run",
        lambda name: {"run_id": "", "idempotency_key": name},
        {"run_id": ""},
        "idempotency_conflict",
    ),
}


class Ready(NamedTuple):
    """A server with a job to run and with two failed runs to replay."""

    stage: Stage
    wire: Wire
    failed: tuple[str, str]

    def arguments(self, way: Way, name: str) -> dict[str, Any]:
        """Make the arguments of a call."""
        given = way.call(name)
        return given | {"run_id": self.failed[0]} if "run_id" in given else given

    def others(self, way: Way, name: str) -> dict[str, Any]:
        """Make those of another call under the same name."""
        given = self.arguments(way, name) | way.other
        return given | {"run_id": self.failed[1]} if "run_id" in given else given

    def rows(self) -> dict[str, int]:
        """Count what the ledger holds, and how often a job has changed."""
        ledger = apsw.Connection(str(self.stage.ledger), flags=apsw.SQLITE_OPEN_READONLY)
        counted = {
            table: int(ledger.execute(f"select count(*) from {table}").get)  # noqa: S608 - named here
            for table in ("job", "run", "idempotency_key")
        }
        ledger.close()
        return counted


@asynccontextmanager
async def ready(folder: Path) -> AsyncIterator[Ready]:
    """Start a server and make what the calls below refer to."""
    stage = Stage.of(folder)
    async with ending(stage, kill_processes_of):
        wire = await Wire.start(stage.place)
        failed = []
        for task, job_id in (("note", "ready"), ("stumble", "stumbles")):
            await wire.call("schedule_internal_task", task=task, trigger=_DAILY, id=job_id)
        for _ in range(2):
            run = await wire.call("run_job_now", job_id="apscheduler:stumbles", wait_seconds=20)
            failed.append(run["run_id"])
        yield Ready(stage, wire, (failed[0], failed[1]))


def made_by(answer: dict[str, Any]) -> str:
    """Give the id of what a call made: a run's, or the job's."""
    return str(answer.get("run_id") or answer["job"]["job_id"])


async def test_a_repeated_call_makes_nothing_twice(tmp_path: Path, tally: Tally) -> None:
    """The answer is lost and the call comes again, at once, later, or after a kill: one effect."""
    chance, repeats, restarts = random.Random(), amount(500), 0
    differing: list[str] = []
    async with ready(tmp_path) as at:
        wire, before = at.wire, at.rows()

        for number in range(repeats):
            way = list(WAYS.values())[number % len(WAYS)]
            arguments = at.arguments(way, f"call-{number}")
            lost = wire.send("tools/call", {"name": way.tool, "arguments": arguments})
            if chance.random() < 0.7:  # else both are under way at once
                first = made_by((await lost)["structuredContent"])
            if number % _ONE_IN == 7:
                first = made_by((await lost)["structuredContent"])
                await wire.kill()
                wire = await Wire.start(at.stage.place)
                restarts += 1
            again = await wire.call(way.tool, **arguments)
            first = made_by((await lost)["structuredContent"])
            outcomes = {again.get("outcome"), (await lost)["structuredContent"].get("outcome")}
            if made_by(again) != first or outcomes not in ({"created", "existed"}, {None}):
                differing.append(f"{way.tool} {arguments}: {first}, {made_by(again)}, {outcomes}")

        grown = {table: count - before[table] for table, count in at.rows().items()}
        await wire.close()
    per_way = [len(range(start, repeats, len(WAYS))) for start in range(len(WAYS))]
    by_key = sum(per_way[index] for index in (0, 3, 5, 6))
    expected = {
        "job": sum(per_way[:5]),
        "run": per_way[3] + per_way[5] + per_way[6],
        "idempotency_key": by_key,
    }
    tally(
        retries=repeats,
        kills=restarts,
        duplicates=sum(grown.values()) - sum(expected.values()),
        differing=len(differing),
    )

    assert differing == []
    assert grown == expected


async def test_another_call_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """Other arguments under a used key or id are a mistake: refused, and nothing changes."""
    refusals, changes = {}, {}
    async with ready(tmp_path) as at:
        for name, way in WAYS.items():
            await at.wire.call(way.tool, **at.arguments(way, "used"))
            before = at.rows()

            with pytest.raises(RefusedError) as refused:
                await at.wire.call(way.tool, **at.others(way, "used"))

            refusals[name] = str(refused.value).partition("]")[0].removeprefix("[")
            changes[name] = [table for table, count in at.rows().items() if before[table] != count]
        await at.wire.close()

    assert refusals == {name: way.refusal for name, way in WAYS.items()}
    assert changes == {name: [] for name in WAYS}


async def test_fifty_identical_calls_at_once_make_one(tmp_path: Path, tally: Tally) -> None:
    """Fifty calls in flight, half of them through a second server: one job, one run."""
    async with ready(tmp_path) as at:
        second = await Wire.start(at.stage.place)
        before, makers, ids = at.rows(), [], []

        for name, way in WAYS.items():
            arguments = at.arguments(way, "at-once")
            answers = await asyncio.gather(
                *((at.wire, second)[number % 2].call(way.tool, **arguments) for number in range(50))
            )
            ids.append((name, len({made_by(answer) for answer in answers})))
            makers.append(sum(answer.get("outcome") == "created" for answer in answers))

        grown = {table: count - before[table] for table, count in at.rows().items()}
        await second.close()
        await at.wire.close()
    tally(ways=len(WAYS), calls=50 * len(WAYS), made=sum(count for _, count in ids))

    assert ids == [(name, 1) for name in WAYS]
    assert makers == [1, 1, 1, 1, 1, 0, 0]
    assert grown == {"job": 5, "run": 3, "idempotency_key": 4}


async def test_a_repeated_deployment_is_one(tmp_path: Path) -> None:
    """A deployment is known by its name and its key, whether or not Prefect has confirmed it."""
    async with ready(tmp_path) as at:
        follower = await Wire.start(with_prefect(at.stage.place))
        call = {
            "flow_name": "errand",
            "schedule_config": {"interval_seconds": 86_400},
            "idempotency_key": "once",
        }
        before = at.rows()

        answers = [await follower.call("schedule_deployment", **call) for _ in range(2)]
        with pytest.raises(RefusedError, match=r"^\[idempotency_conflict\]"):
            await follower.call("schedule_deployment", **call | {"name": "other"})
        with pytest.raises(RefusedError, match=r"^\[id_conflict\]"):
            await follower.call(
                "schedule_deployment",
                flow_name="errand",
                schedule_config={"interval_seconds": 43_200},
            )

        assert [answer["outcome"] for answer in answers] == ["created", "existed"]
        assert at.rows() == before | {
            "job": before["job"] + 1,
            "idempotency_key": before["idempotency_key"] + 1,
        }
        await follower.close()
        await at.wire.close()


def with_prefect(place: Place) -> Place:
    """Give the same data dir settings that know Prefect: only a leader would start it."""
    settings = yaml.safe_load(place.config.read_text(encoding="utf-8"))
    del settings["schedulers"]
    folder = place.folder / "second"
    folder.mkdir()
    (folder / "errands.py").write_text((place.folder / "errands.py").read_text(encoding="utf-8"))
    other = SecondPlace(folder)
    other.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return other


class SecondPlace(Place):
    """Other settings over the data dir of the folder above."""

    def command(self, *words: str) -> list[str]:
        """Name the data dir above instead of one's own."""
        command = super().command(*words)
        command[command.index("--data-dir") + 1] = str(self.folder.parent / "data")
        return command
