"""What `tmon compare` found: which rows differ, of which sensor and day."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tmon.core.time import DAY_MS
from tmon.maintenance.compare_stations import Row
from tmon.maintenance.compare_tables import Key, Part

Rows = tuple[list[Row], list[Row]]  # of A and of B

PLACES = 20  # sensors' days that are listed
EXAMPLES = 5  # rows of each table


@dataclass
class Counts:
    """How many rows differ."""

    only_in_a: int = 0
    only_in_b: int = 0
    other_values: int = 0

    @property
    def total(self) -> int:
        return self.only_in_a + self.only_in_b + self.other_values

    def add(self, ours: object, theirs: object) -> None:
        """Count one row that differs; None where a station doesn't have it."""
        self.only_in_a += theirs is None
        self.only_in_b += ours is None
        self.other_values += ours is not None and theirs is not None


class Place(NamedTuple):
    """A sensor's UTC day."""

    sensor: int
    day_ms: int


class Example(NamedTuple):
    """A row that differs: its key, and the columns that differ; None: the row isn't there."""

    key: Key
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | None


@dataclass
class TableDifference:
    """The rows of a table that differ: the first of them, and how many there are."""

    key: tuple[str, ...]
    counts: Counts = field(default_factory=Counts)
    places: dict[Place, Counts] = field(default_factory=dict)
    more_places: int = 0
    examples: list[Example] = field(default_factory=list)
    last_place: Place | None = None


@dataclass
class Comparison:
    """The result of comparing two stations, A and B.

    ``lag`` is how many messages of the stream each has yet to store, if they differ.
    """

    names: list[str]
    until_ms: int
    equal_rows: dict[str, int] = field(default_factory=dict)
    differences: dict[str, TableDifference] = field(default_factory=dict)
    pruned: int = 0  # sensors
    lag: list[int] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def count_equal(self, table: str, rows: int) -> None:
        self.equal_rows[table] = self.equal_rows.get(table, 0) + rows

    def sensors(self) -> set[int]:
        """The sensors of the places and examples of readings."""
        found = self.differences.get("readings")
        if found is None:
            return set()
        examples = {int(example.key[0]) for example in found.examples}
        return examples | {place.sensor for place in found.places}

    def add(self, part: Part, rows: Rows, before: Rows | None) -> None:
        """Count the rows of a part that differ; parts come in the order of their keys.

        Args:
            part: which one.
            rows: those of both stations; the last column is a checksum.
            before: the same a while ago. If given, a row that was in another state is left out.
        """
        was = None if before is None else dict(_states(part, before))
        for key, (ours, theirs) in sorted(_states(part, rows)):
            if ours and theirs and ours[-1] == theirs[-1]:
                self.count_equal(part.table.name, 1)
            elif was is None or was.get(key) == (ours, theirs):
                self._add_row(part, key, ours, theirs)

    def _add_row(self, part: Part, key: Key, ours: Row | None, theirs: Row | None) -> None:
        found = self.differences.setdefault(part.table.name, TableDifference(part.table.key))
        found.counts.add(ours, theirs)
        if part.table.name == "readings":
            _count_place(found, key, ours, theirs)
        if len(found.examples) < EXAMPLES:
            found.examples.append(_example(part.table.others, key, ours, theirs))


def _states(part: Part, rows: Rows) -> Iterator[tuple[Key, tuple[Row | None, Row | None]]]:
    """Each key, and its row in either station; None if it isn't there."""
    width = len(part.table.key)
    ours, theirs = ({row[:width]: row[width:] for row in side} for side in rows)
    for key in {*ours, *theirs}:
        yield key, (ours.get(key), theirs.get(key))


def _count_place(found: TableDifference, key: Key, ours: object, theirs: object) -> None:
    sensor, measured_ms = map(int, key)
    place = Place(sensor, measured_ms // DAY_MS * DAY_MS)
    if place != found.last_place:
        found.last_place = place
        if len(found.places) == PLACES:
            found.more_places += 1
        else:
            found.places[place] = Counts()
    if not found.more_places:
        found.places[place].add(ours, theirs)


def _example(columns: tuple[str, ...], key: Key, ours: Row | None, theirs: Row | None) -> Example:
    if ours is None or theirs is None:
        a, b = (dict(zip(columns, row, strict=False)) if row else None for row in (ours, theirs))
        return Example(key, a, b)
    different = [n for n in range(len(columns)) if repr(ours[n]) != repr(theirs[n])]
    a, b = ({columns[n]: row[n] for n in different} for row in (ours, theirs))
    return Example(key, a, b)
