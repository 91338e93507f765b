"""Plain fields behind a key, for plugs, rules, scripts and a browser's address line.

``/k/KEY?temperature=21.5&humidity=40``, ``/k/KEY?name=door&value=1&unit=%&time=now``, or the same
as a form or a JSON object. The path may go on with the node's name or any other word, but not
with another node's name.
"""

from datetime import UTC
from typing import Any

from ingest import credentials
from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.errors import InvalidBody, UnknownEncoding
from tmon.core.reading import Gateway, clip

EXAMPLE = "/k/KEY?temperature=21.5 stores a reading of the sensor called temperature"
TIMES = ("time", "timestamp", "dateutc", "measured_at", "measured_ms", "ts")
UNITS = {
    **dict.fromkeys(("temperature", "temp", "tempc", "tc", "temp_c"), "°C"),
    **dict.fromkeys(("tempf", "tf", "temp_f", "temperature_f"), "°F"),
    **dict.fromkeys(("humidity", "hum", "rh", "battery", "moisture"), "%"),
    **dict.fromkeys(("pressure",), "hPa"),
    **dict.fromkeys(("illuminance", "lux", "lx"), "lx"),
    **dict.fromkeys(("co2",), "ppm"),
}
# Short names, such as a first-generation Shelly's: stored as what they stand for, unless that is
# in the same request.
NAMES = {"temp": "temperature", "tc": "temperature", "hum": "humidity", "rh": "humidity"}
FAULT = "999"  # of a Shelly H&T's sensor
NOT_READINGS = frozenset((*credentials.FIELDS, *TIMES, "id", "node", "unit", "name", "sensor"))


class Flat(Wire):
    name = "flat"
    methods = frozenset(("GET", "POST", "PUT"))

    def takes(self, request: WireRequest) -> bool:
        return True

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        kind = request.headers.get(b"content-type", b"").lower()
        if kind.startswith(b"multipart/"):
            raise UnknownEncoding("send readings as a form (curl -d) or JSON, and no files")
        if kind.startswith(b"image/"):  # AI-on-the-edge sends the meter's picture with each value
            batch.note("a picture holds no reading")
            return
        if request.body[:1] == b"[":
            raise InvalidBody("send a list of readings to /k/KEY/readings")
        fields: dict[str, Any] = request.fields
        name = request.path.strip("/")
        if isinstance(batch.sender, Gateway):
            batch.device = name or str(fields.get("id", ""))
        else:
            batch.claimed_node = name
        field = next((name for name in TIMES if name in fields), "")
        zone = UTC if field == "dateutc" else None
        measured_ms = batch.time_of(str(fields.get(field, "now")), zone)
        unit = fields.get("unit")
        unit = unit if isinstance(unit, str) and unit else None
        if "value" in fields:
            sensor = str(fields.get("sensor", fields.get("name", "temperature")))
            batch.add(sensor, fields["value"], unit or UNITS.get(sensor.lower()), measured_ms)
            return
        _add_each(fields, unit, measured_ms, batch)


def _add_each(
    fields: dict[str, Any], unit: str | None, measured_ms: int | None, batch: BatchBuilder
) -> None:
    """A reading of each field that isn't about the readings."""
    found = {field: value for field, value in fields.items() if field not in NOT_READINGS}
    nested = [field for field, value in found.items() if isinstance(value, dict | list)]
    if len(nested) == len(found):
        raise InvalidBody(f"there is no reading in this; {EXAMPLE}")
    if nested:
        batch.note(f"left out, as they are no numbers: {clip(', '.join(nested))}")
    for field, value in found.items():
        if isinstance(value, dict | list) or (
            field == "temp" and str(value).partition(".")[0] == FAULT
        ):
            continue
        name = NAMES.get(field, field)
        name = field if name in fields else name
        batch.add(name, value, unit or UNITS.get(field.lower()), measured_ms)
