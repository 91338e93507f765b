"""CSV files, as other loggers write them: whose columns mean what, row by row."""

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Self
from zoneinfo import ZoneInfo

from ingest.errors import TmonError
from ingest.importer.times import Clock
from ingest.reading import Reading, Refusal, check_node_name, check_sensor_name, clip
from ingest.units import canonical, check_value

HEADER_LIMIT = 64 * 1024  # characters; what is no text at all may have no end of line
MISSING = frozenset(("", "-", "na", "n/a", "nan", "null", "none"))


class CannotImport(TmonError):
    """The file isn't what was said of it, or the database takes no more; says which."""

    code = "cannot_import"


@dataclass(frozen=True)
class Series:
    """A column of values: the sensor whose history it is, and the unit as written."""

    column: str
    sensor: str
    unit: str | None

    @classmethod
    def read(cls, text: str) -> Self:
        """What ``COL=sensor:unit`` or ``COL=sensor`` says.

        Raises:
            CannotImport: it says no such thing.
        """
        column, equals, meaning = text.rpartition("=")
        sensor, unit = meaning.rsplit(":", 1) if ":" in meaning else (meaning, "")
        if not equals:
            raise CannotImport(f"--value {clip(text)!r} must be like 'temp=temperature:°C'")
        try:
            canonical(0.0, unit)
            return cls(column.strip(), check_sensor_name(sensor), unit or None)
        except Refusal as refusal:
            raise CannotImport(f"--value {clip(text)!r}: {refusal.reason}") from None


@dataclass(frozen=True)
class Recipe:
    """What a file's columns mean: whose readings, when, in which zone, and of what."""

    node: str | None
    node_column: str | None
    time: str
    zone: tzinfo
    series: tuple[Series, ...]

    @classmethod
    def read(
        cls, node: str | None, node_column: str | None, time: str, tz: str, values: tuple[str, ...]
    ) -> Self:
        """The recipe that the flags write.

        Raises:
            CannotImport: no such zone, no possible node, or a bad ``--value``.
        """
        try:
            node = node and check_node_name(node)
        except Refusal as refusal:
            raise CannotImport(refusal.reason) from None
        series = tuple(Series.read(value) for value in values)
        for sensor, times in Counter(one.sensor for one in series).items():
            if times > 1:
                raise CannotImport(f"{times} columns are to be {sensor}; give each its own sensor")
        return cls(node, node_column, time, _zone(tz), series)

    @property
    def columns(self) -> list[str]:
        """The time's, each value's, and the node's if it has one: cells come in that order."""
        node = [] if self.node_column is None else [self.node_column]
        return [self.time, *(one.column for one in self.series), *node]


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CannotImport(f"--tz {clip(name)!r} is no zone; say it like Europe/Berlin") from None


