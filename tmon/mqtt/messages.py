"""A message of MQTT, and the readings that are made of it."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tmon.core.device_names import sensor_name
from tmon.core.device_values import converted, number
from tmon.core.reading import Refusal

HOME_ASSISTANT = "homeassistant"  # the device whose sensors are its entities


class Measured(NamedTuple):
    """A reading as a message has it: of a device's sensor; without a time, of its arrival.

    ``may_be_old``: its message repeats all known values; it is news only if it differs.
    ``is_copy``: another topic has the same, if the sender publishes that too.
    ``unit_apart``: its unit comes in a message of its own.
    ``sequence``: the device's number of the measurement.
    ``quantity``: what the sensor measures, if the owner says so.
    """

    device: str
    sensor: str
    value: float
    unit: str | None = None
    measured_ms: int | None = None
    may_be_old: bool = False
    is_copy: bool = False
    unit_apart: bool = False
    sequence: int | None = None
    quantity: str | None = None


class UnitOf(NamedTuple):
    """The unit of a sensor, as a message of its own has it."""

    device: str
    sensor: str
    unit: str | None


class Message(NamedTuple):
    """A message: its topic, the topic's parts by the pattern's names, and its payload."""

    topic: str
    parts: Mapping[str, str]
    payload: str

    @property
    def json(self) -> Any:
        """The payload as JSON; None if it is none."""
        try:
            return json.loads(self.payload)
        except (ValueError, RecursionError):
            return None

    @property
    def document(self) -> dict[str, Any]:
        """The payload as a JSON object; empty if it is none."""
        document = self.json
        return document if isinstance(document, dict) else {}


def reading(
    device: str,
    sensor: str,
    value: object,
    unit: str | None = None,
    measured_ms: int | None = None,
) -> Iterator[Measured]:
    """A reading, in a unit that is stored; nothing where the value is no number."""
    try:
        measured = number(value)
        if measured is not None and math.isfinite(measured):
            measured, unit = converted(measured, unit, value)
            yield Measured(device, sensor_name(sensor), measured, unit, measured_ms)
    except Refusal:  # a state such as "single", in a topic that has numbers too
        return
