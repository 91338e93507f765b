"""Spans of time, as a page's address tells them: ``range=7d``, or ``from`` and ``to``. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from tmon.core.time import (
    DAY_MS,
    EPOCH,
    FIRST_MS,
    LAST_MS,
    MILLISECOND,
    as_ms,
    iso,
    within_calendar,
)

LENGTHS_MS = {"24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS, "1y": 365 * DAY_MS}
ALL = "all"
NAMES = (*LENGTHS_MS, ALL)
IN_WORDS = {
    "24h": "the last 24 hours",
    "7d": "the last 7 days",
    "30d": "the last 30 days",
    "1y": "the last year",
    ALL: "all readings",
}


class NoSuchSpan(ValueError):
    """The address tells no span of time; the message says what it may tell."""


class Past(NamedTuple):
    """From when to when there are readings (Unix ms); None where there is none."""

    first_ms: int | None
    last_ms: int | None


def together(pasts: Iterable[Past]) -> Past:
    """From the first reading of any to the last of any, within the years 1 to 9999."""
    ends = [within_calendar(end_ms) for past in pasts for end_ms in past if end_ms is not None]
    return Past(min(ends, default=None), max(ends, default=None))


class Span(NamedTuple):
    """From an instant up to another, which isn't in it any more (Unix ms).

    ``name`` is its ``range``, or None where it is told by ``from`` and ``to``.
    """

    start_ms: int
    end_ms: int
    name: str | None = None

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    @property
    def asked(self) -> dict[str, str]:
        """What tells it in an address."""
        if self.name:
            return {"range": self.name}
        return {"from": iso(self.start_ms), "to": iso(self.end_ms)}

    @property
    def in_words(self) -> str:
        if self.name:
            return IN_WORDS[self.name]
        start, end = (iso(at_ms)[:16].replace("T", " ") for at_ms in (self.start_ms, self.end_ms))
        return f"{start} to {end} UTC"


def moved(span: Span, lengths: float, *, times: float = 1) -> Span:
    """A span so many lengths later, and so many times as long about its middle."""
    middle_ms = span.start_ms + span.length_ms * (lengths + 0.5)
    half_ms = max(span.length_ms * times / 2, 500)
    return Span(max(FIRST_MS, round(middle_ms - half_ms)), min(LAST_MS, round(middle_ms + half_ms)))


def span_of(asked: Mapping[str, str], past: Past, now_ms: int) -> Span:
    """The span that an address tells.

    Without one, the last 24 hours, or all readings where none of those is in them.

    Raises:
        NoSuchSpan: it tells none.
    """
    if "from" in asked or "to" in asked:
        return _from_to(asked, past, now_ms)
    name = asked.get("range") or (
        "24h" if past.last_ms is None or past.last_ms > now_ms - DAY_MS else ALL
    )
    if name == ALL:
        return _all(past, now_ms)
    if name not in LENGTHS_MS:
        raise NoSuchSpan(f"range must be {', '.join(LENGTHS_MS)} or {ALL}; or give from and to")
    return Span(now_ms - LENGTHS_MS[name], now_ms, name)


def _all(past: Past, now_ms: int) -> Span:
    if past.first_ms is None or past.last_ms is None:
        return Span(now_ms - DAY_MS, now_ms, ALL)
    return Span(past.first_ms, past.last_ms + 1, ALL)


def _from_to(asked: Mapping[str, str], past: Past, now_ms: int) -> Span:
    start_ms = _instant_ms(asked["from"]) if asked.get("from") else past.first_ms
    end_ms = _instant_ms(asked["to"]) if asked.get("to") else now_ms
    if start_ms is None:
        start_ms = end_ms - DAY_MS
    if start_ms >= end_ms:
        raise NoSuchSpan("from must be before to")
    return Span(start_ms, end_ms)


def _instant_ms(text: str) -> int:
    """Unix milliseconds, or ISO 8601; without an offset in UTC."""
    try:
        if re.fullmatch(r"-?\d+", text, re.ASCII):
            return as_ms(EPOCH + int(text) * MILLISECOND)
        at = datetime.fromisoformat(text.replace(" ", "+"))  # in addresses + is a space
        return as_ms(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise NoSuchSpan(
            "from and to must be like 2026-11-22, 2026-11-22T12:00Z, or Unix milliseconds"
        ) from None
