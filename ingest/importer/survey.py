"""What a file holds: how many readings of which sensor, from when to when, in which range."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from ingest.errors import CannotImport
from ingest.importer.columns import reference
from ingest.importer.numbers import MARKS
from ingest.importer.plan import WARMEST_C, Plan
from ingest.importer.rows import Reader
from ingest.importer.table import Refuse, Table
from ingest.importer.tally import Tally
from ingest.reading import Reading, clip

STEPS = 1_000  # of the first readings, from which the interval is told


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
