"""A file's rows, one after the other, from the first reading to the last."""

import csv
from collections.abc import Callable, Iterator, Sequence

from ingest.importer.columns import plain
from ingest.importer.files import InputFile
from ingest.importer.layout import Layout, csv_reader, is_dated
from ingest.importer.numbers import is_missing, is_number
from ingest.importer.times import clock_of
from ingest.reading import Refusal, clip

Refuse = Callable[[int, Refusal, Sequence[str]], None]


class Table:
    """The rows of a file; blank lines, comments and repeated headers are passed over.

    ``stopped`` says where reading ended before the file did, and why.
    """

    def __init__(self, file: InputFile, layout: Layout) -> None:
        self.file = file
        self.layout = layout
        self.stopped: str | None = None
        self.row_count = 0
        self._refused_line = 0
        self._header = [column.name for column in layout.columns]

    def rows(self, refuse: Refuse) -> Iterator[tuple[int, list[str]]]:
        """Each row's line number and its cells; ``refuse`` hears of those of another shape."""
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
                refuse(
                    line,
                    Refusal("invalid_row", f"{error}, up to line {start + reader.line_num}"),
                    (),
                )
                continue
            if len(row) != columns and not self._fits(line, row, refuse):
                continue
            self.row_count += 1
            yield line, row

    def is_passed_over(self, line: int, row: Sequence[str]) -> bool:
        """Whether a row that is no reading is blank, a comment, or a header once more.

        Another header than the first ends the table.
        """
        cells = [plain(cell) for cell in row]
        filled = [cell for cell in cells if cell]
        if not filled or filled[0].startswith(("#", "//")):
            return True
        begins_table = self._refused_line == line - 1  # a line with a title stands before it
        if cells[: len(self._header)] == self._header[: len(cells)] and not begins_table:
            return True
        if not self.layout.header_line or len(filled) < 2 or any(map(_is_typed, filled)):
            return False
        self.stopped = f"line {line:,} begins another table: {clip(', '.join(filled))}"
        return True

    def _fits(self, line: int, row: list[str], refuse: Refuse) -> bool:
        if self.layout.fits(row):
            return True
        if row and not self.is_passed_over(line, row):
            names = "the first line names" if self.layout.header_line == 1 else "the header names"
            reason = f"it has {len(row)} cells, and {names} {len(self._header)} columns"
            self._refused_line = line
            refuse(line, Refusal("invalid_row", reason), row)
        return False


def _is_typed(cell: str) -> bool:
    """Whether a cell is a time, a number, or says that there is none: no column's name."""
    return is_missing(cell) or is_number(cell) or is_dated(cell) or bool(clock_of(cell))
