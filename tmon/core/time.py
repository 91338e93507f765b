"""Instants as Unix milliseconds: constants, the clock, and how they are converted and written."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from time import time_ns
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# The years 1 and 9999: the calendars of Python and SQLite end there.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_UTC = frozenset(("UTC", "GMT", "Z", "UT"))
_OFFSET = re.compile(r"(?:UTC|GMT)?\s*([+-])([0-9]{1,2})(?::?([0-5][0-9]))?", re.IGNORECASE)


def now_ms() -> int:
    """This machine's clock."""
    return time_ns() // 1_000_000


def within_calendar(ms: int) -> int:
    """An instant, or the nearest one that a calendar has."""
    return min(max(ms, FIRST_MS), LAST_MS)


def as_datetime(ms: int) -> datetime:
    """An instant in UTC, or the nearest one that a calendar has."""
    return EPOCH + within_calendar(ms) * MILLISECOND


def as_ms(moment: datetime) -> int:
    """Unix milliseconds of a datetime with an offset; instants before 1970 round down too."""
    return (moment - EPOCH) // MILLISECOND


def parse_zone(text: str) -> tzinfo:
    """Parse a zone as people write it: ``Europe/Berlin``, ``-07:00``, ``UTC-7``, ``GMT+1``.

    Offsets have their everyday sign, east of Greenwich +; only ``Etc/GMT-1`` has the other.

    Raises:
        ValueError: it isn't a zone.
    """
    if text.upper() in _UTC:
        return UTC
    found = _OFFSET.fullmatch(text.strip())
    if found and int(found[2]) <= 14:
        minutes = int(f"{found[1]}1") * (60 * int(found[2]) + int(found[3] or 0))
        return timezone(timedelta(minutes=minutes)) if minutes else UTC
    try:
        return ZoneInfo(text)
    except (KeyError, OSError):
        raise ValueError(f"no zone is called {text!r}") from None


def iso(ms: int) -> str:
    """An instant as ``2026-11-22T12:00:00Z``, with milliseconds where there are any.

    An instant outside the calendar stays a number.
    """
    if ms != within_calendar(ms):
        return str(ms)
    text = as_datetime(ms).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def iso_sql(column: str) -> str:
    """SQL for a column of Unix milliseconds as ``2026-11-22T12:00:00Z``."""
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')"
