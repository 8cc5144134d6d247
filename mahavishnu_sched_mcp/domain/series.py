"""What every resolved trigger can tell about its fires."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta

from mahavishnu_sched_mcp.domain.value import Instant, JsonObject, Value
from mahavishnu_sched_mcp.domain.zone import read_zone

LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""No fire is later: far enough from the calendar's end that arithmetic cannot overflow."""


_TICK = timedelta(microseconds=1)


class Gap(Value):
    """The fires of a stretch of time, counted and not listed.

    Attributes:
        count: How many there are.
        first: The first of them; None when there is none.
        last: The last of them; None when there is none.
    """

    count: int = 0
    first: Instant | None = None
    last: Instant | None = None


class FireSeries(Value):
    """The fires of one trigger, decided by the trigger alone and never by what happened."""

    @property
    @abstractmethod
    def zone(self) -> str:
        """The IANA name of the zone in which people read this trigger."""

    @abstractmethod
    def next_after(self, instant: datetime) -> datetime | None:
        """Give the first fire strictly after an instant, in UTC, or None when none is left."""

    @abstractmethod
    def gap(self, after: datetime, until: datetime) -> Gap:
        """Count the fires in (after, until] without listing them."""

    @abstractmethod
    def in_words(self) -> str:
        """Say the trigger in a short phrase for people."""

    @abstractmethod
    def period_hint(self) -> timedelta | None:
        """Give the shortest usual distance between two fires; None for a single fire."""

    @abstractmethod
    def as_json(self) -> JsonObject:
        """Give the trigger as outsiders see it."""

    def fires(
        self, after: datetime, *, count: int, until: datetime | None = None
    ) -> list[datetime]:
        """List the next fires strictly after an instant, in UTC.

        Args:
            after: Where to begin; a fire at this very instant is not in the list.
            count: At most this many.
            until: None of them later than this.
        """
        found: list[datetime] = []
        fire = self.next_after(after)
        while fire is not None and len(found) < count and (until is None or fire <= until):
            found.append(fire)
            fire = self.next_after(fire)
        return found

    def newest(self, after: datetime, until: datetime, *, count: int) -> list[datetime]:
        """List the last fires in (after, until], in their order, without walking the others.

        Args:
            count: At most this many, from 1.
        """
        surplus = self.gap(after, until).count - count
        start = after if surplus <= 0 else self.instant_of(after, until, number=surplus)
        return self.fires(start, count=count, until=until)

    def instant_of(self, after: datetime, until: datetime, *, number: int) -> datetime:
        """Give the instant of the fire with this number in (after, until], by halving.

        Args:
            number: From 1 to the number of fires in between.
        """
        start, end = after, until
        while end - start > _TICK:
            middle = start + (end - start) / 2
            if self.gap(after, middle).count < number:
                start = middle
            else:
                end = middle
        return end

    def revised(self, armed: datetime, *, after: datetime) -> datetime | None:
        """Give the next fire anew where the rules of its zone may have changed meanwhile.

        Args:
            armed: The next fire as it was computed under the rules of that time.
            after: The later of the present and the newest recorded fire: what is up to here
                is not asked again. An `armed` that is due already stays as it is.
        """
        if armed <= after or self.next_after(after) == armed:
            return armed
        return self.next_after(after)


def in_zone(instant: datetime, zone: str) -> str:
    """Write an instant for machines: ISO 8601 with the zone's offset."""
    return instant.astimezone(read_zone(zone)).isoformat()


def for_people(instant: datetime, zone: str) -> str:
    """Write an instant for people: date, 24-hour time (seconds only if any), zone."""
    local = instant.astimezone(read_zone(zone))
    return f"{local:%Y-%m-%d %H:%M:%S}".removesuffix(":00") + f" {zone}"


def duration_in_words(duration: timedelta) -> str:
    """Say a duration: `30 seconds`, `1 hour 30 minutes`, `0.2 seconds`."""
    days, seconds = duration.days, duration.seconds
    weeks, days = divmod(days, 7) if days % 7 == 0 else (0, days)
    parts = [
        (weeks, "week"),
        (days, "day"),
        (seconds // 3600, "hour"),
        (seconds % 3600 // 60, "minute"),
    ]
    words = [_counted(str(amount), unit) for amount, unit in parts if amount]
    rest = seconds % 60 + duration.microseconds / 1_000_000
    if rest or not words:
        words.append(
            _counted(f"{rest:g}" if duration.microseconds else str(seconds % 60), "second")
        )
    return " ".join(words)


def _counted(amount: str, unit: str) -> str:
    return f"{amount} {unit}" if amount == "1" else f"{amount} {unit}s"
