"""``tmon import``: another logger's CSV file, through the same checks and the same insert."""

import csv
import io
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from operator import itemgetter
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, Self, TypeVar
from zoneinfo import ZoneInfo

from sqlite_utils import Database

from ingest import nodes
from ingest.errors import TmonError
from ingest.reading import (
    AHEAD_MS,
    Batch,
    Node,
    Reading,
    Receipt,
    Refusal,
    canonical,
    check_sensor_name,
    check_value,
    clip,
    is_node_name,
)
from ingest.schema import sqlite3
from ingest.store import Store

HEADER_LIMIT = 64 * 1024  # characters; what is no text at all may have no end of line
NODE_NAME = "must be 1 to 64 ASCII letters, digits or _ - :, beginning with a letter or digit"
MISSING = frozenset(("", "-", "na", "n/a", "nan", "null", "none"))

# Numbers that are surely Unix times: less would be a year, a day like 20130704, or
# seconds since the logger's start; between them lie minutes like 201307041200.
UNIX_S_FROM, UNIX_S_TO = 1e8, 1e11  # 1973 on
UNIX_MS_FROM = 2.1e11  # August 1976 on
YEAR_1_MS = -62_135_596_800_000  # no calendar of Python's or SQLite's goes further

HOLD_S = 0.02  # what a transaction is to take; a live server bears 50 ms
READINGS_AT_FIRST = 500
READINGS_AT_LEAST = 100  # on a slow card the sync takes the time, not the readings
READINGS_AT_MOST = 10_000
SMOOTHING = 0.5  # now and then a checkpoint makes one commit look slow

# SQLite's busy handler looks again after 1, 2, 5, 10, 15, 20 ms: steps no longer than it
# has waited. So a gap a little longer than the transaction before it lets every waiter in.
GAP_PER_HOLD = 1.2
GAP_AT_MOST_S = 0.025
PATIENCE_S = 60.0  # with who holds the lock; another import leaves gaps as this one does

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

T = TypeVar("T")


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
        if node is not None and not is_node_name(node):
            raise CannotImport(f"--node {clip(node)!r} {NODE_NAME}")
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
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise Refusal(
                "invalid_time",
                f"{self._column} {clip(text)!r} must be like 2013-07-04 12:00, Unix seconds or ms",
            ) from None
        return self._local_ms(moment) if moment.tzinfo is None else _unix_ms(moment)

    def _local_ms(self, moment: datetime) -> int:
        """Where the clocks went back: the one that goes on from the row before it."""
        early_ms, late_ms = (
            _unix_ms(moment.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1)
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


def _unix_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


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
        if not is_node_name(node):
            raise Refusal("invalid_node", f"node {clip(node)!r} {NODE_NAME}")
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


class Tally:
    """What became of each reading of a file."""

    def __init__(self) -> None:
        self.stored = 0
        self.already_there = 0
        self.rejected: Counter[tuple[str, str]] = Counter()  # by code and sensor
        self._examples: dict[tuple[str, str], str] = {}

    def reject(self, line: int, refusal: Refusal, sensor: str, readings: int) -> None:
        """Count what was refused in one line of the file."""
        self._reject((refusal.code, sensor), f"line {line}: {refusal.reason}", readings)

    def add(self, receipt: Receipt) -> None:
        """Count what the store says; its indices are the file's line numbers."""
        self.stored += receipt.accepted
        self.already_there += receipt.duplicates
        for told in receipt.rejected:
            self._reject((told.code, told.sensor or ""), f"line {told.index}: {told.error}", 1)

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield f"stored         {self.stored:>11,}"
        yield f"already there  {self.already_there:>11,}"
        yield f"rejected       {self.rejected.total():>11,}"
        for kind, readings in self.rejected.most_common():
            yield f"  {' '.join(kind).strip()}: {readings:,}, such as {self._examples[kind]}"

    def _reject(self, kind: tuple[str, str], example: str, readings: int) -> None:
        self.rejected[kind] += readings
        self._examples.setdefault(kind, example)


class Turns:
    """Owns the database for an import, and takes turns with who else writes to it.

    Transactions take about 20 ms, however fast the disk is, and between two of
    them there is time for another writer.
    """

    def __init__(self, db: Database, patience_s: float = PATIENCE_S) -> None:
        self.readings = READINGS_AT_FIRST  # to hand over in one turn
        self._db = db
        self._patience_s = patience_s
        self._began_s = self._ended_s = monotonic()
        self._store = Store(db, keep_rejected=False, on_foreign_change=self._lock_taken)
        self._nodes: dict[str, Node] = {}

    def store(self, waiting: dict[str, list[Reading]], received_ms: int) -> list[Receipt]:
        """Store readings by their nodes' names; nodes are made where there are none.

        Raises:
            CannotImport: the database takes no more; what was stored before stays.
        """
        batches = [
            Batch(self._node(name), received_ms, readings)
            for name, readings in waiting.items()
            if readings
        ]
        receipts = self._turn(lambda: self._store.commit(batches))
        self._resize(sum(map(len, waiting.values())))
        return receipts

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            known = self._turn(lambda: nodes.find_or_make(self._db, name))
            self._nodes[name] = Node(known.uid, known.name, name)
        return self._nodes[name]

    def _turn(self, write: Callable[[], T]) -> T:
        gap_s = min(GAP_PER_HOLD * (self._ended_s - self._began_s), GAP_AT_MOST_S)
        sleep(max(0.0, self._ended_s + gap_s - monotonic()))
        result = self._patiently(write)
        self._ended_s = monotonic()
        return result

    def _patiently(self, write: Callable[[], T]) -> T:
        give_up_s = monotonic() + self._patience_s
        while True:
            self._began_s = monotonic()
            try:
                return write()
            except sqlite3.Error as error:
                if "locked" not in str(error) or monotonic() > give_up_s:
                    raise CannotImport(
                        f"{error}; what is stored stays: put that right and run it again"
                    ) from error

    def _lock_taken(self) -> None:
        """The store tells, with the lock taken, that others wrote: until now we waited."""
        self._began_s = monotonic()

    def _resize(self, stored: int) -> None:
        took_s = max(self._ended_s - self._began_s, 0.001)
        fitting = stored * HOLD_S / took_s
        wanted = round(self.readings + SMOOTHING * (min(fitting, 2 * stored) - self.readings))
        self.readings = min(max(wanted, READINGS_AT_LEAST), READINGS_AT_MOST)


def import_table(
    db: Database, table: Table, recipe: Recipe, progress: Callable[[int], object]
) -> Tally:
    """Store a table's readings; again, it goes on where it was stopped.

    Args:
        db: where to.
        table: has the recipe's columns.
        recipe: what they mean.
        progress: told how many bytes further the table is.

    Raises:
        CannotImport: the database takes no more; what was stored before stays.
    """
    tally, turns, received_ms = Tally(), Turns(db), nodes.now_ms()
    reader = Reader(table, recipe, received_ms, tally.reject)
    for portion in _portions(reader, turns):
        for receipt in turns.store(portion, received_ms):
            tally.add(receipt)
        progress(table.progress_bytes())
    return tally


def _portions(reader: Reader, turns: Turns) -> Iterator[dict[str, list[Reading]]]:
    """Readings by their node's name, as many at a time as a turn can take."""
    portion: dict[str, list[Reading]] = {}
    size = 0
    for name, readings in reader:
        portion.setdefault(name, []).extend(readings)
        size += len(readings)
        if size >= turns.readings:
            yield portion
            portion, size = {}, 0
    yield portion
