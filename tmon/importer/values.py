"""Sensors' values in a file: their columns, their units, and how they are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tmon.core.reading import Refusal, check_sensor_name, clip
from tmon.core.units import stored
from tmon.importer.ambiguities import WARMEST_C, is_difference, is_shifted
from tmon.importer.columns import (
    Column,
    is_lettered,
    may_name_fahrenheit,
    same_unit,
    slug_of,
    unit_in,
    usual_name,
)
from tmon.importer.flags import Series
from tmon.importer.numbers import SENTINELS, NumberFormat

# The last of these words in an entity's name says what it measures; the units are assumed.
_QUANTITIES = {"temperature": "°C", "humidity": "%", "co2": "ppm"}
_OTHERS = dict.fromkeys(("pressure", "voltage", "battery", "power", "energy", "illuminance"))


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

        ``unit`` is the cell in the column of units, if there is one.

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
        if written == "" and not self.unit and self.sensor.startswith("temperature"):
            raise Refusal(
                "unit_mismatch", f"{self.sensor} has no unit, and others have; --sensor says it"
            )
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


@dataclass
class LongTable:
    """A long table: its rows have one value each, and the text that names its sensor.

    ``listed`` are the --sensor flags by their text, ``texts`` those of the sample, and ``node``
    is the one --node, if any.
    """

    sensor_column: Column
    value_column: Column
    unit_column: Column | None
    numbers: NumberFormat
    listed: dict[str, Series]
    texts: Sequence[str]
    node: str | None
    _values: dict[str, Value | None] = field(default_factory=dict, init=False)
    _text_of: dict[str, str] = field(default_factory=dict, init=False)  # by sensor

    def value_of(self, text: str) -> Value | None:
        """The Value of the sensor that ``text`` names; None where flags list only others.

        Raises:
            Refusal: two texts would be the same sensor.
        """
        if text not in self._values:
            self._values[text] = self._make(text)
        return self._values[text]

    def _make(self, text: str) -> Value | None:
        series = self.listed.get(text)
        if series:
            sensor, given, factor = series.sensor, series.unit, series.factor
        elif self.listed:
            return None
        else:
            sensor, given, factor = self._sensor(text), None, None
        written = self.value_column.unit or (None if self.unit_column else unit_in(text))
        if written in {"C", "F"} and not self.value_column.unit and is_lettered(self.texts, text):
            written = None
        if given and written and not factor and not same_unit(given, written):
            raise Refusal(
                "invalid_unit",
                f"{clip(text)!r} is in {written}, and --sensor says {given}: leave the unit out to"
                f" take the file's, or say '{clip(text)}={sensor}:1{given}' to take yours",
            )
        unit, unit_from = given or written, "flag" if given else "file"
        if is_difference(text) and is_shifted(unit) and not factor:
            raise Refusal("invalid_unit", f"{clip(text)!r} is a difference in {unit}")
        if not unit and not self.unit_column:
            quantity = quantity_of(text) or quantity_of(sensor)
            may_be_f = may_name_fahrenheit(text) and not is_lettered(self.texts, text)
            if may_be_f and (series is None or quantity == "temperature"):
                raise Refusal(
                    "invalid_unit",
                    f"{clip(text)!r} may be in °F: say --sensor '{clip(text)}={sensor}:°F' or"
                    " '…:°C', and the others likewise",
                )
            unit, unit_from = _QUANTITIES.get(quantity or ""), "name"
        numbers = replace(self.numbers, factor=factor or 1.0, unit=given)
        return Value(self.value_column, sensor, unit, unit_from, numbers)

    def _sensor(self, text: str) -> str:
        """A sensor's name for ``text`` alone."""
        sensor = sensor_of_entity(text, self.node)
        if self._text_of.setdefault(sensor, text) != text:
            other = clip(self._text_of[sensor])
            raise Refusal(
                "invalid_sensor", f"{clip(text)!r} would be {sensor}, as {other!r} is; use --sensor"
            )
        return sensor


def quantity_of(text: str) -> str | None:
    """What an entity measures, by the last such word in its name."""
    place, word = max((text.lower().rfind(word), word) for word in {**_QUANTITIES, **_OTHERS})
    return word if place >= 0 else None


def sensor_of_entity(text: str, node: str | None) -> str:
    """``temperature`` for ``sensor.cellar_temperature`` of the node cellar."""
    name = text.removeprefix("sensor.")
    if node and name.lower().startswith(f"{node.lower()}_"):
        name = name[len(node) + 1 :]
    return usual_name(name) or sensor_name(name)


def sensor_name(text: str) -> str:
    """A sensor's name for any text; characters that a name can't have become _."""
    try:
        return check_sensor_name(text)
    except Refusal:
        return slug_of(text) or "sensor"
