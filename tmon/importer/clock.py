"""Time zones, and the instants of local times, also where clocks were put back."""

import math
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timezone, tzinfo
from pathlib import Path

from tmon.core import time
from tmon.core.errors import CannotImport
from tmon.core.reading import AHEAD_MS, Refusal, clip
from tmon.core.time import FIRST_MS, as_ms

_IN_HEADER = re.compile(
    r"(?:UTC|GMT)\s*[+-]\s*[0-9]{1,2}(?::?[0-9]{2})?|(?<![\w:])[+-][0-9]{2}:[0-9]{2}(?!\w)"
    r"|(?<=[(\[])[+-][0-9]{1,2}(?=[)\]])",
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    r"(?:UTC|GMT)\s*[+-]\s*[0-9:]+\s*/\s*(?:UTC|GMT)?\s*[+-]\s*[0-9]|(?:UTC|GMT)\s*/\s*local",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\b[A-Z][A-Za-z]+/[A-Z][A-Za-z_]+\b")
# Abbreviations for several offsets, by season or by country.
_UNSURE = re.compile(
    r"(?<![A-Za-z])(?:[ECMP][SD]T|AK[SD]T|HST|BST|IST|JST|A[ECW][SD]T|NZ[SD]T|MSK|[CEW]ES?T|MES?Z"
    r"|SAST)(?![A-Za-z])"
)


def parse_zone(text: str) -> tzinfo:
    """Parse the zone of ``--tz``.

    Raises:
        CannotImport: it isn't a zone.
    """
    try:
        return time.parse_zone(text)
    except ValueError:
        raise CannotImport(
            f"--tz {clip(text)!r} isn't a zone; it must be like Europe/Berlin or -07:00"
        ) from None


def zone_in(header: str) -> tzinfo | None:
    """The zone that a header or a title names, such as ``Date Time, GMT-07:00``.

    Raises:
        CannotImport: the name means several zones, such as EST.
    """
    if _SEVERAL.search(header):
        raise CannotImport(f"{clip(header)!r} names several zones: --tz says which")
    for place in _PLACE.finditer(header):
        try:
            return parse_zone(place[0])
        except CannotImport:
            continue
    if found := _IN_HEADER.search(header):
        return parse_zone(found[0].replace(" ", ""))
    if {*re.findall(r"[A-Z]{2,4}", header)} & {"UTC", "GMT"}:
        return UTC
    if re.search(r"(?:^|[_\W])utc(?:$|[_\W])(?!offset)|^dateutc$", header, re.IGNORECASE):
        return UTC
    if unsure := _UNSURE.search(header):
        raise CannotImport(
            f"{clip(header)!r} names {unsure[0]}, which isn't one offset only: --tz says which,"
            " such as America/New_York or -04:00"
        )
    return None


class Clock:
    """Converts one node's local times, in the order of the file.

    ``twice`` counts the rows in hours that the clock showed twice, by their day.
    """

    def __init__(self, column: str, zone: tzinfo | None, received_ms: int) -> None:
        self.twice: dict[str, int] = {}
        self._column = column
        self._zone = zone
        self._is_fixed = zone is UTC or isinstance(zone, timezone)
        self._received_ms = received_ms
        self._previous_ms = -math.inf
        self._backwards = False

    def measured_ms(self, read: datetime | int, text: str) -> int:
        """Unix milliseconds of a parsed time; ``text`` is its cell, for messages.

        Raises:
            Refusal: it is over ten minutes ahead, or clocks were put forward over it.
        """
        if isinstance(read, int):
            measured_ms = read
        elif read.tzinfo is not None:
            measured_ms = as_ms(read)
        elif self._zone is None:
            raise Refusal(
                "invalid_time",
                f"{self._column} {clip(text)!r} has no offset, and others have; --tz says its zone",
            )
        elif self._is_fixed:
            measured_ms = as_ms(read.replace(tzinfo=self._zone))
        else:
            measured_ms = self._local_ms(read)
        if not FIRST_MS <= measured_ms <= self._received_ms + AHEAD_MS:
            when = "before the year 1" if measured_ms < FIRST_MS else "in the future"
            raise Refusal("implausible_time", f"{self._column} {clip(text)!r} is {when}")
        return measured_ms

    def _local_ms(self, moment: datetime) -> int:
        """Where clocks were put back, the instant that continues the row before."""
        early_ms, late_ms = (as_ms(moment.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1))
        if early_ms > late_ms:
            raise Refusal(
                "skipped_time",
                f"the clocks of {self._zone} skipped {moment}; a logger that knows no summer time "
                "needs a --tz without it, like +01:00 or Etc/GMT-1",
            )
        if early_ms != late_ms:
            day = moment.strftime("%Y-%m-%d")
            self.twice[day] = self.twice.get(day, 0) + 1
        if self._backwards:
            measured_ms = late_ms if late_ms < self._previous_ms else early_ms
        else:
            measured_ms = early_ms if early_ms > self._previous_ms else late_ms
        if measured_ms != self._previous_ms:
            self._backwards = measured_ms < self._previous_ms
        self._previous_ms = measured_ms
        return measured_ms


def local_zone_name() -> str:
    """This machine's time zone, as Debian and macOS keep it."""
    if named := os.environ.get("TZ", "").lstrip(":"):
        return named
    _, found, name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")
    return name if found else "UTC"


def same_offsets(one: tzinfo, other: tzinfo, moments: Sequence[datetime]) -> bool:
    """Whether two zones have the same offset at each of these times."""
    return all(one.utcoffset(moment) == other.utcoffset(moment) for moment in moments)
