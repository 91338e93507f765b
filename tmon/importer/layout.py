"""The layout of a file: its delimiter, its columns, and the lines of its header and first row."""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tmon.core.errors import CannotImport
from tmon.core.reading import clip
from tmon.importer.cells import is_below, is_data, is_dated, kind_of, uncommented
from tmon.importer.columns import Column, plain
from tmon.importer.files import SAMPLE_BYTES, InputFile, Row, split
from tmon.importer.flags import Flags
from tmon.importer.numbers import is_missing

SAMPLE_ROWS = 1_000  # of the head and of the tail each
HEADER_ROWS = 100  # the header is among them: loggers write some twenty lines before it
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|", " ": "blanks"}

_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """``header_line`` is 0 where there is no header, ``start`` the number of lines before the rows.

    ``titles`` are the lines before the header. A row must have ``width`` cells. Columns after
    them aren't imported and some rows lack them, such as a serial number in the first row only;
    ``beyond`` holds their texts. So a short row that ends in such a text lacks another cell.
    With ``ends_early``, rows of ``width`` cells are whole: only the first one has more.
    """

    delimiter: str
    columns: tuple[Column, ...]
    header_line: int
    start: int
    titles: tuple[str, ...]
    sample: tuple[Row, ...]  # of the head, then of the tail
    width: int
    beyond: frozenset[str] = frozenset()
    ends_early: bool = False

    def fits(self, cells: Sequence[str]) -> bool:
        """Whether a row has a cell for each needed column, and none after the last column."""
        if len(cells) < self.width or any(cell.strip() for cell in cells[len(self.columns) :]):
            return False
        if len(cells) >= _last_named(self.columns):
            return True
        last = cells[self.width - 1].strip()
        may_be_text = self.ends_early and len(cells) == self.width
        return last not in self.beyond and (may_be_text or kind_of(last) != "text")

    def rows(self) -> Iterator[list[str]]:
        """The sample's rows that fit, filled up to a cell for each column."""
        for row in self.sample:
            if self.fits(row.cells):
                yield row.cells + [""] * (len(self.columns) - len(row.cells))

    def cells_of(self, column: Column) -> list[str]:
        """A column's cells in the sample, without those for a missing value."""
        cells = (row[column.index] for row in self.rows())
        return [cell for cell in cells if not is_missing(cell)]

    def mostly(self, column: Column, holds: Callable[[str], bool]) -> bool:
        """Whether ``holds`` is true for at least half of a column's first cells."""
        cells = self.cells_of(column)[:200]
        return bool(cells) and 2 * sum(map(holds, cells)) >= len(cells)


def _last_named(columns: Sequence[Column]) -> int:
    """The number of columns up to the last one with a name."""
    return max((column.index + 1 for column in columns if column.name), default=0)


def _needed_width(
    columns: Sequence[Column], sample: Sequence[Row], wanted: Container[str]
) -> tuple[int, frozenset[str], bool]:
    """How many cells a row must have, the texts in the named columns after them, ``ends_early``.

    Those are columns at the end that no flag names and that hold no readings: words, or the
    same number throughout under a name such as ``serial``; or what the first row alone has, if
    one of its columns is like that. Otherwise short rows may lack any cell.
    """
    width = _last_named(columns)
    full = [row.cells for row in sample if len(row.cells) >= width]
    others = Counter(len(row.cells) for row in sample[1:])
    usual = max(others, key=lambda one: others[one], default=width)
    if (
        1 < others[usual] >= others.total() / 2
        and usual == max(others) < width <= len(sample[0].cells)
        and not any(column.name in wanted for column in columns[usual:])
        and any(_is_setting(one, full) for one in columns[usual:width])
    ):
        return usual, frozenset(full[0][usual:]) - {""}, True
    beyond: set[str] = set()
    while width > 1 and columns[width - 1].name not in wanted:
        if not _is_setting(columns[width - 1], full):
            break
        width -= 1
        beyond |= {cells[width] for cells in full} - {""}
    return width, frozenset(beyond), False


