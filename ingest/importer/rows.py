"""A file's rows as readings, by its plan."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ingest.errors import CannotImport
from ingest.importer.clock import Clock
from ingest.importer.plan import Plan
from ingest.importer.table import Table
from ingest.importer.times import ORDERS, numeric_date, orders_of
from ingest.reading import EARLIEST_MS, Reading, Refusal, clip


@dataclass
class Seen:
    """What was noticed of a file's rows while they were read."""

    unlisted: Counter[str] = field(default_factory=Counter)
    before_2000: int = 0
    missing: int = 0


class Reader:
    """A table's rows as readings: the node's name, and what it read; indices are line numbers.

    ``received_ms`` is our clock. ``refuse`` hears of what is no reading: the line, why, of
    which sensor (all of them: ""), how many values that is, and the row.
    """

    def __init__(
        self,
        table: Table,
        plan: Plan,
        received_ms: int,
        refuse: Callable[[int, Refusal, str, int, Sequence[str]], None],
    ) -> None:
        self.seen = Seen()
        self._table = table
        self._plan = plan
        self._received_ms = received_ms
        self._refuse = refuse
        self._clocks: dict[tuple[str, str], Clock] = {}
        self._names: dict[str, str] = {}  # nodes' names by the text in their column
        self._read_cells = self._read_long if plan.rows else self._read_wide
        self._column = " ".join(column.name for column in plan.times)

    @property
    def twice(self) -> Counter[str]:
        """How many rows are in an hour that clocks showed twice, by its day."""
        days: Counter[str] = Counter()
        for clock in self._clocks.values():
            days.update(clock.twice)
        return days

    def __iter__(self) -> Iterator[tuple[str, list[Reading]]]:
        previous: list[str] = []
        name = ""
        measured_ms = 0
        for line, row in self._table.rows(self._refuse_row):
            try:
                if row != previous:  # the same row again is of the same moment
                    name = self._node(row)
                    measured_ms = self._measured_ms(line, name, row)
                    previous = row
            except Refusal as refusal:
                previous = []
                if refusal.code == "invalid_time" and self._table.is_passed_over(line, row):
                    self._table.row_count -= 1
                else:
                    self._refuse_row(line, refusal, row)
                continue
            if measured_ms < EARLIEST_MS:
                self.seen.before_2000 += 1
            yield name, [*self._read_cells(line, row, measured_ms)]

    def _refuse_row(self, line: int, refusal: Refusal, row: Sequence[str]) -> None:
        self._refuse(line, refusal, "", max(len(self._plan.values), 1), row)

    def _node(self, row: Sequence[str]) -> str:
        column = self._plan.nodes.column
        if column is None:
            return self._plan.nodes.node or ""
        text = row[column.index].strip()
        if text not in self._names:
            name = self._plan.nodes.name_of(text)
            if name in self._names.values():
                raise Refusal(
                    "invalid_node",
                    f"{clip(text)!r} would be {name} as well; --node-map says what else",
                )
            self._names[text] = name
        return self._names[text]

    def _check_order(self, line: int, text: str) -> None:
        """Whether a date can't be in the order that the first ones showed, but in another one."""
        order, date = self._plan.time_format.order, numeric_date(text)
        if order and date and (orders := orders_of(*date)):
            others = " or ".join(ORDERS[one] for one in sorted(orders))
            raise CannotImport(
                f"line {line:,}: {self._column} {clip(text)} contradicts {ORDERS[order]}, as the"
                f" first dates have it, and is {others}:"
                " --time-format says which is right"
            )

    def _measured_ms(self, line: int, name: str, row: Sequence[str]) -> int:
        text = self._plan.time_of(row)
        try:
            read = self._plan.time_format.read(text, self._column)
        except Refusal:
            self._check_order(line, text)
            raise
        rows = self._plan.rows  # each sensor's own rows follow each other in time
        key = (name, row[rows.sensor_column.index].strip() if rows else "")
        if isinstance(read, int) and 0 <= read < EARLIEST_MS and not self._plan.time_format.is_sure:
            raise Refusal(
                "implausible_time",
                f"{self._column} {clip(text)!r} is before 2000 as a Unix time; --time-format %s"
                " says that it is one",
            )
        clock = self._clocks.get(key)
        if clock is None:
            clock = self._clocks[key] = Clock(self._column, self._plan.zone, self._received_ms)
        return clock.measured_ms(read, text)

    def _read_wide(self, line: int, row: Sequence[str], measured_ms: int) -> Iterator[Reading]:
        for value in self._plan.values:
            try:
                number, unit = value.read(row[value.column.index].strip())
                yield Reading(line, value.sensor, number, unit, measured_ms)
            except Refusal as refusal:
                self._refuse_cell(line, refusal, value.sensor, row)

    def _read_long(self, line: int, row: Sequence[str], measured_ms: int) -> Iterator[Reading]:
        rows = self._plan.rows
        assert rows is not None  # noqa: S101 - only then is this called
        text = row[rows.sensor_column.index].strip()
        unit = row[rows.unit_column.index].strip() if rows.unit_column else None
        sensor = ""
        try:
            value = rows.value_of(text)
            if value is None:
                self.seen.unlisted[clip(text)] += 1
                return
            sensor = value.sensor
            number, stored_unit = value.read(row[value.column.index].strip(), unit)
            value.check_room(number, text)
            yield Reading(line, sensor, number, stored_unit, measured_ms)
        except Refusal as refusal:
            self._refuse_cell(line, refusal, sensor, row)

    def _refuse_cell(self, line: int, refusal: Refusal, sensor: str, row: Sequence[str]) -> None:
        self.seen.missing += refusal.code == "missing_value"
        self._refuse(line, refusal, sensor, 1, row)
