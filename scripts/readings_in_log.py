"""Print the readings in a write-ahead log whose database is lost, as CSV.

python scripts/readings_in_log.py tmon.db-wal.replaced-2026-11-25T101500Z tmon.db >readings.csv

A log has whole pages of the database, also older versions of them. `tmon.db` is a backup of the
lost database: it says which page is the root of `readings`. SQLite's pointer map has the parent
of each page, and so shows which table a page belongs to. If neither log nor backup has an entry
for a page, its rows are `likely` readings: no other table of tmon has two integers and a real
number. See docs/backup.md.
"""

import csv
import sqlite3
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import time

Value = int | float | None

# The numbers are those of https://sqlite.org/fileformat2.html
LOG_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
INTERIOR, LEAF = 0x02, 0x0A  # index pages, which a table without rowid consists of
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
REAL = 7
ROOT, CHILD = 1, 5  # kinds of entries in the pointer map
POINTER_BYTES = 5  # of an entry: its kind and the parent's number
SURE, LIKELY = "sure", "likely"  # according to the pointer map; according to the rows
COLUMNS = 3
DEEPEST = 20  # levels of a tree; a damaged map could be a circle
YEAR_2000_MS = 946_684_800_000
A_DAY_MS = 86_400_000
LARGEST = 1e30  # tmon stores no larger value


class Pages:
    """The pages of a log, and those of a backup where the log has none."""

    def __init__(self, log: bytes, backup: bytes) -> None:
        self.page_bytes = int.from_bytes(log[8:12], "big")
        self._log, self._backup = log, backup
        self._newest = dict(self._frames())

    def by_root(self) -> Iterator[tuple[int | None, bytes]]:
        """Each page in the log, also older versions, with its tree's root (None if unknown)."""
        for number, at in self._frames():
            yield self._root_of(number), self._log[at : at + self.page_bytes]

    def _frames(self) -> Iterator[tuple[int, int]]:
        """The number of each page in the log, and its offset there."""
        for start in range(LOG_HEADER_BYTES, len(self._log), FRAME_HEADER_BYTES + self.page_bytes):
            at = start + FRAME_HEADER_BYTES
            if at + self.page_bytes <= len(self._log):
                yield int.from_bytes(self._log[start : start + 4], "big"), at

    def _root_of(self, number: int) -> int | None:
        """The root of a page's tree; None if it is unknown."""
        for _ in range(DEEPEST):
            kind, parent = self._pointer(number)
            if kind == ROOT:
                return number
            if kind != CHILD:
                return None
            number = parent
        return None

    def _pointer(self, number: int) -> tuple[int, int]:
        """A page's entry in the pointer map (https://sqlite.org/fileformat2.html#pointer_map)."""
        # A page of the map is followed by the pages that it describes.
        group = self.page_bytes // POINTER_BYTES + 1
        map_page = (number - 2) // group * group + 2
        if number <= map_page:
            return 0, 0
        offset = POINTER_BYTES * (number - map_page - 1)
        if map_page in self._newest:
            entry = self._log[self._newest[map_page] + offset :][:POINTER_BYTES]
        else:
            entry = self._backup[(map_page - 1) * self.page_bytes + offset :][:POINTER_BYTES]
        return struct.unpack(">BI", entry) if len(entry) == POINTER_BYTES else (0, 0)


def readings(pages: Pages, root: int) -> Iterator[tuple[int, int, float, str]]:
    """Rows of ``readings``: sensor, ``measured_ms``, value, and whether they are sure or likely."""
    latest_ms = time() * 1000 + A_DAY_MS
    for of_root, page in pages.by_root():
        rows = [*_rows(page)] if of_root in (root, None) else []
        if of_root is None and rows and not any(map(_has_real, rows)):
            if all(len(row) == COLUMNS for row in rows):
                sys.stderr.write("skipped a page: it may be an index of three integers\n")
            continue
        for row in rows:
            match row:
                case [int(sensor), int(measured_ms), int() | float() as value] if (
                    YEAR_2000_MS <= measured_ms <= latest_ms and abs(value) <= LARGEST
                ):
                    yield sensor, measured_ms, float(value), LIKELY if of_root is None else SURE


def _has_real(row: list[Value]) -> bool:
    return len(row) == COLUMNS and isinstance(row[-1], float)  # only in trees of readings


def root_of_readings(database: Path) -> int:
    """The table's root page, which is the same in all backups by `tmon backup`."""
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as conn:
        query = "select rootpage from sqlite_master where type = 'table' and name = 'readings'"
        return int(conn.execute(query).fetchone()[0])


def _rows(page: bytes) -> Iterator[list[Value]]:
    if page[0] not in (INTERIOR, LEAF):
        return
    header_bytes, child_bytes = (12, 4) if page[0] == INTERIOR else (8, 0)
    (cells,) = struct.unpack_from(">H", page, 3)
    for cell in struct.unpack_from(f">{cells}H", page, header_bytes):
        _, start = _varint(page, cell + child_bytes)
        yield _row(page, start)


def _row(page: bytes, start: int) -> list[Value]:
    size, at = _varint(page, start)
    values: list[Value] = []
    body = start + size
    while at < start + size:
        kind, at = _varint(page, at)
        width = 8 if kind == REAL else INTEGER_BYTES.get(kind, 0)
        content = page[body : body + width]
        body += width
        if kind == REAL:
            values.append(struct.unpack(">d", content)[0])
        elif width:
            values.append(int.from_bytes(content, "big", signed=True))
        else:
            values.append({8: 0, 9: 1}.get(kind))  # text and NULL become None: no reading has them
    return values


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length integer of SQLite; return it and the offset after it."""
    value = 0
    for _ in range(8):
        byte = page[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | page[at], at + 1


def main() -> None:
    """Print the log's readings, sorted."""
    log, database = map(Path, sys.argv[1:])
    pages = Pages(log.read_bytes(), database.read_bytes())
    # Later versions of a page replace earlier ones; sure readings replace likely ones.
    found = sorted(readings(pages, root_of_readings(database)), key=lambda row: row[3] == SURE)
    last = {(sensor, measured_ms): rest for sensor, measured_ms, *rest in found}
    table = csv.writer(sys.stdout)
    table.writerow(["sensor", "measured_ms", "value", "how_sure"])
    table.writerows([*key, *rest] for key, rest in sorted(last.items()))


if __name__ == "__main__":
    main()
