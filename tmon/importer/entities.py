"""Tables in which each row says of which sensor its value is, as Home Assistant writes them."""

from collections.abc import Sequence
from dataclasses import replace

from tmon.core.reading import Refusal, clip
from tmon.importer.columns import Column, is_lettered, same_unit, unit_in, usual_name
from tmon.importer.doubts import is_difference, is_shifted
from tmon.importer.flags import Series
from tmon.importer.numbers import NumberFormat
from tmon.importer.plan import Value, sensor_name

# The last such word in an entity's name says what it measures; its unit, where nobody names one.
_QUANTITIES = {"temperature": "°C", "humidity": "%", "co2": "ppm"}
_OTHERS = dict.fromkeys(("pressure", "voltage", "battery", "power", "energy", "illuminance"))


class Entities:
    """The value that a row holds, by the text that says of which sensor it is."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a row's meaning hangs on
        self,
        column: Column,
        numbers: NumberFormat,
        listed: dict[str, Series],
        texts: Sequence[str],
        node: str | None,
        has_units: bool,
    ) -> None:
        self._column = column
        self._numbers = numbers
        self._listed = listed
        self._texts = texts  # those of the sample
        self._node = node
        self._has_units = has_units
        self._values: dict[str, Value | None] = {}
        self._text_of: dict[str, str] = {}  # by sensor

    def __call__(self, text: str) -> Value | None:
        """Of ``text``; None where flags list sensors, and this isn't one of them.

        Raises:
            Refusal: two texts would be one sensor.
        """
        if text not in self._values:
            self._values[text] = self._make(text)
        return self._values[text]

    def _make(self, text: str) -> Value | None:
        series = self._listed.get(text)
        if series:
            sensor, told, factor = series.sensor, series.unit, series.factor
        elif self._listed:
            return None
        else:
            sensor, told, factor = self._sensor(text), None, None
        written = self._column.unit or self._unit_in(text)
        if told and written and not factor and not same_unit(told, written):
            raise Refusal(
                "invalid_unit",
                f"{clip(text)!r} is in {written}, and --sensor says {told}: leave the unit out to"
                f" take the file's, or say '{clip(text)}={sensor}:1{told}' to take yours",
            )
        unit, unit_from = told or written, "flag" if told else "file"
        if is_difference(text) and is_shifted(unit) and not factor:
            raise Refusal("invalid_unit", f"{clip(text)!r} is a difference in {unit}")
        if not unit and not self._has_units:
            quantity = quantity_of(text) or quantity_of(sensor)
            unit, unit_from = _QUANTITIES.get(quantity or ""), "name"
        numbers = replace(self._numbers, factor=factor or 1.0, unit=told)
        return Value(self._column, sensor, unit, unit_from, numbers)

    def _sensor(self, text: str) -> str:
        """A sensor's name made of ``text``, which no other text is to have."""
        sensor = entity_name(text, self._node)
        if self._text_of.setdefault(sensor, text) != text:
            other = clip(self._text_of[sensor])
            raise Refusal(
                "invalid_sensor", f"{clip(text)!r} would be {sensor}, as {other!r} is; use --sensor"
            )
        return sensor

    def _unit_in(self, text: str) -> str | None:
        """The unit that the text names, such as °F of ``temp_outdoor_f``."""
        unit = None if self._has_units else unit_in(text)
        return None if unit in {"C", "F"} and is_lettered(self._texts, text) else unit


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
