"""The plan of an import: which cells of a row are its time, its node and its values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from tmon.core.reading import Refusal, check_node_name, check_sensor_name, clip
from tmon.core.units import stored
from tmon.importer.columns import Column, same_unit, slug_of
from tmon.importer.layout import Layout
from tmon.importer.numbers import MARKS, NumberFormat
from tmon.importer.times import TimeFormat

# Above this a room's temperature is one in °F, or no room's.
WARMEST_C = 45


@dataclass(frozen=True)
class Value:
    """One sensor's values: in which column they are, in which unit, and how they are written.

    ``unit_from`` tells who named the unit: ``flag``, ``file``, ``cells``, ``name`` of the
    sensor, or ``nobody``.
    """

    column: Column
    sensor: str
    unit: str | None
    unit_from: str
    numbers: NumberFormat

    def read(self, text: str, unit: str | None = None) -> tuple[float, str | None]:
        """A cell's value, in the unit it is stored in.

        Raises:
            Refusal: it is no value, or in another unit than the column's.
        """
        number, written = self.numbers.read(text, self.column.name)
        if bool(written) != (self.unit_from == "cells") and self.unit_from in {"cells", "nobody"}:
            raise Refusal(
                "unit_mismatch",
                f"{self.column.name} {clip(text)} {'names a unit' if written else 'has no unit'},"
                f" and others {'have none' if written else 'name one'}; --value says which it is",
            )
        written = written or unit
        if written and self.unit and written != self.unit and not same_unit(written, self.unit):
            raise Refusal("unit_mismatch", f"{self.column.name} {clip(text)} is not in {self.unit}")
        return stored(number, self.unit or written)

    def check_room(self, number: float, text: str) -> None:
        """Whether a temperature is one of a room, where nobody named the unit of ``text``."""
        is_assumed = self.unit_from == "name" and self.unit == "°C"
        if is_assumed and number > WARMEST_C and number not in MARKS:
            raise Refusal(
                "unit_mismatch", f"{clip(text)!r} {number:g} may be in °F; --sensor says which"
            )

    def read_all(self, cells: Sequence[str]) -> list[float]:
        """The values of those cells that have one."""
        read = []
        for cell in cells:
            try:
                read.append(self.read(cell)[0])
            except Refusal:
                continue
        return read


@dataclass(frozen=True)
class Rows:
    """A long table: a column says of which sensor a row's one value is.

    ``value_of`` tells it of the text in that column; None where the row is to be passed over,
    a Refusal where two texts would be one sensor.
    """

    sensor_column: Column
    value_column: Column
    unit_column: Column | None
    value_of: Callable[[str], Value | None]


@dataclass(frozen=True)
class NodeNames:
    """Whose a row is: the node of all of them, or the one that a column names."""

    node: str | None
    column: Column | None
    renamed: dict[str, str]

    def name_of(self, text: str) -> str:
        """A node's name of a cell; characters that none can have become _.

        Raises:
            Refusal: nothing is left of it.
        """
        name = self.renamed.get(text)
        if name is None:
            try:
                return check_node_name(text)
            except Refusal:
                name = check_node_name(slug_of(text) or text)
        return name


@dataclass(frozen=True)
class Plan:
    """What an import makes of a file.

    ``zone`` is that of times without an offset, and ``zone_from`` who named it: ``flag``,
    ``file``, or ``nobody``; both are None where all times that were looked at have an offset.
    """

    layout: Layout
    times: tuple[Column, ...]
    written: tuple[Callable[[str], str], ...]  # how a cell of each is joined, if there are several
    time_format: TimeFormat
    zone: tzinfo | None
    zone_from: str | None
    nodes: NodeNames
    values: tuple[Value, ...]
    rows: Rows | None
    left_out: tuple[Column, ...]
    notes: tuple[str, ...]

    @property
    def is_assumed(self) -> bool:
        """Whether a row in mid-file may show that what was made of the first ones is wrong."""
        has_order = self.time_format.order is not None
        return has_order or any(value.unit_from == "name" for value in self.values)

    def time_of(self, cells: Sequence[str]) -> str:
        """The text of a row's time."""
        if len(self.times) == 1:
            return cells[self.times[0].index].strip()
        columns = zip(self.times, self.written, strict=True)
        return " ".join(write(cells[column.index].strip()) for column, write in columns)


def sensor_name(text: str) -> str:
    """A sensor's name of any text: as it is, or with _ for what none can have."""
    try:
        return check_sensor_name(text)
    except Refusal:
        return slug_of(text) or "sensor"
