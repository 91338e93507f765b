"""Which readings of the messages are news: not repeats, copies, or values of an unknown age."""

from collections.abc import Iterator, Sequence
from typing import Any

from tmon.core.device_values import converted
from tmon.core.reading import Refusal, check_measured
from tmon.core.recent import Recent
from tmon.core.ruuvi import Sequences
from tmon.mqtt.messages import Measured, UnitOf

REPEAT_MS = 2_000  # the same value of a sensor within this time is the same transmission
REMEMBERED = 20_000  # sensors whose last value is remembered

Sensor = tuple[str, str]  # a device, and what its sensor is called


class News:
    """Remembers what came last of each sensor."""

    def __init__(self) -> None:
        self._last: Recent[Sensor, tuple[float, int]] = Recent(REMEMBERED)
        self._units: Recent[Sensor, str | None] = Recent(REMEMBERED)
        self._originals: Recent[str, bool] = Recent(REMEMBERED)
        self._sequences = Sequences()

    def learn_unit(self, unit: UnitOf) -> None:
        """Note the unit of a sensor whose readings come without it."""
        self._units.set((unit.device, unit.sensor), unit.unit)

    def knows_units(self, readings: Sequence[Measured]) -> bool:
        """Whether no reading of a message is without the unit that may come on its own."""
        return all(
            not one.unit_apart or (one.device, one.sensor) in self._units for one in readings
        )

    def rows(self, readings: Sequence[Measured], received_ms: int) -> Iterator[dict[str, Any]]:
        """What is new in a message, as ``POST /readings`` takes it."""
        if readings and (sequence := readings[0].sequence) is not None:
            number = (readings[0].device, sequence)
            at_ms = readings[0].measured_ms or received_ms
            if self._sequences.is_stored(number, at_ms):
                return
            self._sequences.remember({number: at_ms})
        for one in readings:
            if not one.is_copy:
                self._originals.set(one.device, True)
            elif one.device in self._originals:
                continue
            if (row := self._row(one, received_ms)) is not None:
                yield row

    def _row(self, one: Measured, received_ms: int) -> dict[str, Any] | None:
        """A reading as a row; None if it repeats the last one."""
        key, at_ms = (one.device, one.sensor), one.measured_ms or received_ms
        value, before_ms = self._last.get(key) or (None, 0)
        is_repeat = value == one.value and (one.may_be_old or at_ms - before_ms < REPEAT_MS)
        if not is_repeat and one.measured_ms is None:
            at_ms = max(at_ms, before_ms + 1)  # two within a millisecond are two readings
        self._last.set(key, (one.value, at_ms))
        if is_repeat and one.measured_ms is None:
            return None
        stored, unit = one.value, one.unit
        if one.unit_apart:
            stored, unit = converted(stored, self._units.get(key), stored)
            if key not in self._units:
                self._units.set(key, None)  # it has none: the next one needs not wait
        row = {"node": one.device, "sensor": one.sensor, "value": stored}
        return {**row, "unit": unit, "measured_ms": at_ms}


def with_plausible_time(one: Measured, received_ms: int) -> Measured:
    """A reading without its time, if that of a clock that isn't set."""
    try:
        if one.measured_ms is not None:
            check_measured(one.measured_ms, received_ms)
    except Refusal:
        return one._replace(measured_ms=None)
    return one
