"""Long tables, whose rows each name their sensor, as Home Assistant exports them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tmon.core.reading import Refusal, clip
from tmon.importer.ambiguities import is_difference, is_shifted
from tmon.importer.columns import (
    Column,
    is_lettered,
    may_be_fahrenheit,
    same_unit,
    unit_in,
    usual_name,
)
from tmon.importer.flags import Series
from tmon.importer.numbers import NumberFormat
from tmon.importer.values import Value, sensor_name

# The last of these words in an entity's name says what it measures; the units are assumed.
_QUANTITIES = {"temperature": "°C", "humidity": "%", "co2": "ppm"}
_OTHERS = dict.fromkeys(("pressure", "voltage", "battery", "power", "energy", "illuminance"))


@dataclass
class LongTable:
    """A table whose rows have one value each, and the text that names its sensor.

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
            may_be_f = may_be_fahrenheit(text) and not is_lettered(self.texts, text)
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
