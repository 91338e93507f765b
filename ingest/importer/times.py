"""Times as loggers write them: ISO 8601, Unix seconds or milliseconds, local or not."""

import math
from datetime import datetime, tzinfo

from ingest.reading import AHEAD_MS, Refusal, clip, iso_moment, moment_ms

# Numbers that are surely Unix times: less would be a year, a day like 20130704, or
# seconds since the logger's start; between them lie minutes like 201307041200.
UNIX_S_FROM, UNIX_S_TO = 1e8, 1e11  # 1973 on
UNIX_MS_FROM = 2.1e11  # August 1976 on
YEAR_1_MS = -62_135_596_800_000  # no calendar of Python's or SQLite's goes further


class Clock:
    """The times of one node, as they are written, in the order of the file."""

    def __init__(self, column: str, zone: tzinfo, received_ms: int) -> None:
        self._column = column
        self._zone = zone
        self._received_ms = received_ms
        self._previous_ms = -math.inf
        self._backwards = False

    def measured_ms(self, text: str) -> int:
        """Unix milliseconds of an ISO 8601 time, or of a number of Unix seconds or milliseconds.

        Raises:
            Refusal: it is none, is more than ten minutes ahead, or the clocks skipped it.
        """
        measured_ms = self._unix_ms(text)
        if measured_ms is None:
            measured_ms = self._iso_ms(text)
        if not YEAR_1_MS <= measured_ms <= self._received_ms + AHEAD_MS:
            when = "before the year 1" if measured_ms < YEAR_1_MS else "in the future"
            raise Refusal("implausible_time", f"{self._column} {clip(text)!r} is {when}")
        return measured_ms

    def _unix_ms(self, text: str) -> int | None:
        try:
            number = float(text)
            is_ms = self._column == "measured_ms" or abs(number) >= UNIX_MS_FROM
            is_s = UNIX_S_FROM <= abs(number) < UNIX_S_TO
            return round(number if is_ms else number * 1000) if is_ms or is_s else None
        except (ValueError, OverflowError):
            return None

    def _iso_ms(self, text: str) -> int:
        moment = iso_moment(text)
        if moment is None:
            raise Refusal(
                "invalid_time",
                f"{self._column} {clip(text)!r} must be like 2013-07-04 12:00, Unix seconds or ms",
            )
        return self._local_ms(moment) if moment.tzinfo is None else moment_ms(moment)

    def _local_ms(self, moment: datetime) -> int:
        """Where the clocks went back: the one that goes on from the row before it."""
        early_ms, late_ms = (
            moment_ms(moment.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1)
        )
        if early_ms > late_ms:
            raise Refusal(
                "skipped_time",
                f"the clocks of {self._zone} skipped {moment}; a logger that knows no summer time "
                "needs a --tz without it, like Etc/GMT-1",
            )
        if self._backwards:
            measured_ms = late_ms if late_ms < self._previous_ms else early_ms
        else:
            measured_ms = early_ms if early_ms > self._previous_ms else late_ms
        if measured_ms != self._previous_ms:
            self._backwards = measured_ms < self._previous_ms
        self._previous_ms = measured_ms
        return measured_ms
