"""One sensor's values in a file: their column, their unit, and how they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tmon.core.reading import Refusal, check_sensor_name, clip
from tmon.core.units import stored
from tmon.importer.columns import Column, same_unit, slug_of
from tmon.importer.numbers import SENTINELS, NumberFormat

# A temperature above this is in °F, or not of a room.
WARMEST_C = 45
WARMEST_F = 120  # what is all above isn't in °F either


def may_be_fahrenheit(temperatures: Sequence[float]) -> bool:
    """Whether half of them are warmer than a room, and the room could be in °F."""
    return bool(temperatures) and WARMEST_C < median(temperatures) <= WARMEST_F


@dataclass(frozen=True)
class Value:
    """One sensor's values: their column, their unit, and how they are written.

    ``unit_from`` is who named the unit: ``flag``, ``file`` (the header), ``cells``, ``name`` (of
    the sensor), or ``nobody``.
    """

    column: Column
    sensor: str
    unit: str | None
    unit_from: str
    numbers: NumberFormat

    def read(self, text: str, unit: str | None = None) -> tuple[float, str | None]:
        """A cell's value, converted to the unit it is stored in.

        Raises:
            Refusal: it isn't a value, or is in another unit than the column's.
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
        """Refuse a temperature too warm for a room, if °C was assumed for ``text``."""
        is_assumed = self.unit_from == "name" and self.unit == "°C"
        if is_assumed and number > WARMEST_C and number not in SENTINELS:
            raise Refusal(
                "unit_mismatch", f"{clip(text)!r} {number:g} may be in °F; --sensor says which"
            )

    def read_all(self, cells: Sequence[str]) -> list[float]:
        """The values of the cells, without those that have none."""
        read = []
        for cell in cells:
            try:
                read.append(self.read(cell)[0])
            except Refusal:
                continue
        return read


def sensor_name(text: str) -> str:
    """A sensor's name for any text; characters that a name can't have become _."""
    try:
        return check_sensor_name(text)
    except Refusal:
        return slug_of(text) or "sensor"
