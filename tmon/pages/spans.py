"""The span of time in a page's address: ``range=7d``, or ``from`` and ``to``."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from tmon.core.languages import N_, gettext
from tmon.core.time import (
    DAY_MS,
    EPOCH,
    FIRST_MS,
    HOUR_MS,
    LAST_MS,
    MILLISECOND,
    as_ms,
    iso,
    within_calendar,
)

LENGTHS_MS = {"24h": DAY_MS, "7d": 7 * DAY_MS, "30d": 30 * DAY_MS, "1y": 365 * DAY_MS}
NEW_MS = 3 * HOUR_MS  # sensors whose first reading is younger are shown whole
ALL = "all"
NAMES = (*LENGTHS_MS, ALL)
IN_WORDS = {
    "24h": N_("the last 24 hours"),
    "7d": N_("the last 7 days"),
    "30d": N_("the last 30 days"),
    "1y": N_("the last year"),
    ALL: N_("all readings"),
}


BEFORE_MS = {"day": DAY_MS, "week": 7 * DAY_MS, "year": 365 * DAY_MS}
BEFORE_IN_WORDS = {
    "day": N_("a day before"),
    "week": N_("a week before"),
    "year": N_("a year before"),
}


class BadSpan(ValueError):
    """A parameter of the address is not valid; the message says what is."""


class ReadingRange(NamedTuple):
    """When the first and last reading were (Unix ms); None where there are no readings."""

    first_ms: int | None
    last_ms: int | None


def combined(ranges: Iterable[ReadingRange]) -> ReadingRange:
    """The range of all readings, limited to the years 1 to 9999."""
    ends = [within_calendar(end_ms) for one in ranges for end_ms in one if end_ms is not None]
    return ReadingRange(min(ends, default=None), max(ends, default=None))


class Span(NamedTuple):
    """A span of time (Unix ms), without its end.

    ``name`` is its ``range``, or None when it is given by ``from`` and ``to``.
    """

    start_ms: int
    end_ms: int
    name: str | None = None

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    @property
    def parameters(self) -> dict[str, str]:
        """Its parameters in an address."""
        if self.name:
            return {"range": self.name}
        return {"from": iso(self.start_ms), "to": iso(self.end_ms)}

    @property
    def in_words(self) -> str:
        if self.name:
            return gettext(IN_WORDS[self.name])
        start, end = (iso(at_ms)[:16].replace("T", " ") for at_ms in (self.start_ms, self.end_ms))
        return gettext("{start} to {end} UTC").format(start=start, end=end)


def shifted(span: Span, by: float, *, scale: float = 1) -> Span:
    """A span moved by a multiple of its length, and scaled around its middle."""
    middle_ms = span.start_ms + span.length_ms * (by + 0.5)
    half_ms = max(span.length_ms * scale / 2, 500)
    return Span(max(FIRST_MS, round(middle_ms - half_ms)), min(LAST_MS, round(middle_ms + half_ms)))


class Earlier(NamedTuple):
    """The same span a ``day``, ``week`` or ``year`` (365 days) before."""

    name: str
    span: Span

    @property
    def in_words(self) -> str:
        return gettext(BEFORE_IN_WORDS[self.name])


def parse_before(parameters: Mapping[str, str], span: Span) -> Earlier | None:
    """The earlier span that an address asks for with ``before=week`` or the like.

    Raises:
        BadSpan: the parameter is not valid.
    """
    name = parameters.get("before")
    if not name:
        return None
    if name not in BEFORE_MS:
        message = gettext("before must be {names}; without it there is no second line")
        raise BadSpan(message.format(names=", ".join(BEFORE_MS)))
    start_ms = max(FIRST_MS, span.start_ms - BEFORE_MS[name])
    return Earlier(name, Span(start_ms, start_ms + span.length_ms))


def parse_span(parameters: Mapping[str, str], readings: ReadingRange, now_ms: int) -> Span:
    """The span that an address asks for.

    By default the last 24 hours, or all readings when the newest is older than that, or the first
    is so new that they would fill only the end of a day.

    Raises:
        BadSpan: a parameter is not valid.
    """
    if "from" in parameters or "to" in parameters:
        return _from_to(parameters, readings, now_ms)
    name = parameters.get("range") or _default_range(readings, now_ms)
    if name == ALL:
        if readings.first_ms is None or readings.last_ms is None:
            return Span(now_ms - DAY_MS, now_ms, ALL)
        return Span(readings.first_ms, readings.last_ms + 1, ALL)
    if name not in LENGTHS_MS:
        message = gettext("range must be {names} or {all}; or give from and to")
        raise BadSpan(message.format(names=", ".join(LENGTHS_MS), all=ALL))
    return Span(now_ms - LENGTHS_MS[name], now_ms, name)


def _default_range(readings: ReadingRange, now_ms: int) -> str:
    if readings.first_ms is None or readings.last_ms is None:
        return "24h"
    is_live = readings.last_ms > now_ms - DAY_MS
    return "24h" if is_live and readings.first_ms <= now_ms - NEW_MS else ALL


def _from_to(parameters: Mapping[str, str], readings: ReadingRange, now_ms: int) -> Span:
    start, end = parameters.get("from"), parameters.get("to")
    start_ms = _parse_ms(start) if start else readings.first_ms
    end_ms = _parse_ms(end) if end else now_ms
    if start_ms is None:
        start_ms = end_ms - DAY_MS
    if start_ms >= end_ms:
        raise BadSpan(gettext("from must be before to"))
    return Span(start_ms, end_ms)


def _parse_ms(text: str) -> int:
    """Parse Unix milliseconds or ISO 8601, which is UTC unless it has an offset."""
    try:
        if re.fullmatch(r"-?\d+", text, re.ASCII):
            return as_ms(EPOCH + int(text) * MILLISECOND)
        at = datetime.fromisoformat(
            text.replace(" ", "+")
        )  # a + in an address is decoded to a space
        return as_ms(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        message = gettext(
            "from and to must be like 2026-11-22, 2026-11-22T12:00Z, or Unix milliseconds"
        )
        raise BadSpan(message) from None
