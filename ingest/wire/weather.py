"""Weather stations: Weather Underground's protocol, and what Ecowitt's and Ambient's consoles send.

One table serves all three: their fields have the same names, units and spellings of no value.
"""

from datetime import UTC, datetime

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.weather_fields import sensor_of
from ingest.wire.wire import NO_STORE, Wire, WireRequest
from tmon.core.errors import ApiError
from tmon.core.reading import Receipt

ACURITE_BATTERY = {"normal": 0, "low": 1}
# On any path, fields are a console's if dateutc is among them, and one of these.
MARKS = frozenset(("PASSKEY", "MAC", "ID", "action", "stationtype", "softwaretype", "tempf"))
DEVICES = ("ID", "id", "MAC", "PASSKEY")  # which hold a console's id; PASSKEY is made of its MAC


class Weather(Wire):
    """Weather Underground's GET with ``dateutc``, and the consoles' POST or GET like it."""

    name = "weather"
    methods = frozenset(("GET", "POST"))

    def takes_path(self, path: str) -> bool:
        return "/weatherstation/updateweatherstation" in path or path.startswith("/data/report")

    def takes(self, request: WireRequest) -> bool:
        fields = request.query or request.form
        is_console = "dateutc" in fields and not MARKS.isdisjoint(fields)
        return is_console or self.takes_path(request.path)

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        fields = {**request.query, **request.form}
        measured_ms = batch.time_of(fields.get("dateutc", "now"), UTC)
        prefix = ""
        if "mt" in fields:  # Acurite's hub sends several sensors in turn
            prefix = f"{fields.get('sensor', '')}/"
            is_low = ACURITE_BATTERY.get(fields.get("battery", ""))
            batch.add(f"{prefix}battery_low", is_low, None, measured_ms)
            batch.add(f"{prefix}rssi", fields.get("rssi"), None, measured_ms)
        batch.device = next((fields[name] for name in DEVICES if fields.get(name)), "")
        is_ambient = fields.get("stationtype", "").startswith("AMB")
        odd = {"UV": "uv_raw"} if "outtemp" in fields else {}
        if fields.get("softwaretype", "").startswith("WH26"):
            odd = {"baromin": "pressure_absolute"}
        for field, text in fields.items():
            if (sensor := sensor_of(field)) is not None:
                name, unit = sensor
                if is_ambient and name.endswith("_low"):  # there 1 is good
                    name = f"{name.removesuffix('_low')}_ok"
                name = odd.get(field, name)
                batch.add(prefix + name, text, unit, measured_ms)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        if "mt" in request.query:
            return JSONResponse(
                {"localtime": f"{datetime.now().astimezone():%H:%M:%S}"}, headers=NO_STORE
            )
        text = "OK" if request.method == "POST" else "success"
        return PlainTextResponse(f"{text}\n", headers=NO_STORE)

    def failure(self, error: ApiError) -> Response:
        """In weewx's terms: it drops a record at 429, and at the word "invalid"."""
        status = 503 if error.status == 429 else error.status
        prefix = "ERROR: " if status in {401, 403} else ""
        text = str(error).replace("invalid", "wrong")
        return PlainTextResponse(f"{prefix}{text}\n", status, headers=NO_STORE)
