"""A file's rows, one by one, and the readings that its plan makes of them."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tmon.core.errors import CannotImport
from tmon.core.reading import EARLIEST_MS, Reading, Refusal, clip
from tmon.importer.cells import is_dated
from tmon.importer.clock import Clock
from tmon.importer.columns import plain
from tmon.importer.files import InputFile, csv_reader
from tmon.importer.layout import Layout
from tmon.importer.numbers import is_missing, is_number
from tmon.importer.plan import Plan
from tmon.importer.times import ORDERS, clock_of, numeric_date, orders_of

Refuse = Callable[[int, Refusal, Sequence[str]], None]


class Table:
    """The rows of a file, without blank lines, comments and repeated headers.

    ``stopped`` says where and why reading ended before the file did.
    """

    def __init__(self, file: InputFile, layout: Layout) -> None:
        self.file = file
        self.layout = layout
        self.stopped: str | None = None
        self.row_count = 0
        self._refused_line = 0
        self._header = [column.name for column in layout.columns]

    def rows(self, refuse: Refuse) -> Iterator[tuple[int, list[str]]]:
        """Each row's line number and cells; ``refuse`` is called for malformed rows."""
        lines = self.file.lines()
        start = self.layout.start
        for _ in range(start):
            next(lines, None)
        reader = csv_reader(lines, self.layout.delimiter)
        columns = len(self.layout.columns)
        while self.stopped is None:
            line = start + reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"{error}, up to line {start + reader.line_num}"
                refuse(line, Refusal("invalid_row", reason), ())
                continue
            if len(row) != columns and not self._fits(line, row, refuse):
                continue
            self.row_count += 1
            yield line, row

    def is_skipped(self, line: int, row: Sequence[str]) -> bool:
        """Whether a row without a reading is blank, a comment, or the header again.

        Another header ends the table.
        """
        cells = [plain(cell) for cell in row]
        filled = [cell for cell in cells if cell]
        if not filled or filled[0].startswith(("#", "//")):
            return True
        begins_table = self._refused_line == line - 1  # the line before is a title
        names = [*cells[: len(self._header)], *filter(None, cells[len(self._header) :])]
        if names == self._header[: len(names)] and not begins_table:
            return True
        if not self.layout.header_line or len(filled) < 2:
            return False
        for cell in filled:  # a column's name is none of these
            if is_missing(cell) or is_number(cell) or is_dated(cell) or clock_of(cell):
                return False
        self.stopped = f"line {line:,} begins another table: {clip(', '.join(filled))}"
        return True

    def _fits(self, line: int, row: list[str], refuse: Refuse) -> bool:
        if self.layout.fits(row):
            return True
        if row and not self.is_skipped(line, row):
            names = "the first line names" if self.layout.header_line == 1 else "the header names"
            reason = f"it has {len(row)} cells, and {names} {len(self._header)} columns"
            self._refused_line = line
            refuse(line, Refusal("invalid_row", reason), row)
        return False


@dataclass
class Notices:
    """Counts of unusual rows and cells, for the user to look at."""

    unlisted: Counter[str] = field(default_factory=Counter)  # rows of sensors without --sensor
    before_2000: int = 0
    missing: int = 0


class Reader:
    """Iterates over a table's rows as a node's name and its readings, indexed by line number.

    ``received_ms`` is this machine's clock. ``refuse`` is called for what can't be imported: the
    line, the reason, the sensor ("" for all), the number of readings, and the row.
    """

    def __init__(
        self,
        table: Table,
        plan: Plan,
        received_ms: int,
        refuse: Callable[[int, Refusal, str, int, Sequence[str]], None],
    ) -> None:
        self.notices = Notices()
        self._table = table
        self._plan = plan
        self._received_ms = received_ms
        self._refuse = refuse
        self._clocks: dict[tuple[str, str], Clock] = {}
        self._names: dict[str, str] = {}  # nodes' names by the text in their column
        self._read_cells = self._read_long if plan.long_table else self._read_wide
        self._column = " ".join(column.name for column in plan.times)

    @property
    def twice(self) -> Counter[str]:
        """The number of rows in hours that clocks showed twice, by their day."""
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
                if row != previous:  # a repeated row is of the same instant, not of the hour after
                    name = self._node(row)
                    measured_ms = self._measured_ms(line, name, row)
                    previous = row
            except Refusal as refusal:
                previous = []
                if refusal.code == "invalid_time" and self._table.is_skipped(line, row):
                    self._table.row_count -= 1
                else:
                    self._refuse_row(line, refusal, row)
                continue
            if measured_ms < EARLIEST_MS:
                self.notices.before_2000 += 1
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

    def _measured_ms(self, line: int, name: str, row: Sequence[str]) -> int:
        text = self._plan.time_of(row)
        try:
            read = self._plan.time_format.read(text, self._column)
        except Refusal:
            # A date in another order than the first ones: they may have been read wrongly.
            order, date = self._plan.time_format.order, numeric_date(text)
            if order and date and (orders := orders_of(*date)):
                others = " or ".join(ORDERS[one] for one in sorted(orders))
                raise CannotImport(
                    f"line {line:,}: {self._column} {clip(text)} contradicts {ORDERS[order]}, as"
                    f" the first dates have it, and is {others}: --time-format says which is right"
                ) from None
            raise
        table = self._plan.long_table  # in a long table, only one sensor's rows are in order
        key = (name, row[table.sensor_column.index].strip() if table else "")
        if isinstance(read, int) and 0 <= read < EARLIEST_MS and not self._plan.time_format.is_sure:
            raise Refusal(
                "implausible_time",
                f"{self._column} {clip(text)!r} is before 2000 as a Unix time; --time-format %s"
                " says that it is one",
            )
        if key not in self._clocks:
            self._clocks[key] = Clock(self._column, self._plan.zone, self._received_ms)
        return self._clocks[key].measured_ms(read, text)

    def _read_wide(self, line: int, row: Sequence[str], measured_ms: int) -> Iterator[Reading]:
        for value in self._plan.values:
            try:
                number, unit = value.read(row[value.column.index].strip())
                yield Reading(line, value.sensor, number, unit, measured_ms)
            except Refusal as refusal:
                self._refuse_cell(line, refusal, value.sensor, row)

    def _read_long(self, line: int, row: Sequence[str], measured_ms: int) -> Iterator[Reading]:
        table = self._plan.long_table
        assert table is not None  # noqa: S101 - it is called for long tables only
        text = row[table.sensor_column.index].strip()
        unit = row[table.unit_column.index].strip() if table.unit_column else None
        sensor = ""
        try:
            value = table.value_of(text)
            if value is None:
                self.notices.unlisted[clip(text)] += 1
                return
            sensor = value.sensor
            number, stored_unit = value.read(row[value.column.index].strip(), unit)
            value.check_room(number, text)
            yield Reading(line, sensor, number, stored_unit, measured_ms)
        except Refusal as refusal:
            self._refuse_cell(line, refusal, sensor, row)

    def _refuse_cell(self, line: int, refusal: Refusal, sensor: str, row: Sequence[str]) -> None:
        self.notices.missing += refusal.code == "missing_value"
        self._refuse(line, refusal, sensor, 1, row)
