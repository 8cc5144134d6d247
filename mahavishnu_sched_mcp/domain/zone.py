"""Reading times and zones that outsiders wrote, and wall times that do not exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from mahavishnu_sched_mcp.errors import InvalidTriggerError, nearest

_SECOND = timedelta(seconds=1)
_SHOWN_CHARACTERS = 80
_ZONE_HINT = "Use an IANA name such as 'Europe/Paris', or 'UTC'."


def shown(text: str) -> str:
    """Quote a value for a message, on one line and shortened."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > _SHOWN_CHARACTERS:
        line = line[:_SHOWN_CHARACTERS] + "..."
    return f"'{line}'"


def read_zone(name: str) -> ZoneInfo:
    """Give the time zone of this name.

    Args:
        name: An IANA name such as `Europe/Paris`, or `UTC`.

    Raises:
        InvalidTriggerError: no such zone; suggests the nearest name.
    """
    message = f"Time zone {shown(name)} is not known."
    # `right/` zones count leap seconds, the others depend on the machine
    if name.startswith(("right/", "posix/", "localtime", "posixrules")):
        raise InvalidTriggerError(message, hint=_ZONE_HINT)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        hint = f"{_nearest_zone(name)} {_ZONE_HINT}".strip()
        raise InvalidTriggerError(message, hint=hint) from error


def read_instant(text: str, *, field: str) -> datetime:
    """Read a time with an offset, as outsiders write it, into UTC.

    Args:
        text: ISO 8601 with an offset, such as `2026-12-01T09:00:00+01:00`.
        field: The field's name, for the message.

    Raises:
        InvalidTriggerError: unreadable, without an offset, or outside the calendar.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        message = f"{field} {shown(text)} is not a time."
        hint = "Write it as '2026-12-01T09:00:00+01:00' (ISO 8601 with an offset)."
        raise InvalidTriggerError(message, hint=hint) from error
    if instant.tzinfo is None:
        message = f"{field} {shown(text)} has no UTC offset, so the instant is not certain."
        plain = instant.isoformat()
        hint = f"Add the offset: '{plain}Z' for UTC, or '{plain}+01:00'."
        raise InvalidTriggerError(message, hint=hint)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        message = f"{field} {shown(text)} lies outside the calendar."
        raise InvalidTriggerError(message, hint="Use a year between 1970 and 9000.") from error


def settle(wall: datetime, zone: ZoneInfo) -> datetime:
    """Give the instant of a wall time as cron does for fixed times.

    Args:
        wall: Without a zone. In an overlap the first of the two instants is meant; inside a
            gap it becomes the instant right after the gap.
        zone: Where the wall hangs.
    """
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if is_real(instant, wall, zone):
        return instant
    return _end_of_gap(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant, zone)


def is_real(instant: datetime, wall: datetime, zone: ZoneInfo) -> bool:
    """Tell whether the clocks of the zone show this wall time at this instant."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Search the instant between the two at which the offset changes."""
    old = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def _nearest_zone(name: str) -> str:
    known = _zones_by_lower_case()
    same = known.get(name.strip().lower().replace(" ", "_"))
    return f"Did you mean '{same}'?" if same else nearest(name, known.values())


@lru_cache(maxsize=1)
def _zones_by_lower_case() -> dict[str, str]:
    return {zone.lower(): zone for zone in sorted(available_timezones())}
