"""What the scheduler promises about one job, in plain Python: no database, no engine, no clock."""
# ruff: noqa: D102 - the methods are named as the contract names what they do

from __future__ import annotations

from dataclasses import dataclass, field

GRACE, TOGETHER, QUEUED, CATCH_UPS, NEVER = 60, 2, 3, 100, 10**12
OVERTAKEN = "cancelled by the next fire (overlap_policy cancel_previous)"
BY_HAND = ("manual", "replay")
OPEN = ("pending", "running")


@dataclass
class ModelRun:
    """A record, in seconds; `outcomes` has one entry per attempt, `reason` may be left open."""

    first: int
    last: int
    fires: int
    cause: str
    state: str
    reason: str | None
    run_id: str = ""
    outcomes: list[str | None] = field(default_factory=list)
    wakes_at: float | None = None
    stop: str | None = None


@dataclass
class ModelJob:
    """One generation of a job, and its records in the order they were made."""

    period: int
    anchor: int
    overlap: str = "skip"
    missed: str = "run_once"
    window: int = 86400
    attempts: int = 1
    reruns: bool = False
    hangs: bool = False
    max_runs: int | None = None
    expires_at: int = NEVER
    state: str = "active"
    due: int | None = None
    paused_at: int | None = None
    paused_until: int | None = None
    fired: int = 0
    runs: list[ModelRun] = field(default_factory=list)

    @property
    def left(self) -> int:
        return 10**9 if self.max_runs is None else max(0, self.max_runs - self.fired)

    @property
    def open(self) -> list[ModelRun]:
        return sorted((r for r in self.runs if r.state in OPEN), key=lambda r: r.last)

    def nominal(self, after: int) -> int:
        return self.anchor + max(0, (after - self.anchor) // self.period + 1) * self.period

    def fires(self, after: int, until: int) -> range:
        return range(self.nominal(after), until + 1, self.period)

    def following(self, after: int) -> int | None:
        due = self.nominal(after)
        return None if self.left == 0 or due > self.expires_at else due

    def take(self, now: int) -> None:
        if self.state != "active" or self.due is None or self.due > now:
            return
        until = min(now, self.expires_at)
        due = self.fires(self.due - 1, until)[: max(1, self.left)]
        if due and now - self.due <= GRACE:
            for nominal in due[:-1] if self.overlap == "skip" else ():
                self.record(range(nominal, nominal + 1), "skipped", "overlap")
            for nominal in due[-1:] if self.overlap == "skip" else due:
                self.let_in(nominal, "schedule")
        elif due:
            self.make_up(due, now)
        self.fired += len(due)
        self.due = self.following(due[-1] if due else self.due)
        self.start(now)

    def make_up(self, due: range, now: int) -> None:
        old = sum(nominal < now - self.window for nominal in due)
        self.record(due[:old], "missed", "catchup_window")
        fresh = due[old:]
        if self.missed == "run_once" and fresh:
            self.record(fresh[:-1], "missed", "policy")
            self.let_in(fresh[-1], "catch_up")
        elif self.missed == "run_all":
            self.record(fresh[:-CATCH_UPS], "missed", "catchup_limit")
            for nominal in fresh[-CATCH_UPS:]:
                self.record(range(nominal, nominal + 1), "pending", None, "catch_up")
        else:
            self.record(fresh, "missed", "policy")

    def let_in(self, nominal: int, cause: str) -> None:
        going, state, reason = self.open, "pending", None
        fresh = [r.state == "pending" and not r.outcomes and r.cause == "schedule" for r in going]
        begun = any(r.state == "running" or r.outcomes for r in going)
        waiting = sum(fresh) - (bool(fresh) and not begun and fresh[0])
        match self.overlap if going else None:
            case "skip":
                state, reason = "skipped", "overlap"
            case "queue_one" | "allow":
                is_full = len(going) >= TOGETHER if self.overlap == "allow" else waiting > 0
                state, reason = ("skipped", "overlap") if is_full else (state, reason)
            case "queue_all" if waiting >= QUEUED:
                state, reason = "missed", "queue_full"
            case "cancel_previous":
                for run in going:
                    self.stop(run, OVERTAKEN)
        self.record(range(nominal, nominal + 1), state, reason, cause)

    def record(self, due: range, state: str, reason: str | None, cause: str = "schedule") -> None:
        if due and all(r.first != due[0] or r.cause in BY_HAND for r in self.runs):
            self.runs.append(ModelRun(due[0], due[-1], len(due), cause, state, reason))

    def start(self, now: int) -> None:
        for run in self.open if self.state != "cancelled" else ():
            if run.state != "pending" or self.is_held(run) or (run.wakes_at or now) > now:
                continue
            others = [
                r
                for r in self.open
                if r.state == "running"
                or (r is not run and r.outcomes and not run.outcomes and not self.is_held(r))
            ]
            is_second = run.cause == "catch_up" and any(r.cause == "catch_up" for r in others)
            if len(others) < (TOGETHER if self.overlap == "allow" else 1) and not is_second:
                run.state, run.reason, run.wakes_at = "running", None, None
                run.outcomes.append(None)
                if self.hangs:
                    self.end(run, "timed_out")
        self.complete()

    def is_held(self, run: ModelRun) -> bool:
        return self.state == "paused" and run.cause not in BY_HAND

    def end(self, run: ModelRun, outcome: str) -> None:
        run.outcomes[-1] = "cancelled" if run.stop and outcome == "stopped" else outcome
        tries = sum(one != "interrupted" for one in run.outcomes)
        run.state, run.reason = outcome, None
        if run.stop:
            run.state, run.reason = "cancelled", run.stop
        elif outcome == "interrupted" and self.reruns and self.state != "cancelled":
            run.state = "dead" if len(run.outcomes) - tries >= 3 else "pending"
        elif outcome in {"failed", "timed_out"} and self.attempts > 1:
            if tries >= self.attempts:
                run.state = "dead"
            elif self.state != "cancelled":  # due as soon as the ledger's instant has been checked
                run.state, run.reason, run.wakes_at = "pending", "retry", float("inf")
        self.complete()

    def stop(self, run: ModelRun, reason: str) -> None:
        run.stop = run.stop or reason
        if run.state == "pending":
            run.state, run.reason, run.wakes_at = "cancelled", run.stop, None
        elif run.state == "running":
            self.end(run, "stopped")

    def complete(self) -> None:
        if self.state == "active" and self.due is None and not self.open:
            self.state = "completed"

    def settle(self, now: int, reason: str) -> None:
        until = min(now, self.expires_at)
        if self.state == "paused" and self.paused_at is not None:
            if self.left:
                self.record(self.fires(self.paused_at, until), "skipped", "paused")
            self.paused_at = max(self.paused_at, now)
        elif self.due is not None:
            due = self.fires(self.due - 1, until)[: self.left]
            self.record(due, "skipped", reason)
            self.fired += len(due)

    def pause(self, now: int, until: int | None) -> None:
        if self.state == "active":
            self.settle(now, "paused")  # a clock set back: what is on record already stays so
            self.paused_at = now if self.nominal(now) >= (self.due or 0) else (self.due or 0) - 1
        self.state, self.due, self.paused_until = "paused", None, until

    def resume(self, now: int) -> None:
        self.settle(now, "paused")
        newest = max((r.last for r in self.runs if r.cause not in BY_HAND), default=now)
        self.state, self.paused_until = "active", None
        self.due = self.following(max(now, newest))
        self.complete()

    def cancel(self, now: int) -> None:
        self.settle(now, "the job was cancelled")
        for run in [run for run in self.open if run.state == "pending"]:
            self.stop(run, "the job was cancelled")
        self.state, self.due = "cancelled", None

    def interrupt(self) -> None:
        for run in [run for run in self.open if run.state == "running"]:
            self.end(run, "interrupted")
