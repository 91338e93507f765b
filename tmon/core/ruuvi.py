"""Ruuvi tags: their advertisements in data format 5, and what their fields are called here.

Sources: ruuvi/ruuvi.gateway_esp.c main/http_json.c; ruuvi/ruuvi-sensor-protocols dataformat_05.md.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tmon.core.recent import Recent

MANUFACTURER = "FF9904"  # precedes the data in an advertisement
FORMAT_5 = struct.Struct(">BhHHhhhHBH")
FORMAT_5_BYTES = 24  # with the address at its end
SEQUENCE = "measurementSequenceNumber"
SAME_MS = 3_600_000  # a tag counts to 65,534 in most of a day, and begins anew with its battery
MOST_NUMBERS = 20_000  # that are remembered

# Of a decoded tag: its field, the sensor's name and unit.
FIELDS = (
    ("temperature", "temperature", "°C"),
    ("humidity", "humidity", "%"),
    ("pressure", "pressure", "Pa"),
    ("voltage", "battery_voltage", "V"),
    ("accelX", "acceleration_x", "g"),
    ("accelY", "acceleration_y", "g"),
    ("accelZ", "acceleration_z", "g"),
    ("txPower", "tx_power", "dBm"),
    ("movementCounter", "movements_total", None),
    ("rssi", "rssi", "dBm"),
)


Number = tuple[str, int]  # a tag's address, with its gateway's node if it is one; and a sequence


class Sequences:
    """Which measurements were stored lately, by any gateway that receives a tag.

    A tag repeats each measurement, with its sequence number, until it makes the next.
    """

    def __init__(self) -> None:
        self._stored: Recent[Number, int] = Recent(MOST_NUMBERS)

    def is_stored(self, number: Number, measured_ms: int) -> bool:
        """Whether that measurement was stored, within an hour before or after."""
        stored_ms = self._stored.get(number)
        return stored_ms is not None and abs(measured_ms - stored_ms) < SAME_MS

    def remember(self, numbers: Mapping[Number, int]) -> None:
        """Note what is stored now, with its times."""
        for number, measured_ms in numbers.items():
            self._stored.set(number, measured_ms)


def sequence_of(fields: Mapping[str, Any]) -> int | None:
    """The number of a measurement, which may be text as all numbers of a gateway."""
    number = fields.get(SEQUENCE)
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 9:
        return int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def decoded(advertisement: str) -> dict[str, Any]:
    """The fields of an advertisement in data format 5; none of another format, or without one."""
    _, found, text = advertisement.upper().partition(MANUFACTURER)
    try:
        data = bytes.fromhex(text)[:FORMAT_5_BYTES] if found else b""
    except ValueError:
        return {}
    if len(data) < FORMAT_5_BYTES or data[0] != 5:
        return {}
    return dict(_fields(*FORMAT_5.unpack_from(data)))


def _fields(  # noqa: PLR0913, PLR0917 - the format's
    _: int,
    temperature: int,
    humidity: int,
    pressure: int,
    x: int,
    y: int,
    z: int,
    power: int,
    movements: int,
    sequence: int,
) -> Iterator[tuple[str, Any]]:
    """Each field of the format; None for the value that says that it is invalid."""
    none = -0x8000
    yield "temperature", None if temperature == none else round(temperature * 0.005, 3)
    yield "humidity", None if humidity == 0xFFFF else round(humidity * 0.0025, 4)
    yield "pressure", None if pressure == 0xFFFF else pressure + 50_000
    for name, value in (("accelX", x), ("accelY", y), ("accelZ", z)):
        yield name, None if value == none else value / 1000
    voltage, tx_power = power >> 5, power & 31
    yield "voltage", None if voltage == 2047 else (voltage + 1600) / 1000
    yield "txPower", None if tx_power == 31 else tx_power * 2 - 40
    yield "movementCounter", None if movements == 255 else movements
    yield "measurementSequenceNumber", None if sequence == 65535 else sequence
