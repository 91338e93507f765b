"""Sensor.Community: what airRohr boxes post to a custom API, or to the project's own.

Source: opendata-stuttgart/sensors-software airrohr-firmware (airrohr-firmware.ino, ext_def.h).
"""

import re
from typing import Any

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.errors import InvalidBody

PATH = "/v1/push-sensor-data"
# What X-PIN says of a request to the project's own API, where names have no prefix.
CHIPS = {
    "1": "SDS",
    "3": "BMP",
    "5": "PPD",
    "7": "DHT",
    "9": "GPS",
    "11": "BME280",
    "13": "DS18B20",
    "15": "DNMS",
    "17": "SCD30",
}
# P1 is PM10 and P2 is PM2.5: the digits aren't sizes. Pressure is in Pa.
QUANTITIES: tuple[tuple[str, str, str | None], ...] = (
    ("P0", "pm1", "µg/m³"),
    ("P1", "pm10", "µg/m³"),
    ("P2", "pm25", "µg/m³"),
    ("P4", "pm4", "µg/m³"),
    ("temperature", "temperature", "°C"),
    ("humidity", "humidity", "%"),
    ("pressure", "pressure", "Pa"),
    ("co2_ppm", "co2", "ppm"),
    ("(noise_LA(?:eq|_min|_max))", "{0}", "dB(A)"),
    ("(N[0-9]+)", "{0}", "1/cm³"),
    ("signal", "signal", "dBm"),
    ("(lat|lon|height)", "{0}", None),
)
_QUANTITY = [
    (re.compile(f"(?:(?P<chip>[A-Z0-9]+)_)?(?:{pattern})"), name, unit)
    for pattern, name, unit in QUANTITIES
]


class SensorCommunity(Wire):
    name = "sensor.community"

    def takes_path(self, path: str) -> bool:
        return path.rstrip("/") == PATH

    def takes(self, request: WireRequest) -> bool:
        return self.takes_path(request.path) or b'"sensordatavalues"' in request.body[:2000]

    def keyless_device(self, request: WireRequest) -> str:
        """Only on the project's own path, which has no room for a key."""
        if not self.takes_path(request.path):
            return ""
        return request.headers.get(b"x-sensor", b"").decode(errors="replace")

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        document = request.json
        values = document.get("sensordatavalues") if isinstance(document, dict) else None
        if not isinstance(values, list):
            raise InvalidBody("expected an object with sensordatavalues")
        batch.device = self.keyless_device(request) or _box(document)
        chip = CHIPS.get(request.headers.get(b"x-pin", b"").decode(errors="replace"), "")
        for each in values:
            if isinstance(each, dict):
                _add(str(each.get("value_type", "")), each.get("value"), chip, batch)


def _box(document: dict[str, Any]) -> str:
    """A box's id as its header X-Sensor has it: ``esp8266-12345``."""
    names = ("esp8266id", "esp32id", "raspiid")
    return next((f"{name[:-2]}-{document[name]}" for name in names if name in document), "")


def _add(value_type: str, value: Any, chip: str, batch: BatchBuilder) -> None:
    """Add one value; what is about the box itself, such as ``samples``, is left out."""
    if (known := quantity_of(value_type, chip)) is not None:
        batch.add(known[0], value, known[1])


def quantity_of(value_type: str, chip: str = "") -> tuple[str, str | None] | None:
    """The sensor's name and unit for a box's own name of a value; None if it isn't known.

    ``chip``: of a name without one.
    """
    for pattern, name, unit in _QUANTITY:
        if found := pattern.fullmatch(value_type):
            own = found["chip"] or chip
            sensor = name.format(*[text for text in found.groups()[1:] if text])
            return f"{own}/{sensor}" if own else sensor, unit
    return None
