"""Tables in which each row says of which sensor its value is, as Home Assistant writes them."""

import re
from dataclasses import replace

from ingest.importer.columns import Column, unit_in, usual_name
from ingest.importer.doubts import is_difference, is_shifted
from ingest.importer.flags import Series
from ingest.importer.numbers import NumberFormat
from ingest.importer.plan import Value, sensor_name
from ingest.reading import Refusal, clip

# The last such word in an entity's name says what it measures; its unit, where nobody names one.
_QUANTITIES = {"temperature": "°C", "humidity": "%", "co2": "ppm"}
_OTHERS = dict.fromkeys(("pressure", "voltage", "battery", "power", "energy", "illuminance"))


class Entities:
    """The value that a row holds, by the text that says of which sensor it is."""

    def __init__(
        self,
        column: Column,
        numbers: NumberFormat,
        listed: dict[str, Series],
        node: str | None,
        *,
        has_units: bool,
    ) -> None:
        self._column = column
        self._numbers = numbers
        self._listed = listed
        self._node = node
        self._has_units = has_units
        self._values: dict[str, Value | None] = {}
        self._texts: dict[str, str] = {}  # by sensor

    def __call__(self, text: str) -> Value | None:
        """Of ``text``; None where flags list sensors, and this isn't one of them.

        Raises:
            Refusal: two texts would be one sensor.
        """
        if text not in self._values:
            self._values[text] = self._make(text)
        return self._values[text]

    def _make(self, text: str) -> Value | None:
        if self._listed:
            series = self._listed.get(text)
            if series is None:
                return None
            numbers = replace(self._numbers, factor=series.factor or 1.0)
            unit = series.unit or self._column.unit
            return Value(
                self._column, series.sensor, unit, "flag" if series.unit else "file", numbers
            )
        sensor = entity_name(text, self._node)
        if self._texts.setdefault(sensor, text) != text:
            other = clip(self._texts[sensor])
            raise Refusal(
                "invalid_sensor", f"{clip(text)!r} would be {sensor}, as {other!r} is; use --sensor"
            )
        if self._column.unit or self._has_units:
            return Value(self._column, sensor, self._column.unit, "file", self._numbers)
        if unit := unit_in(text) if re.search(r"[\s(\[]", text) else None:
            if is_difference(text) and is_shifted(unit):
                raise Refusal("invalid_unit", f"{clip(text)!r} is a difference in {unit}")
            return Value(self._column, sensor, unit, "file", self._numbers)
        unit = _QUANTITIES.get(quantity_of(text) or "")
        return Value(self._column, sensor, unit, "name", self._numbers)


def quantity_of(text: str) -> str | None:
    """What an entity measures, by the last word in its name that tells it."""
    place, word = max((text.lower().rfind(word), word) for word in {**_QUANTITIES, **_OTHERS})
    return word if place >= 0 else None


def entity_name(text: str, node: str | None) -> str:
    """``temperature`` of ``sensor.cellar_temperature``, for the node called cellar."""
    name = text.removeprefix("sensor.")
    if node and name.lower().startswith(f"{node.lower()}_"):
        name = name[len(node) + 1 :]
    return usual_name(name) or sensor_name(name)
