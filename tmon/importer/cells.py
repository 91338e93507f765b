"""What the cells of a file's first rows are: times, numbers, units, or names."""

import re
from collections.abc import Sequence
from functools import lru_cache

from tmon.importer.columns import is_unit
from tmon.importer.numbers import is_missing, is_number
from tmon.importer.time_detection import is_time
from tmon.importer.times import clock_of

# What Campbell's loggers write below the names and units.
_KINDS = frozenset(["ts", "rn", "smp", "avg", "min", "max", "tot", "std"])

is_dated = lru_cache(maxsize=16_384)(is_time)


def uncommented(cells: Sequence[str]) -> list[str]:
    """A header's cells without a comment sign: ``# time`` names a column ``time``."""
    first = cells[0].lstrip("#/ ") if len(cells) > 1 else cells[0]
    return [first or cells[0], *cells[1:]]


def is_data(cells: Sequence[str]) -> bool:
    """Whether there are numbers, and no words."""
    words = (cell for cell in cells if re.search(r"[^\W\d_]", cell))
    return any(map(is_number, cells)) and all(is_number(one) or is_missing(one) for one in words)


def is_below(cells: Sequence[str]) -> bool:
    """Whether a row belongs to the header: units, or what Campbell's loggers write below them."""
    filled = [cell.strip("[]()") for cell in cells if cell]
    if not filled or any(is_number(cell) and not is_unit(cell) for cell in filled):
        return False
    fitting = sum(is_unit(cell) or cell.lower() in _KINDS for cell in filled)
    return fitting * 2 >= len(filled) and (len(filled) > 1 or len(cells) > 1)


def kind_of(cell: str) -> str:
    """``missing``, ``time``, ``number`` or ``text``."""
    if is_missing(cell):
        return "missing"
    if is_dated(cell) or clock_of(cell):
        return "time"
    return "number" if is_number(cell) else "text"
