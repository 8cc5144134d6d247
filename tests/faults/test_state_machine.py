"""Whatever is asked of the scheduler, in whatever order, and whenever it dies: as promised."""

from __future__ import annotations

import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mahavishnu_sched_mcp.errors import IdConflictError, IdempotencyConflictError
from mahavishnu_sched_mcp.leadership import leadership
from tests.doors import Door
from tests.factories import an_interval
from tests.faults.comparison import compare, wake
from tests.faults.machine import Life
from tests.faults.model import NEVER, ModelJob, ModelRun
from tests.faults.tally import Tally, amount, is_soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NAMES = st.sampled_from(["a", "b", "c"])
PERIODS = st.sampled_from([45, 60, 600, 86400])
OVERLAPS = st.sampled_from(["skip", "queue_one", "queue_all", "cancel_previous", "allow"])
MISSED = st.sampled_from(["skip", "run_once", "run_all"])
WHOLE = st.fixed_dictionaries(
    {
        "overlap": OVERLAPS,
        "missed": MISSED,
        "window": st.sampled_from([90, 400, 1500]),
        "attempts": st.sampled_from([1, 1, 3]),
        "reruns": st.booleans(),
        "hangs": st.sampled_from([False, False, False, True]),
        "max_runs": st.sampled_from([None, None, None, 1, 5]),
        "lives": st.sampled_from([None, None, None, 1000, 100_000]),
    }
)
STEPS = st.one_of(
    st.sampled_from([1, 45, 59, 60, 61, 90, 120, 121, 600, 3600, 86400, 3 * 86400]),
    st.integers(1, 3 * 86400),
)
_REPLAYABLE = {"dead", "failed", "timed_out", "interrupted", "missed", "cancelled"}