def _is_setting(column: Column, rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds words, or one number under a name such as ``serial``."""
    texts = {cells[column.index] for cells in rows} - {""}
    are_words = all(kind_of(text) == "text" for text in texts)
    return bool(texts) and (are_words or (column.is_not_measured and len(texts) == 1))


def find_layout(file: InputFile, flags: Flags) -> Layout:
    """Detect a file's layout.

    Raises:
        CannotImport: it has no rows, or no header and no --no-header.
    """
    lines, characters = [], 0
    for line in islice(file.lines(), 4 * SAMPLE_ROWS):
        characters += len(line)
        if characters > SAMPLE_BYTES:
            break
        lines.append(line)
    skip, delimiter = flags.skip, flags.delimiter
    if len(lines) > skip and (sep := _SEP.fullmatch(lines[skip])):
        skip, delimiter = skip + 1, delimiter or sep[1]
    candidates = [
        _Candidate(lines[skip:], sign, skip, flags)
        for sign in ([delimiter] if delimiter else DELIMITERS)
    ]
    best = max(candidates, key=lambda candidate: candidate.fitness)
    if not best.rows:
        raise CannotImport(f"{file.name}: the file is empty, or all of it is skipped")
    tail = islice(reversed([*split(file.tail(), best.delimiter)]), SAMPLE_ROWS)
    return best.layout(file.name, [*tail][::-1])


class _Candidate:
    """The head of a file, split by one delimiter."""

    def __init__(self, lines: Sequence[str], delimiter: str, skip: int, flags: Flags) -> None:
        self.delimiter = delimiter
        self.rows = [*islice(split(lines, delimiter, skip), SAMPLE_ROWS)]
        self._skip = skip
        self._flags = flags
        self._first_rows = self.rows[:HEADER_ROWS]
        self._wanted = {
            plain(name).split("#")[0] if "#" in name[1:] else plain(name) for name in flags.columns
        }
        self._body = self._first_body_row()

    @property
    def fitness(self) -> tuple[int, int, int, int]:
        """How well the delimiter fits: by columns that flags name, by times, by numbers."""
        named = max((self._named(row) for row in self._first_rows), default=0)
        body = self._first_rows[-1:] if self._body is None else self.rows[self._body :][:1]
        cells = [cell for row in body for cell in row.cells]
        kinds = [*map(kind_of, cells)]
        values = kinds.count("number") + kinds.count("missing")
        odd = kinds.count("text") + 3 * sum(";" in cell or "\t" in cell for cell in cells)
        width = max((len(row.cells) for row in self._first_rows), default=0)
        is_whole = "time" in kinds and "number" in kinds
        return (
            named if self._flags.has_header else 0,
            is_whole,
            values - odd if is_whole or self._body is None else 0,
            min(width, 2),
        )

    def layout(self, name: str, tail: Sequence[Row]) -> Layout:
        if not self._flags.has_header:
            width = Counter(len(row.cells) for row in self.rows).most_common(1)[0][0]
            columns = tuple(Column(index, str(index + 1)) for index in range(width))
            return Layout(self.delimiter, columns, 0, self._skip, (), (*self.rows, *tail), width)
        place = self._header_row()
        header = self.rows[place]
        start = place + 1
        while start < len(self.rows) and is_below(self.rows[start].cells):
            start += 1
        below = self.rows[place + 1].cells if start > place + 1 else []
        end = self.rows[start - 1].end
        titles = tuple(" ".join(row.cells) for row in self.rows[:place])
        self._check_header(name, header)
        sample = tuple(
            row
            for row in (*self.rows[start:], *tail)
            if row.cells != header.cells
            and (not row.cells[0].startswith(("#", "//")) or any(map(is_dated, row.cells)))
        )
        columns = self._columns(place, below)
        needed = _needed_width(columns, sample, self._wanted)
        return Layout(self.delimiter, columns, header.line, end, titles, sample, *needed)

    def _first_body_row(self) -> int | None:
        """The first row with a time in the column in which most rows have one."""
        places = Counter(
            place
            for row in self._first_rows
            for place, cell in enumerate(row.cells)
            if len(row.cells) > 1 and is_dated(cell)
        )
        if not places:
            return None
        most = max(places.values())
        place = min(place for place, count in places.items() if count == most)
        rows = [
            number
            for number, row in enumerate(self._first_rows)
            if len(row.cells) > max(place, 1) and is_dated(row.cells[place])
        ]
        rows = self._below_settings(rows)
        widths = [len(row.cells) for row in self._first_rows]
        width = Counter(widths[number] for number in rows).most_common(1)[0][0]
        below_names = (n for n in rows if n and n - 1 not in rows and widths[n - 1] >= width - 1)
        usual = next(number for number in rows if widths[number] == width)
        return min(next(below_names, usual), usual)

    def _below_settings(self, rows: list[int]) -> list[int]:
        """Rows with times, without settings such as ``Start,2023-07-04`` before the header.

        A setting has a text where most rows have a number, and names come after it.
        """
        kinds = [[*map(kind_of, row.cells)] for row in self._first_rows]
        places = Counter(
            place for number in rows for place, kind in enumerate(kinds[number]) if kind == "number"
        )
        usual = [place for place, count in places.items() if 2 * count >= len(rows)]
        whole = [n for n in rows if all(kinds[n][place : place + 1] != ["text"] for place in usual)]
        between = kinds[rows[0] : whole[0]] if whole else []
        has_names = any(len(row) > 1 and {*row} == {"text"} for row in between)
        return whole if has_names else rows

    def _header_row(self) -> int:
        named = [self._named(row) for row in self._first_rows]
        if self._wanted and max(named) > 0 and max(named) >= min(2, len(self._wanted)):
            return named.index(max(named))
        if self._body is None:
            wide = [number for number, row in enumerate(self._first_rows) if len(row.cells) > 1]
            return wide[0] if wide else 0
        place = max(self._body - 1, 0)
        while place and (is_below(self.rows[place].cells) or len(self.rows[place].cells) < 2):
            place -= 1
        above = [row.cells for row in self.rows[:place]]
        while above and is_data(self.rows[place].cells) and len(above[-1]) > 1:
            if not is_data(above.pop()):  # rows without a time, such as 0000-00-00, come first
                return len(above)
            place -= 1
        return place

    def _named(self, row: Row) -> int:
        return len(self._wanted & {plain(cell) for cell in uncommented(row.cells)})

    def _check_header(self, name: str, header: Row) -> None:
        body = header if self._body is None else self.rows[self._body]
        is_title = len(header.cells) == 1 < len(body.cells)
        if not self._wanted and (is_title or any(is_dated(cell) for cell in header.cells)):
            example = ", ".join(f"{n}: {clip(cell)}" for n, cell in enumerate(body.cells[:4], 1))
            maybe = "; or does --delimiter say what parts its cells?" if is_title else ""
            raise CannotImport(
                f"{name} has no header: line {body.line} holds a time ({example}); --no-header"
                f" names columns by number, as in --time 1 --value 2=temperature:°C{maybe}"
            )
        if any("\N{REPLACEMENT CHARACTER}" in cell for cell in header.cells):
            shown = clip(", ".join(header.cells))
            raise CannotImport(
                f"{name}: the header isn't in this encoding ({shown}); --encoding says which"
            )

    def _columns(self, place: int, below: Sequence[str]) -> tuple[Column, ...]:
        cells = uncommented(self.rows[place].cells)
        above = self.rows[place - 1].cells if place else []
        if len(above) != len(cells) or above[0] or not any(above):
            above = []
        return tuple(
            Column(
                index,
                plain(cell),
                above[index] if above else "",
                below[index].strip("[]()") if index < len(below) else "",
            )
            for index, cell in enumerate(cells)
        )
