"""Ruuvi Gateway: the tags it has heard, as raw advertisements in data format 5, or decoded.

Sources: ruuvi/ruuvi.gateway_esp.c main/http_json.c; ruuvi/ruuvi-sensor-protocols dataformat_05.md.
"""

import struct
from collections.abc import Iterator
from typing import Any

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.times import seconds_ms
from ingest.wire.wire import Wire, WireRequest
from tmon.core.reading import Receipt
from tmon.db.devices import MOST_ID

RATE_S = 60  # we ask the gateway to send once a minute: by itself it sends every ten seconds
MOST_TAGS = 10_000  # whose last sequence number is remembered
MANUFACTURER = "FF9904"  # precedes the data in an advertisement
FORMAT_5 = struct.Struct(">BhHHhhhHBH")
FORMAT_5_BYTES = 24  # with the address at its end

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


class Ruuvi(Wire):
    """A measurement that is repeated has the same sequence number: it is stored once."""

    name = "ruuvi"

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # by the sender and a tag's address

    def takes(self, request: WireRequest) -> bool:
        return b'"gw_mac"' in request.body[:4000]

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        batch.device_in_names = True
        data = request.json.get("data") if isinstance(request.json, dict) else None
        tags = data.get("tags") if isinstance(data, dict) else None
        for address, tag in tags.items() if isinstance(tags, dict) else ():
            if not isinstance(tag, dict):
                continue
            fields = {**tag, **decoded(str(tag.get("data", "")))}
            sequence = fields.get("measurementSequenceNumber")
            if isinstance(sequence, int) and len(address) <= MOST_ID:
                tag_id = f"{batch.sender.id} {address}"
                if self._last.get(tag_id) == sequence:
                    continue
                request.sequences[tag_id] = sequence
            batch.device = str(address)
            measured_ms = seconds_ms(tag.get("timestamp"))
            for field, name, unit in FIELDS:
                if field in fields:
                    batch.add(name, fields[field], unit, measured_ms)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """What is stored now needs not be stored again; only then is its number remembered."""
        self._last.update(request.sequences)
        while len(self._last) > MOST_TAGS:
            del self._last[next(iter(self._last))]
        return PlainTextResponse("OK\n", headers={"X-Ruuvi-Gateway-Rate": str(RATE_S)})


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
