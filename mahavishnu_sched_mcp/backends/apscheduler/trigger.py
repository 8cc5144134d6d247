"""The domain's triggers as APScheduler asks them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.base import BaseTrigger

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.domain.trigger import Trigger


class ArmedTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """A trigger that goes on from the fire before, never from the moment it is asked.

    So no fire between two passes is left out. After a long gap it ends instead: the listener
    accounts for the whole gap at once and arms the job anew.
    """

    __slots__ = ("_following", "_grace", "_previous", "_trigger")

    def __init__(self, trigger: Trigger | None, *, grace: timedelta) -> None:
        """Wrap a trigger.

        Args:
            trigger: None for a job that fires once, at the time it is armed for.
            grace: A fire noticed later than this ends the trigger.
        """
        super().__init__()
        self._trigger = trigger
        self._grace = grace
        self._previous: datetime | None = None
        self._following: datetime | None = None

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Give the fire to arm after one was delivered; None disarms the job."""
        if previous_fire_time is None:
            return self.following(now)
        if now - previous_fire_time > self._grace:
            return None
        return self.following(previous_fire_time)

    def following(self, fire: datetime) -> datetime | None:
        """Give the nominal fire after another one, computed once per fire."""
        if self._previous != fire:
            self._following = None if self._trigger is None else self._trigger.next_after(fire)
            self._previous = fire
        return self._following
