"""Times as people read them: in the zone of this machine, which is named where there is room for it."""

from __future__ import annotations

from datetime import UTC, datetime

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in any locale


def local(time: object) -> datetime | None:
    """Return a time in this machine's zone: seconds since 1970, or ISO 8601 (UTC unless it says otherwise)."""
    try:
        if isinstance(time, int | float):
            return datetime.fromtimestamp(time, UTC).astimezone()
        found = datetime.fromisoformat(str(time))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone()
    except (ValueError, OverflowError, OSError):  # no time, or none of this world
        return None


def short(time: object) -> str:
    """Return ``29 Nov 10:31``, with the year where it is not this one: a part of a run's name. Empty if unknown."""
    found = local(time)
    if found is None:
        return ""
    year = "" if found.year == datetime.now().astimezone().year else f" {found.year}"
    return f"{found.day} {MONTHS[found.month - 1]}{year} {found:%H:%M}"


def minute(time: object) -> str:
    """Return ``2026-11-29 10:31 CET``, for lists and sentences. Empty if unknown."""
    found = local(time)
    return "" if found is None else f"{found:%Y-%m-%d %H:%M} {found.tzname()}"


def second(time: object) -> str:
    """Return ``10:31:04 CET``, for what is renewed all the time. Empty if unknown."""
    found = local(time)
    return "" if found is None else f"{found:%H:%M:%S} {found.tzname()}"
