"""What a file holds, sensor by sensor, and what became of its readings."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TextIO

from tmon.core.errors import CannotImport
from tmon.core.reading import Reading, Receipt, Refusal, clip
from tmon.importer.columns import reference
from tmon.importer.numbers import MARKS
from tmon.importer.plan import WARMEST_C, Plan
from tmon.importer.rows import Reader, Refuse, Table

STEPS = 1_000  # of the first readings, from which the interval is told
EXAMPLES = 3  # of each kind


class SampleTable(Table):
    """A table of the sample's rows alone."""

    def rows(self, refuse: Refuse) -> Iterator[tuple[int, list[str]]]:
        for row in self.layout.sample:
            if self._fits(row.line, row.cells, refuse):
                self.row_count += 1
                yield row.line, row.cells
            if self.stopped:
                return


@dataclass
class Summary:
    """One sensor's readings.

    ``marks`` are the values that often stand for no value; ``least`` and ``greatest`` are
    those of the others.
    """

    unit: str | None
    first_ms: int
    last_ms: int
    least: float = math.inf
    greatest: float = -math.inf
    count: int = 0
    marks: Counter[float] = field(default_factory=Counter)
    steps_ms: Counter[int] = field(default_factory=Counter)
    _previous_ms: int | None = None

    def add(self, reading: Reading) -> None:
        """Sum one reading up."""
        at, value = reading.measured_ms, reading.value
        if at < self.first_ms:
            self.first_ms = at
        elif at > self.last_ms:
            self.last_ms = at
        if value in MARKS:
            self.marks[value] += 1
        else:
            self.least = min(self.least, value)
            self.greatest = max(self.greatest, value)
        self.count += 1
        if self.count <= STEPS:
            if self._previous_ms is not None:
                self.steps_ms[abs(at - self._previous_ms)] += 1
            self._previous_ms = at

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest of all values."""
        return min(self.least, *self.marks, math.inf), max(self.greatest, *self.marks, -math.inf)

    @property
    def doubtful(self) -> dict[float, int]:
        """The marks that lie outside of the other values, and how often each is there."""
        return {
            mark: count
            for mark, count in self.marks.items()
            if not self.least <= mark <= self.greatest and (abs(mark) != 85 or self.unit == "°C")
        }

    @property
    def interval_ms(self) -> int | None:
        """The usual time from one reading to the next; None if there is no usual one."""
        steps = [step for step in self.steps_ms.elements() if step]
        return int(median(steps)) if steps else None


class Rejects:
    """Writes each refused row to a CSV file: its line, why, of which sensor, and its cells."""

    def __init__(self, to: TextIO, file: str) -> None:
        self._writer = csv.writer(to)
        self._file = file

    @staticmethod
    def begin(to: TextIO) -> None:
        """Write the header."""
        csv.writer(to).writerow(["file", "line", "code", "sensor", "reason", "cells"])

    def write(self, line: int, code: str, sensor: str, reason: str, row: Sequence[str]) -> None:
        """Write one row; what the store refused comes without its cells."""
        self._writer.writerow([self._file, line, code, sensor, reason, *row])


class Tally:
    """What became of each reading of a file."""

    def __init__(self, rejects: Rejects | None = None) -> None:
        self.stored = 0
        self.already_there = 0
        self.rejected: Counter[tuple[str, str]] = Counter()  # by code and sensor
        self.refused_by_store = 0
        self._rejects = rejects
        self._examples: dict[tuple[str, str], list[str]] = {}

    @property
    def is_good(self) -> bool:
        """Whether something was stored, or all that could be was there already."""
        return self.stored > 0 or (self.already_there > 0 and not self.refused_by_store)

    @property
    def conflicts(self) -> int:
        """How many have another value than the one that is stored for their time."""
        return sum(count for (code, _), count in self.rejected.items() if code == "conflict")

    def reject(
        self, line: int, refusal: Refusal, sensor: str, readings: int, row: Sequence[str]
    ) -> None:
        """Count what was refused in one line of the file."""
        self._reject((refusal.code, sensor), line, refusal.reason, readings)
        if self._rejects:
            self._rejects.write(line, refusal.code, sensor, refusal.reason, row)

    def add(self, receipt: Receipt) -> None:
        """Count what the store says; its indices are the file's line numbers."""
        self.stored += receipt.accepted
        self.already_there += receipt.duplicates
        self.refused_by_store += len(receipt.rejected)
        for told in receipt.rejected:
            sensor = told.sensor or ""
            self._reject((told.code, sensor), told.index, told.error, 1)
            if self._rejects:
                self._rejects.write(told.index, told.code, sensor, told.error, ())

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield f"stored         {self.stored:>11,}"
        yield f"already there  {self.already_there:>11,}"
        yield f"rejected       {self.rejected.total():>11,}"
        yield from self.kinds()

    def kinds(self) -> Iterator[str]:
        """Each kind of refusal, how many there are, and the first of them."""
        for kind, readings in self.rejected.most_common():
            first, *more = self._examples[kind]
            yield f"  {' '.join(kind).strip()}: {readings:,}, such as {first}"
            yield from (f"    {example}" for example in more)

    def _reject(self, kind: tuple[str, str], line: int, reason: str, readings: int) -> None:
        self.rejected[kind] += readings
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(f"line {line}: {reason}")


class Survey:
    """A file's readings, summed up while they are read; what was refused, and what was seen."""

    def __init__(
        self, table: Table, plan: Plan, received_ms: int, tally: Tally | None = None
    ) -> None:
        self.plan = plan
        self.table = table
        self.tally = tally or Tally()
        self.sensors: dict[tuple[str, str], Summary] = {}
        self.conflicts = 0  # readings for whose time there is another value already
        self.reader = Reader(table, plan, received_ms, self.tally.reject)

    @property
    def readings(self) -> int:
        """How many there are."""
        return sum(summary.count for summary in self.sensors.values())

    def portions(self) -> Iterator[tuple[str, list[Reading]]]:
        """Each row's readings and whose they are, once they are counted."""
        for name, readings in self.reader:
            for reading in readings:
                self._summary(name, reading).add(reading)
            yield name, readings

    def check_assumed(self) -> None:
        """Whether temperatures in a unit that nobody named can be in °C, all in all.

        Raises:
            CannotImport: one is above what a room has.
        """
        for value in self.plan.values:
            found = [one for (_, sensor), one in self.sensors.items() if sensor == value.sensor]
            greatest = max((one.greatest for one in found), default=0)
            if value.unit_from == "name" and value.unit == "°C" and greatest > WARMEST_C:
                name = clip(reference(self.plan.layout.columns, value.column))
                raise CannotImport(
                    f"{name!r} names no unit, and may be in °F, as it goes up to {greatest:g}: say"
                    f" --value '{name}={value.sensor}:°F' or '…:°C'"
                )

    def _summary(self, name: str, reading: Reading) -> Summary:
        summary = self.sensors.get((name, reading.sensor))
        if summary is None:
            summary = Summary(reading.unit, reading.measured_ms, reading.measured_ms)
            self.sensors[name, reading.sensor] = summary
        return summary


def span(summaries: Iterable[Summary]) -> tuple[int, int]:
    """The first and the last time of some sensors."""
    both: Sequence[Summary] = [*summaries]
    return min(one.first_ms for one in both), max(one.last_ms for one in both)
