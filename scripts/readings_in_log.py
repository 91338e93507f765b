"""Print the readings in a write-ahead log whose database is lost, as CSV.

python scripts/readings_in_log.py tmon.db-wal.replaced-2026-11-25T101500Z >readings.csv

A log holds whole pages of the database, the older ones of its last round included. Those of
`readings` are known by their rows: two integers and a number. See docs/backup.md.
"""

import csv
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

Value = int | float | None

LOG_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
INTERIOR, LEAF = 0x02, 0x0A  # pages of an index, as a table without rowid is one
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
REAL = 7


def readings(log: bytes) -> dict[tuple[int, int], float]:
    """Values by sensor and ``measured_ms``."""
    found = {}
    for page in _pages(log):
        for row in _rows(page):
            match row:
                case [int(sensor), int(measured_ms), int() | float() as value]:
                    found[sensor, measured_ms] = float(value)
    return found


def _pages(log: bytes) -> Iterator[bytes]:
    page_bytes = int.from_bytes(log[8:12], "big")
    for start in range(LOG_HEADER_BYTES, len(log), FRAME_HEADER_BYTES + page_bytes):
        yield log[start + FRAME_HEADER_BYTES :][:page_bytes]


def _rows(page: bytes) -> Iterator[list[Value]]:
    if not page or page[0] not in (INTERIOR, LEAF):
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
            values.append({8: 0, 9: 1}.get(kind))  # else text, or nothing: no reading has them
    return values


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """An integer of SQLite's variable length, and where it ends."""
    value = 0
    for _ in range(8):
        byte = page[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | page[at], at + 1


def main() -> None:
    """Print what the log has, in order."""
    found = readings(Path(sys.argv[1]).read_bytes())
    table = csv.writer(sys.stdout)
    table.writerow(["sensor", "measured_ms", "value"])
    table.writerows([*key, value] for key, value in sorted(found.items()))


if __name__ == "__main__":
    main()
