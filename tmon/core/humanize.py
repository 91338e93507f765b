"""Instants, durations, sizes, values and counts, written for people."""

from tmon.core.time import as_datetime

LONGEST_S = 9999 * 366 * 86_400


def instant(ms: int) -> str:
    """``2026-11-25 12:00 UTC``."""
    return f"{as_datetime(ms):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """Its two largest units: ``2 h 10 min``, ``45 s``; at most the length of a calendar."""
    left = round(min(seconds, LONGEST_S))
    parts: list[tuple[int, str]] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def size(count: int) -> str:
    """``4.2 GiB``."""
    for unit, of_one in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= of_one:
            return f"{count / of_one:.1f} {unit}"
    return f"{count} bytes"


def value(number: float, unit: str | None) -> str:
    """``31.25 °C``; no sensor has more than six digits."""
    return f"{number:.6g} {unit or ''}".rstrip()


def printable(text: str) -> str:
    """A sender's text in which control characters, such as a terminal's, are blanks."""
    return "".join(one if one.isprintable() else " " for one in text)


def pluralize(count: int, noun: str) -> str:
    """``1 sensor``, ``2 sensors``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
