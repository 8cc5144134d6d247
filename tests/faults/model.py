"""What the scheduler promises about one job, in plain Python: no database, no engine, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

GRACE, TOGETHER, QUEUED, CATCH_UPS = 60, 2, 3, 100
OVERTAKEN = "cancelled by the next fire (overlap_policy cancel_previous)"
BY_HAND = ("manual", "replay")
OPEN = ("pending", "running")


@dataclass
class ModelRun:
    """A record. Instants are seconds; `outcomes` has one entry per attempt, None while it goes on.

    Attributes:
        reason: None where the model does not say.
        wakes_at: When the retry is due, where one waits.
        stop: Why it is to be stopped, once someone asked for that.
    """

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
    expires_at: int | None = None
    state: str = "active"
    due: int | None = None
    paused_at: int | None = None
    paused_until: int | None = None
    fired: int = 0
    runs: list[ModelRun] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many fires `max_runs` leaves it."""
        return 10**9 if self.max_runs is None else max(0, self.max_runs - self.fired)

    @property
    def open(self) -> list[ModelRun]:
        """Its unfinished runs, in the order in which they may start."""
        return sorted((r for r in self.runs if r.state in OPEN), key=lambda r: r.last)

    def fires(self, after: int, until: int) -> range:
        first = max(0, (after - self.anchor) // self.period + 1)
        last = (until - self.anchor) // self.period
        return range(
            self.anchor + first * self.period, self.anchor + last * self.period + 1, self.period
        )

    def following(self, after: int) -> int | None:
        due = self.anchor + max(0, (after - self.anchor) // self.period + 1) * self.period
        is_over = self.left == 0 or (self.expires_at is not None and due > self.expires_at)
        return None if is_over else due

    def take(self, now: int) -> None:
        """Handle what is due: on time, late, or a gap."""
        if self.state != "active" or self.due is None or self.due > now:
            return
        until = now if self.expires_at is None else min(now, self.expires_at)
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
        edge = now - self.window
        old = len([1 for nominal in due[:1] if nominal < edge]) and len(
            range(due[0], min(edge, due[-1] + 1), self.period)
        )
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
        """Decide about one fire by the overlap policy."""
        going, state, reason = self.open, "pending", None
        fresh = [r.state == "pending" and not r.outcomes and r.cause == "schedule" for r in going]
        begun = any(r.state == "running" or r.outcomes for r in going)
        waiting = sum(fresh) - (bool(fresh) and not begun and fresh[0])
        match self.overlap if going else None:
            case "skip":
                state, reason = "skipped", "overlap"
            case "queue_one" if waiting > 0:
                state, reason = "skipped", "overlap"
            case "allow" if len(going) >= TOGETHER:
                state, reason = "skipped", "overlap"
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
        """Give the places that are free to those who wait, in their order."""
        for run in self.open if self.state != "cancelled" else ():
            if run.state != "pending" or self.is_held(run) or (run.wakes_at or 0) > now:
                continue
            others = [r for r in self.open if r is not run and self.has_place(r, against=run)]
            is_second = run.cause == "catch_up" and any(r.cause == "catch_up" for r in others)
            if len(others) < (TOGETHER if self.overlap == "allow" else 1) and not is_second:
                run.state, run.reason, run.wakes_at = "running", None, None
                run.outcomes.append(None)
                if self.hangs:
                    self.end(run, "timed_out", now)
        self.complete()

    def is_held(self, run: ModelRun) -> bool:
        return self.state == "paused" and run.cause not in BY_HAND

    def has_place(self, run: ModelRun, *, against: ModelRun) -> bool:
        waits = bool(run.outcomes) and not against.outcomes and not self.is_held(run)
        return run.state == "running" or waits

    def end(self, run: ModelRun, outcome: str, now: int) -> None:
        """An attempt ends: succeeded, failed, timed_out or interrupted."""
        run.outcomes[-1] = "cancelled" if run.stop and outcome == "stopped" else outcome
        tries = sum(one != "interrupted" for one in run.outcomes)
        lost = len(run.outcomes) - tries
        run.state, run.reason = outcome, None
        if run.stop:
            run.state, run.reason = "cancelled", run.stop
        elif outcome == "interrupted" and self.reruns and self.state != "cancelled":
            run.state = "dead" if lost >= 3 else "pending"
        elif outcome in {"failed", "timed_out"} and self.attempts > 1:
            is_last = tries >= self.attempts
            if is_last:
                run.state = "dead"
            elif self.state != "cancelled":
                run.state, run.reason = "pending", "retry"
                run.wakes_at = float("inf")  # until the ledger's instant has been checked
        self.complete()

    def stop(self, run: ModelRun, reason: str) -> None:
        """Stop a run: at once where it waits, else its attempt is stopped."""
        run.stop = run.stop or reason
        if run.state == "pending":
            run.state, run.reason, run.wakes_at = "cancelled", run.stop, None
        elif run.state == "running":
            self.end(run, "stopped", 0)

    def complete(self) -> None:
        if self.state == "active" and self.due is None and not self.open:
            self.state = "completed"

    def settle(self, now: int, reason: str) -> None:
        """Account for what is due before something changes."""
        until = now if self.expires_at is None else min(now, self.expires_at)
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
            self.settle(now, "paused")
            self.paused_at = now
        self.state, self.due, self.paused_until = "paused", None, until

    def resume(self, now: int) -> None:
        self.settle(now, "paused")
        newest = max((r.last for r in self.runs if r.cause not in BY_HAND), default=now)
        self.state, self.paused_until = "active", None
        self.due = self.following(max(now, newest))
        self.complete()

    def cancel(self, now: int) -> None:
        self.settle(now, "the job was cancelled")
        for run in self.open:
            if run.state == "pending":
                self.stop(run, "the job was cancelled")
        self.state, self.due = "cancelled", None

    def interrupt(self, now: int) -> None:
        """The server is gone: what ran is interrupted."""
        for run in self.open:
            if run.state == "running":
                self.end(run, "interrupted", now)
