"""Devices that post a JSON of their maker's own: each is recognised by the fields that only it has.

Sources: pimoroni/enviro destinations/http.py; universam1/iSpindel; mp-se/gravitymon;
jomjol/AI-on-the-edge-device interface_webhook.cpp; airgradienthq/arduino.
"""

import re
from typing import Any

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import NO_STORE, Wire, WireRequest
from tmon.core.device_times import utc_ms
from tmon.core.errors import ApiError
from tmon.core.reading import Receipt

Names = dict[str, tuple[str, str | None]]  # a field: the sensor's name and unit

ENVIRO: Names = {
    "temperature": ("temperature", "°C"),
    "humidity": ("humidity", "%"),
    "pressure": ("pressure", "hPa"),
    "luminance": ("illuminance", "lx"),
    "wind_speed": ("wind_speed", "m/s"),
    "wind_direction": ("wind_direction", "°"),
    "rain": ("rain", "mm"),
    "rain_per_second": ("rain_rate", "mm/s"),
    **{f"moisture_{place}": (f"moisture_{place}", "%") for place in "abc"},
    "noise": ("noise", "V"),
    "pm1": ("pm1", "µg/m³"),
    "pm2_5": ("pm25", "µg/m³"),
    "pm10": ("pm10", "µg/m³"),
    "gas_resistance": ("gas_resistance", "Ω"),
    "voltage": ("voltage", "V"),
}
AIRGRADIENT: Names = {
    "wifi": ("signal", "dBm"),
    "rco2": ("co2", "ppm"),
    "pm01": ("pm1", "µg/m³"),
    "pm02": ("pm25", "µg/m³"),
    "pm10": ("pm10", "µg/m³"),
    "pm003Count": ("pm003_count", None),
    "atmp": ("temperature", "°C"),
    "rhum": ("humidity", "%"),
    "pm02Compensated": ("pm25_compensated", "µg/m³"),
    "atmpCompensated": ("temperature_compensated", "°C"),
    "rhumCompensated": ("humidity_compensated", "%"),
    "tvocIndex": ("voc_index", None),
    "noxIndex": ("nox_index", None),
}
HYDROMETER: Names = {
    "angle": ("tilt", "°"),
    "battery": ("battery_voltage", "V"),
    "gravity": ("gravity", None),
    "corr-gravity": ("gravity_corrected", None),
    **dict.fromkeys(("RSSI", "rssi"), ("signal", "dBm")),
}
_AIRGRADIENT = re.compile("/sensors/airgradient:([^/]+)/measures/?")
TEMPERATURES = {"C": "°C", "F": "°F", "K": "K"}


class Makers(Wire):
    """Enviro, AirGradient, iSpindel and GravityMon, AI-on-the-edge."""

    name = "makers"
    methods = frozenset(("GET", "POST"))

    def takes_path(self, path: str) -> bool:
        return _AIRGRADIENT.fullmatch(path) is not None

    def takes(self, request: WireRequest) -> bool:
        return self.takes_path(request.path) or _parser(_document(request)) is not None

    def keyless_device(self, request: WireRequest) -> str:
        """The serial number in AirGradient's own path, which has no room for a key."""
        return found[1] if (found := _AIRGRADIENT.fullmatch(request.path)) else ""

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        document = _document(request)
        batch.device = self.keyless_device(request)
        if (parser := _parser(document)) is not None:
            parser(document, batch)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """200 also for what can't be stored, as Enviro repeats it; to Enviro, 204 is an error."""
        return PlainTextResponse("OK\n", headers=NO_STORE)

    def failure(self, error: ApiError) -> Response:
        status = 200 if error.status == 400 else error.status
        return PlainTextResponse(f"{error}\n", status)


def _document(request: WireRequest) -> Any:
    """The JSON body; or the query, which is how GravityMon's GET sends the same fields."""
    if request.method == "GET":
        return request.query
    return request.json if request.body[:1] in (b"{", b"[") else None


def _parser(document: Any) -> Any:
    """What reads a document; None if it is of no maker that we know."""
    if isinstance(document, list):
        known = document and all(isinstance(one, dict) and "rawValue" in one for one in document)
        return _add_meters if known else None
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("readings"), dict) and "nickname" in document:
        return _add_enviro
    if document.keys() & {"rco2", "pm02", "atmp"}:
        return _add_airgradient
    if {"angle", "temperature"} <= document.keys() and document.keys() & {"gravity", "ID"}:
        return _add_hydrometer
    return None


def _add_enviro(document: dict[str, Any], batch: BatchBuilder) -> None:
    batch.device = str(document.get("uid") or document["nickname"])
    measured_ms = utc_ms(str(document.get("timestamp", "")))
    for field, value in document["readings"].items():
        name, unit = ENVIRO.get(field, (field, None))
        batch.add(name, value, unit, measured_ms)


def _add_airgradient(document: dict[str, Any], batch: BatchBuilder) -> None:
    batch.device = str(document.get("serialno") or batch.device)
    channels = document.get("channels")
    parts = channels.items() if isinstance(channels, dict) else ()
    for prefix, fields in [("", document), *((f"{key}/", value) for key, value in parts)]:
        for field, (name, unit) in AIRGRADIENT.items():
            if isinstance(fields, dict) and field in fields:
                batch.add(prefix + name, fields[field], unit)


def _add_hydrometer(document: dict[str, Any], batch: BatchBuilder) -> None:
    batch.device = str(document.get("ID") or document.get("name") or "")
    batch.device_in_names = True  # several stand side by side, one to each fermenter
    sent_unit = str(document.get("temp_units", document.get("temp-units", "C")))
    unit = TEMPERATURES.get(sent_unit.upper()[:1], "°C")
    batch.add("temperature", document["temperature"], unit)
    for field, (name, field_unit) in HYDROMETER.items():
        if field in document:
            batch.add(name, document[field], field_unit)


def _add_meters(document: list[dict[str, Any]], batch: BatchBuilder) -> None:
    """AI-on-the-edge: ``value`` is empty where the digits weren't read."""
    for each in document:
        measured_ms = batch.time_of(str(each.get("timestampLong") or each.get("timestamp", "")))
        batch.add(str(each.get("name") or "value"), each.get("value"), None, measured_ms)