class Machine(RuleBasedStateMachine):
    """Rules that clients, clocks and kills follow; after each, everything is compared."""

    steps = 0
    examples = 0
    folder = Path(tempfile.gettempdir())

    def __init__(self) -> None:
        """Start a server of its own."""
        super().__init__()
        Machine.examples += 1
        self.life = Life(Path(tempfile.mkdtemp(dir=self.folder)))
        self.keys = 0

    def teardown(self) -> None:
        """End it."""
        self.life.close()

    @invariant()
    def everything_is_as_promised(self) -> None:
        """Ledger, model and doors agree."""
        Machine.steps += 1
        self.life.settle()
        compare(self.life)

    @rule(name=NAMES, period=PERIODS, shape=WHOLE)
    def create(self, name: str, period: int, shape: dict[str, Any]) -> None:
        """A job is made, or found, or in the way."""
        life = self.life
        lives = shape.pop("lives")
        if shape["hangs"] and shape["missed"] == "run_all":
            return  # one timeout after another takes too long
        ends = NEVER if lives is None else life.now + lives
        if life.now + period > ends:
            return
        model = ModelJob(period, life.now + period, expires_at=ends, **shape)
        if name in life.names and life.job(name).state not in {"completed", "cancelled"}:
            before = life.snapshot()
            with pytest.raises(IdConflictError):
                life.do(life.create(name, model, Door()))
            assert life.snapshot() == before
            return
        life.add(name, model)

    @rule(name=NAMES, is_keyed=st.booleans())
    def create_again(self, name: str, is_keyed: bool) -> None:
        """The same call answers what it answered, and changes nothing."""
        life, self.keys = self.life, self.keys + 1
        known = life.calls.get(name)
        if known is None or life.job(name).state in {"completed", "cancelled"}:
            return
        before = life.snapshot()
        made = life.do(life.again(known))
        assert (made.outcome, made.job.serial) == ("existed", life.names[name])
        if is_keyed:
            life.do(life.again(known, idempotency_key=str(self.keys)))
            before = life.snapshot()
            with pytest.raises(IdempotencyConflictError):
                life.do(
                    life.again({**known, "trigger": an_interval(7)}, idempotency_key=str(self.keys))
                )
        assert life.snapshot() == before

    @rule(name=NAMES, period=st.none() | PERIODS, overlap=OVERLAPS, missed=MISSED)
    def update(self, name: str, period: int | None, overlap: str, missed: str) -> None:
        """Fires up to now belong to the old trigger, later ones to the new."""
        job = self.going(name)
        if job is None:
            return
        ends = job.expires_at
        if period is not None and self.life.now + period > ends:
            return
        if period is not None and period != job.period:
            job.settle(self.life.now, "the trigger was changed")
            job.period, job.anchor = period, self.life.now + period
            job.due = None if job.state == "paused" else job.following(self.life.now)
        else:
            period = None
        missed = job.missed if job.hangs else missed
        job.overlap, job.missed = overlap, missed
        job.complete()
        change = {"overlap_policy": overlap, "missed_policy": missed}
        trigger = None if period is None else an_interval(period)
        self.life.ask("update_job", name, trigger=trigger, policies=change)
        self.life.recall(name, trigger=trigger, change=change)

    @rule(name=NAMES, limit=st.sampled_from([1, 3, 50, None]))
    def limit(self, name: str, limit: int | None) -> None:
        """More runs bring the next fire back, fewer take it away."""
        job = self.going(name)
        if job is None or job.max_runs == limit:
            return
        job.max_runs = limit
        if job.state == "active":
            job.due = job.following(self.life.now if job.due is None else job.due - 1)
        job.complete()
        self.life.ask("update_job", name, policies={"max_runs": limit})
        self.life.recall(name, change={"max_runs": limit})

    @rule(name=NAMES, seconds=st.none() | st.sampled_from([30, 1000]))
    def pause(self, name: str, seconds: int | None) -> None:
        """No new run starts but those asked for by hand."""
        job = self.going(name)
        if job is None:
            return
        until = None if seconds is None else self.life.now + seconds
        job.pause(self.life.now, until)
        end = None if seconds is None else self.life.clock.now() + timedelta(seconds=seconds)
        self.life.ask("pause_job", name, until=None if end is None else end.isoformat())

    @rule(name=NAMES)
    def resume(self, name: str) -> None:
        """What waits goes on; the pause is one record."""
        job = self.going(name)
        if job is not None and job.state == "paused":
            job.resume(self.life.now)
            self.life.ask("resume_job", name)

    @rule(name=NAMES)
    def cancel(self, name: str) -> None:
        """Nothing of it starts any more."""
        job = self.going(name)
        if job is not None:
            job.cancel(self.life.now)
            self.life.ask("cancel_job", name)

    @rule(name=NAMES)
    def trigger(self, name: str) -> None:
        """An extra run is asked for by hand."""
        job = self.going(name)
        if job is not None:
            now = self.life.now
            job.runs.append(ModelRun(now, now, 1, "manual", "pending", None))
            self.life.ask("run_job_now", name)

    @rule(name=NAMES, pick=st.integers(0, 99))
    def replay(self, name: str, pick: int) -> None:
        """One that did not succeed runs again, as a new run; the same key gives the same."""
        if name not in self.life.names or self.life.job(name).state == "cancelled":
            return
        job = self.life.job(name)
        origins = [run for run in job.runs if run.state in _REPLAYABLE]
        if origins:
            origin = origins[pick % len(origins)]
            job.runs.append(ModelRun(origin.last, origin.last, 1, "replay", "pending", None))
            self.keys += 1
            first, again = (self.life.replay(origin.run_id, key=str(self.keys)) for _ in range(2))
            assert (first.run_id, first.replay_of) == (again.run_id, origin.run_id)

    @rule(name=NAMES, pick=st.integers(0, 99))
    def cancel_run(self, name: str, pick: int) -> None:
        """A run is stopped, whatever it does; one that is over stays as it is."""
        if name in self.life.names and (runs := self.life.job(name).runs):
            run = runs[pick % len(runs)]
            self.life.job(name).stop(run, "cancelled by request")
            self.life.job(name).complete()
            self.life.cancel_run(run.run_id)

    @rule(name=NAMES, ends=st.lists(st.sampled_from(["succeeded", "failed"]), min_size=1))
    def tasks_finish(self, name: str, ends: list[str]) -> None:
        """The oldest executions end, well or badly."""
        for end in ends:
            if name in self.life.names and (door := self.life.doors[self.life.names[name]]).going:
                visit = door.going[0]
                (run,) = [r for r in self.life.job(name).runs if r.run_id == visit.run_id]
                self.life.job(name).end(run, end)
                visit.let_go() if end == "succeeded" else visit.fail()
                self.life.settle()
                compare(self.life)

    @rule(seconds=STEPS)
    def advance_clock(self, seconds: int) -> None:
        """Time passes."""
        self.life.clock.shift(timedelta(seconds=seconds))

    @rule(seconds=st.sampled_from([1, 4, 65, 3600, 172_800]))
    def set_clock_back(self, seconds: int) -> None:
        """Someone sets the wall clock back."""
        self.life.set_back(seconds)
        wake(self.life, set_back=seconds)

    @rule(seconds=st.sampled_from([1, 65, 3600, 172_800]))
    def set_clock_ahead(self, seconds: int) -> None:
        """Someone sets the wall clock ahead."""
        self.life.clock._now += timedelta(seconds=seconds)

    @rule()
    def crash(self) -> None:
        """The servers are killed while nothing moves."""
        self.life.crash()

    @rule(name=NAMES, is_pause=st.booleans())
    def crash_before_the_answer(self, name: str, is_pause: bool) -> None:
        """Killed just after the commit: it counts."""
        job, now = self.going(name), self.life.now
        if job is None:
            return
        if is_pause:
            job.pause(now, None)
        else:
            job.runs.append(ModelRun(now, now, 1, "manual", "pending", None))
        left = self.life.left_after("pause_job" if is_pause else "run_job_now", name)
        self.life.crash(left=left)

    @rule(name=NAMES)
    def crash_before_the_start(self, name: str) -> None:
        """Killed between the claim of a run and its first step."""
        job = self.going(name)
        if job is not None and not job.open and not job.hangs:
            now = self.life.now
            job.runs.append(ModelRun(now, now, 1, "manual", "pending", None))
            job.start(now)
            left = self.life.left_at("claimed", lambda: self.life.ask("run_job_now", name))
            self.life.crash(left=left)

    @rule(name=NAMES)
    def crash_before_the_record(self, name: str) -> None:
        """Killed between the end of a task and its record: it counts as interrupted."""
        if name in self.life.names and (door := self.life.doors[self.life.names[name]]).going:
            left = self.life.left_at("ended", door.going[0].let_go)
            self.life.crash(left=left)

    @rule()
    def restart(self) -> None:
        """The servers are stopped in order, and one is started."""
        self.life.restart()

    @rule()
    def stand_by(self) -> None:
        """A second server comes or goes."""
        self.life.stand_by()

    @precondition(lambda self: self.life.standby is not None)
    @rule()
    def take_over(self) -> None:
        """The leader ends, the second server leads."""
        self.life.hand_over()

    def going(self, name: str) -> ModelJob | None:
        """Give the model of a job that can be changed."""
        if name not in self.life.names:
            return None
        job = self.life.job(name)
        return None if job.state in {"completed", "cancelled"} else job


def test_the_scheduler_does_what_the_model_says(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record, count, wait and execution, after every step."""
    number = random.randrange(1 << 32) if is_soak() else 0
    memory = Path("/dev/shm")  # noqa: S108 - each example makes a folder of its own in it
    Machine.folder = memory if memory.is_dir() else tmp_path
    Machine.steps = Machine.examples = 0
    monkeypatch.setattr(leadership, "_RETRY_SECONDS", 0.01)  # who stands by looks more often

    run_state_machine_as_test(
        seed(number)(Machine) if is_soak() else Machine,
        settings=settings(
            max_examples=amount(300),
            stateful_step_count=50,
            deadline=None,
            derandomize=not is_soak(),
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

    tally(examples=Machine.examples, steps=Machine.steps, seed=number, violations=0)
    assert Machine.examples >= amount(300)
