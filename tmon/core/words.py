"""Instants, lengths of time, sizes and values as people read them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTHS = (("d", 86_400), ("h", 3600), ("min", 60))
LONGEST_S = 9999 * 366 * 86_400
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def moment(ms: int) -> datetime:
    """A moment in UTC; what no calendar has is the first or the last moment of one."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return (
            datetime(9999, 12, 31, 23, 59, tzinfo=UTC) if ms > 0 else datetime(1, 1, 1, tzinfo=UTC)
        )


def instant(ms: int) -> str:
    """``2026-11-25 12:00 UTC``."""
    return f"{moment(ms):%Y-%m-%d %H:%M} UTC"


def length(seconds: float) -> str:
    """The two largest units of it: ``2 h 10 min``, ``45 s``; no longer than a calendar."""
    left = round(min(seconds, LONGEST_S))
    parts: list[tuple[int, str]] = []
    for unit, size in _LENGTHS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    parts.append((left, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def size(count: int) -> str:
    """``4.2 GiB``."""
    for unit, of_one in _SIZES:
        if count >= of_one:
            return f"{count / of_one:.1f} {unit}"
    return f"{count} bytes"


def value(number: float, unit: str | None) -> str:
    """``31.25 °C``; six digits are more than any sensor has."""
    return f"{number:.6g} {unit or ''}".rstrip()


def plain(text: str) -> str:
    """What somebody sent, without what would move a terminal's cursor."""
    return "".join(one if one.isprintable() else " " for one in text)


def some(count: int, noun: str) -> str:
    """``1 sensor``, ``2 sensors``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
