"""What a client was promised about its jobs, and how to tell whether it still holds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.stage import LostError, RefusedError, Wire

if TYPE_CHECKING:
    from collections.abc import Coroutine

type Facts = dict[str, Any]

_DAY = 86_400
_LONG_AWAY = {"type": "interval", "seconds": _DAY}


@dataclass
class Promise:
    """What is known of one job.

    Attributes:
        kept: What the last acknowledged call left; None where it does not exist.
        maybe: What a call in flight would leave; equal to `kept` where none is.
        run_ids: Runs beside the schedule whose start was acknowledged.
        lost_runs: How many calls for such a run got no answer.
    """

    job_id: str
    kept: Facts | None = None
    maybe: Facts | None = None
    run_ids: set[str] = field(default_factory=set)
    lost_runs: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the job can still be changed."""
        return self.kept is not None and self.kept["state"] in {"active", "paused"}

    async def change(self, call: Coroutine[Any, Any, Facts], **changes: Any) -> None:
        """Make a call that changes some facts; they are promised with its answer."""
        self.maybe = (self.kept or {}) | changes
        await call
        self.kept = self.maybe

    async def run(self, call: Coroutine[Any, Any, Facts]) -> None:
        """Make a call that starts a run; its id is promised with the answer."""
        self.lost_runs += 1
        self.run_ids.add((await call)["run_id"])
        self.lost_runs -= 1


@dataclass
class Clerk:
    """A caller with jobs of its own: one call after the other, while others do the same.

    Attributes:
        promises: All its jobs, also those of earlier cycles.
        touched: The jobs of this cycle.
        acknowledged: How many changes were answered, ever.
    """

    name: str
    chance: random.Random
    promises: list[Promise] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    acknowledged: int = 0

    async def work(self, wire: Wire) -> None:
        """Change jobs until the server dies."""
        self.touched.clear()
        while True:
            try:
                await self._act(wire)
            except LostError:
                return
            self.acknowledged += 1

    async def _act(self, wire: Wire) -> None:
        open_ones = [one for one in self.promises[-20:] if one.is_open]
        acts = [self._create, self._create, self._enqueue]
        if open_ones:
            acts += [self._update] * 3 + [self._toggle] * 4
            acts += [self._run, self._cancel, self._retime]
        act = self.chance.choice(acts)
        if act in {self._create, self._enqueue}:
            name = f"{self.name}-{len(self.promises)}"
            engine = "oneiric" if act == self._enqueue else "apscheduler"
            self.promises.append(Promise(f"{engine}:{name}"))
            open_ones = self.promises[-1:]
        promise = self.chance.choice(open_ones)
        self.touched.add(promise.job_id)
        await act(wire, promise)

    async def _create(self, wire: Wire, one: Promise) -> None:
        text = self._text()
        call = wire.call(
            "schedule_internal_task",
            task="note",
            trigger=_LONG_AWAY,
            id=one.job_id.partition(":")[2],
            params={"text": text},
            tags=[self.name],
        )
        fresh = {"state": "active", "text": text, "note": "", "seconds": _DAY, "tags": [self.name]}
        await one.change(call, **fresh)

    async def _enqueue(self, wire: Wire, one: Promise) -> None:
        call = wire.call("enqueue_workflow", workflow_key="errand", id=one.job_id.partition(":")[2])
        one.maybe = {"state": "enqueued"}
        await one.run(call)
        one.kept = one.maybe

    async def _update(self, wire: Wire, one: Promise) -> None:
        text, note = self._text(), self._text()
        call = wire.call("update_job", job_id=one.job_id, params={"text": text}, note=note)
        await one.change(call, text=text, note=note)

    async def _retime(self, wire: Wire, one: Promise) -> None:
        seconds = _DAY + self.chance.randrange(1, 9999)
        trigger = {"type": "interval", "seconds": seconds}
        call = wire.call("update_job", job_id=one.job_id, trigger=trigger)
        await one.change(call, seconds=seconds)

    async def _toggle(self, wire: Wire, one: Promise) -> None:
        assert one.kept is not None
        tool, state = (
            ("pause_job", "paused") if one.kept["state"] == "active" else ("resume_job", "active")
        )
        await one.change(wire.call(tool, job_id=one.job_id), state=state)

    async def _cancel(self, wire: Wire, one: Promise) -> None:
        await one.change(wire.call("cancel_job", job_id=one.job_id), state="cancelled")

    async def _run(self, wire: Wire, one: Promise) -> None:
        await one.run(wire.call("run_job_now", job_id=one.job_id))

    def _text(self) -> str:
        return self.chance.randbytes(4).hex()


async def broken(wire: Wire, promise: Promise) -> list[str]:
    """Say which promises about a job do not hold; then take what is there for granted."""
    found = await _facts(wire, promise)
    runs = [] if found is None else await wire.runs(job_id=promise.job_id)
    objections = []
    if found not in (promise.kept, promise.maybe):
        objections.append(f"is {found}, {promise.kept} was acknowledged ({promise.maybe} asked)")
    ids = {run["run_id"] for run in runs}
    if not promise.run_ids <= ids:
        objections.append(f"lost the runs {promise.run_ids - ids}")
    most = len(promise.run_ids) + promise.lost_runs
    fewest = 1 if found is not None and found["state"] == "enqueued" else 0
    if not max(fewest, len(promise.run_ids)) <= len(ids) <= most:
        objections.append(f"has {len(ids)} runs, {len(promise.run_ids)} to {most} were asked for")
    promise.kept = promise.maybe = found
    promise.run_ids, promise.lost_runs = ids, 0
    return [f"{promise.job_id} {objection}" for objection in objections]


def lasting(view: Facts) -> Facts:
    """Leave of a job as the list shows it what only a client's call changes."""
    if view["trigger"] is None:
        return {"state": "enqueued"}
    seconds = view["trigger"]["seconds"]
    return {name: view[name] for name in ("state", "note", "tags")} | {"seconds": seconds}


async def _facts(wire: Wire, promise: Promise) -> Facts | None:
    try:
        view = await wire.call("get_job", job_id=promise.job_id)
    except RefusedError as error:
        if not str(error).startswith("[job_not_found]"):
            raise
        return None
    facts = lasting(view)
    return facts if view["trigger"] is None else facts | {"text": view["params"]["text"]}
