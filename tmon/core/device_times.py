"""The times of devices: many spellings of an instant in UTC."""

import re
from datetime import UTC, datetime, tzinfo

from tmon.core.reading import AHEAD_MS, iso_moment
from tmon.core.time import as_ms

# 2016-1-4 21:2:35, with blanks after the colons in one firmware, and zones as +0200 or `-0500`.
# The + of a zone is a blank where a form or query was not percent-encoded.
_LOOSE = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[T ]+(\d{1,2}): *(\d{1,2})(?:: *(\d{1,2})(?:\.\d*)?)?"
    r" *(Z|UTC|[ +-]\d{2}:?\d{2})?",
    re.ASCII | re.IGNORECASE,
)
_ZONE = re.compile(r":.*(?:Z|UTC|[+-]\d{2}:?(?:\d{2})?)$", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{9,10}(?:\.[0-9]{0,9})?|[0-9]{12,13}|[0-9]{15,16}|[0-9]{18,19}")
# The fewest digits of Unix nanoseconds, microseconds and milliseconds, and how many are in one ms.
_SCALES = ((18, 1_000_000), (15, 1_000), (12, 1))


def utc_ms(text: str) -> int | None:
    """Unix milliseconds of an instant; of one without a zone, in UTC. None if it isn't one."""
    found = parsed(text)
    return as_ms(found.replace(tzinfo=UTC)) if isinstance(found, datetime) else found


def parsed(text: str) -> int | datetime | None:
    """Unix milliseconds of an instant; a time without a zone as it is; None for other texts.

    It is ISO 8601, perhaps without leading zeros, or Unix time in seconds, milliseconds,
    microseconds or nanoseconds.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        for digits, in_ms in _SCALES:
            if len(text) >= digits and "." not in text:
                return int(text) // in_ms
        return round(float(text) * 1000)
    moment = iso_moment(text)
    if moment is None and (found := _LOOSE.fullmatch(text)):
        year, month, day, hour, minute, second, zone = found.groups()
        iso = f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:{second or 0:0>2}"
        moment = iso_moment(iso + (zone or "").upper().replace("UTC", "Z").replace(" ", "+"))
    if moment is None or moment.tzinfo is None:
        return moment
    try:
        return as_ms(moment)
    except OverflowError:
        return None


def local_ms(moment: datetime, zone: tzinfo, received_ms: int) -> tuple[int | None, str]:
    """Unix milliseconds of a local time that arrived then, and what is unsure about it.

    None where the clocks skipped it. Of an hour that they repeated, it is the later one, unless
    that is still ahead.
    """
    try:
        first, second = (as_ms(moment.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    except OverflowError:
        return None, "an impossible time: the time of arrival was taken"
    if first == second:
        return first, ""
    if first > second:
        return None, "the clocks skipped that time: the time of arrival was taken"
    at_ms = second if second <= received_ms + AHEAD_MS else first
    return at_ms, "that time came twice, as clocks were put back: the one nearer to now was taken"


def seconds_ms(value: object) -> int | None:
    """Unix milliseconds of a JSON number, or its text, of Unix seconds; None for others."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
        return round(seconds * 1000) if 0 < seconds < 1e11 else None
    except ValueError:
        return None


def zoned_ms(value: object) -> int | None:
    """Unix milliseconds of JSON's number or text of an instant; None without a zone.

    A local time without its zone may be hours off: then the time of arrival is better.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    if isinstance(value, str) and not _NUMBER.fullmatch(text) and not _ZONE.search(text):
        return None
    return utc_ms(text)