class Table:
    """A CSV file with a header, streamed: UTF-8; commas, semicolons or tabs, as the header has."""

    def __init__(self, file: BinaryIO, recipe: Recipe) -> None:
        self.size_bytes = os.fstat(file.fileno()).st_size  # of a pipe: 0
        self._file = file
        self._told_bytes = 0
        self._text = io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="")
        header = self._text.readline(HEADER_LIMIT)
        self._delimiter = max(",;\t", key=lambda mark: _fitness(header, mark, recipe.columns))
        self._columns = _cells(header, self._delimiter)
        self._check_header(recipe.columns)
        places = [self._columns.index(column) for column in recipe.columns]
        self._least, self._pick = max(places) + 1, itemgetter(*places)

    def rows(self, refuse: Callable[[int, Refusal], None]) -> Iterator[tuple[int, list[str]]]:
        """Each row's line number and the recipe's cells; ``refuse`` hears of unfit rows."""
        reader = csv.reader(self._text, delimiter=self._delimiter, strict=True)
        while True:
            line = reader.line_num + 2  # the header is line 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                refuse(line, Refusal("invalid_row", f"{error}, up to line {reader.line_num + 1}"))
                continue
            if len(row) < self._least or any(map(str.strip, row[len(self._columns) :])):
                if row:
                    refuse(line, self._unfit(row))
                continue
            yield line, [cell.strip() for cell in self._pick(row)]

    def number(self, text: str) -> float:
        """``text`` as a number: a file with semicolons may have decimal commas.

        Raises:
            ValueError: it is none.
        """
        if not text.isascii() or "_" in text:  # which Python's own numbers may have
            raise ValueError(text)
        return float(text.replace(",", ".") if self._delimiter == ";" else text)

    def progress_bytes(self) -> int:
        """How much of the file was read since this was last asked."""
        before, self._told_bytes = self._told_bytes, self._file.tell() if self.size_bytes else 0
        return self._told_bytes - before

    def _check_header(self, wanted: list[str]) -> None:
        if not any(self._columns):
            raise CannotImport("the file is empty, or its first line is; that must name columns")
        shown = clip(", ".join(self._columns))
        if any("\N{REPLACEMENT CHARACTER}" in column for column in self._columns):
            raise CannotImport(f"the file isn't UTF-8; save it as that (its columns: {shown})")
        for column in wanted:
            if self._columns.count(column) != 1:
                many = "several columns are" if column in self._columns else "no column is"
                raise CannotImport(f"{many} called {clip(column)!r}; the first line names: {shown}")

    def _unfit(self, row: list[str]) -> Refusal:
        reason = f"it has {len(row)} cells, and the first line names {len(self._columns)} columns"
        return Refusal("invalid_row", reason)


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _fitness(header: str, delimiter: str, wanted: list[str]) -> tuple[int, int]:
    columns = _cells(header, delimiter)
    return len({*wanted} & {*columns}), len(columns)


@contextmanager
def open_table(path: str, recipe: Recipe) -> Iterator[Table]:
    """The CSV file at ``path``; of ``-``, the one on standard input.

    Raises:
        CannotImport: it can't be read, or has not the recipe's columns.
    """
    try:
        file = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115 - see below
    except OSError as error:
        raise CannotImport(f"{path}: {error.strerror}") from None
    with file:
        yield Table(file, recipe)


@dataclass(frozen=True)
class Reader:
    """A table's rows as readings: the node's name, and what it read; indices are line numbers.

    ``received_ms`` is our clock. ``refuse`` hears of what is no reading: the line,
    why, of which sensor (all of them: ""), and how many values that is.
    """

    table: Table
    recipe: Recipe
    received_ms: int
    refuse: Callable[[int, Refusal, str, int], None]

    def __iter__(self) -> Iterator[tuple[str, list[Reading]]]:
        clocks: dict[str, Clock] = {}
        for line, cells in self.table.rows(self._refuse_row):
            time, *texts = cells
            name = self.recipe.node or texts.pop()
            try:
                clock = clocks.get(name) or clocks.setdefault(name, self._clock(name))
                yield name, [*self._values(line, texts, clock.measured_ms(time))]
            except Refusal as refusal:
                self._refuse_row(line, refusal)

    def _refuse_row(self, line: int, refusal: Refusal) -> None:
        self.refuse(line, refusal, "", len(self.recipe.series))

    def _clock(self, node: str) -> Clock:
        check_node_name(node)
        return Clock(self.recipe.time, self.recipe.zone, self.received_ms)

    def _values(self, line: int, texts: list[str], measured_ms: int) -> Iterator[Reading]:
        for series, text in zip(self.recipe.series, texts, strict=True):
            try:
                value, unit = canonical(self._number(series.column, text), series.unit)
                check_value(value, unit)
                yield Reading(line, series.sensor, value, unit, measured_ms)
            except Refusal as refusal:
                self.refuse(line, refusal, series.sensor, 1)

    def _number(self, column: str, text: str) -> float:
        if text.lower() in MISSING:
            raise Refusal("missing_value", f"{column} is {clip(text) or 'empty'}")
        try:
            return self.table.number(text)
        except ValueError:
            raise Refusal("invalid_value", f"{column} {clip(text)!r} is not a number") from None
