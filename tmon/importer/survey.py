"""Sums of a file's readings for each sensor, and counts of what became of them."""

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TextIO

from tmon.core.errors import CannotImport
from tmon.core.reading import Reading, Receipt, Refusal, clip
from tmon.importer.ambiguities import WARMEST_C, WARMEST_F
from tmon.importer.columns import reference
from tmon.importer.numbers import SENTINELS
from tmon.importer.plan import Plan
from tmon.importer.rows import Reader, Refuse, Table

INTERVALS = 1_000  # the first ones, of which the median is shown
EXAMPLES = 3  # of each kind of rejection
REJECTS_HEADER = ("file", "line", "code", "sensor", "reason", "cells")


class SampleTable(Table):
    """A table of the sample's rows only."""

    def rows(self, refuse: Refuse) -> Iterator[tuple[int, list[str]]]:
        for row in self.layout.sample:
            if self._fits(row.line, row.cells, refuse):
                self.row_count += 1
                yield row.line, row.cells
            if self.stopped:
                return


@dataclass
class Summary:
    """The sums of one sensor's readings.

    ``sentinels`` counts values that often mean a missing one; ``least`` and ``greatest`` are
    of the other values.
    """

    unit: str | None
    first_ms: int
    last_ms: int
    least: float = math.inf
    greatest: float = -math.inf
    count: int = 0
    sentinels: Counter[float] = field(default_factory=Counter)
    intervals_ms: Counter[int] = field(default_factory=Counter)
    _previous_ms: int | None = None

    def add(self, reading: Reading) -> None:
        """Add one reading."""
        at, value = reading.measured_ms, reading.value
        if at < self.first_ms:
            self.first_ms = at
        elif at > self.last_ms:
            self.last_ms = at
        if value in SENTINELS:
            self.sentinels[value] += 1
        else:
            self.least = min(self.least, value)
            self.greatest = max(self.greatest, value)
        self.count += 1
        if self.count <= INTERVALS:
            if self._previous_ms is not None:
                self.intervals_ms[abs(at - self._previous_ms)] += 1
            self._previous_ms = at

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest of all values."""
        return min(self.least, *self.sentinels, math.inf), max(
            self.greatest, *self.sentinels, -math.inf
        )

    @property
    def doubtful(self) -> dict[float, int]:
        """Sentinels outside the range of the other values, and how often each occurs."""
        return {
            sentinel: count
            for sentinel, count in self.sentinels.items()
            if not self.least <= sentinel <= self.greatest
            and (abs(sentinel) != 85 or self.unit == "°C")
        }

    @property
    def interval_ms(self) -> int | None:
        """The usual time between readings, if there are several."""
        steps = [step for step in self.intervals_ms.elements() if step]
        return int(median(steps)) if steps else None


class Tally:
    """Counts what became of each reading of a file; writes rejected rows to a CSV file.

    ``rejects`` gets a line for each: the file, its line, why, the sensor, and the row's cells.
    """

    def __init__(self, file: str = "", rejects: TextIO | None = None) -> None:
        self.stored = 0
        self.already_there = 0
        self.rejected: Counter[tuple[str, str]] = Counter()  # by code and sensor
        self.refused_by_store = 0
        self._file = file
        self._rejects = csv.writer(rejects) if rejects else None
        self._examples: dict[tuple[str, str], list[str]] = {}

    @property
    def succeeded(self) -> bool:
        """Whether something was stored, or all that could be was there already."""
        return self.stored > 0 or (self.already_there > 0 and not self.refused_by_store)

    @property
    def conflicts(self) -> int:
        """How many have another value than the one that is stored for their time."""
        return sum(count for (code, _), count in self.rejected.items() if code == "conflict")

    def reject(
        self, line: int, refusal: Refusal, sensor: str, readings: int, row: Sequence[str]
    ) -> None:
        """Count the rejected readings of one line; those that the store rejects have no row."""
        kind = refusal.code, sensor
        self.rejected[kind] += readings
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(f"line {line}: {refusal.reason}")
        if self._rejects:
            self._rejects.writerow([self._file, line, *kind, refusal.reason, *row])

    def add(self, receipt: Receipt) -> None:
        """Count what the store answers; its indices are the file's line numbers."""
        self.stored += receipt.accepted
        self.already_there += receipt.duplicates
        self.refused_by_store += len(receipt.rejected)
        for one in receipt.rejected:
            self.reject(one.index, Refusal(one.code, one.error), one.sensor or "", 1, ())

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield f"stored         {self.stored:>11,}"
        yield f"already there  {self.already_there:>11,}"
        yield f"rejected       {self.rejected.total():>11,}"
        yield from self.rejected_lines()

    def rejected_lines(self) -> Iterator[str]:
        """Each kind of rejection, with its number and the first examples."""
        for kind, readings in self.rejected.most_common():
            first, *more = self._examples[kind]
            yield f"  {' '.join(kind).strip()}: {readings:,}, such as {first}"
            yield from (f"    {example}" for example in more)


class Survey:
    """Reads a file's rows, and sums their readings and rejections up meanwhile."""

    def __init__(
        self, table: Table, plan: Plan, received_ms: int, tally: Tally | None = None
    ) -> None:
        self.plan = plan
        self.table = table
        self.tally = tally or Tally()
        self.sensors: dict[tuple[str, str], Summary] = {}
        self.conflicts = 0  # readings whose time has another value already
        self.refused = 0  # readings that the database will refuse for another reason
        self.reader = Reader(table, plan, received_ms, self.tally.reject)

    @property
    def readings(self) -> int:
        """How many there are."""
        return sum(summary.count for summary in self.sensors.values())

    def rows(self) -> Iterator[tuple[str, list[Reading]]]:
        """Each row's node and readings, once they are counted."""
        for name, readings in self.reader:
            for reading in readings:
                summary = self.sensors.get((name, reading.sensor))
                if summary is None:
                    at_ms = reading.measured_ms
                    summary = self.sensors[name, reading.sensor] = Summary(
                        reading.unit, at_ms, at_ms
                    )
                summary.add(reading)
            yield name, readings

    def check_assumed(self) -> None:
        """Check that temperatures without a unit were rightly assumed to be in °C.

        Raises:
            CannotImport: one is too warm for a room.
        """
        for value in self.plan.values:
            found = [one for (_, sensor), one in self.sensors.items() if sensor == value.sensor]
            least = min((one.least for one in found), default=0)
            greatest = max((one.greatest for one in found), default=0)
            is_assumed = value.unit_from == "name" and value.unit == "°C"
            if is_assumed and greatest > WARMEST_C and least <= WARMEST_F:
                name = clip(reference(self.plan.layout.columns, value.column))
                raise CannotImport(
                    f"{name!r} names no unit, and may be in °F, as it goes up to {greatest:g}: say"
                    f" --value '{name}={value.sensor}:°F' or '…:°C'"
                )


def span(summaries: Collection[Summary]) -> tuple[int, int]:
    """The first and the last time of several sensors."""
    return min(one.first_ms for one in summaries), max(one.last_ms for one in summaries)
