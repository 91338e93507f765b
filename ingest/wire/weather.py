"""Weather stations: Weather Underground's protocol, and what Ecowitt's and Ambient's consoles send.

One table serves all three: their fields have the same names, units and spellings of no value.
Sources: Weather Underground's "PWS Upload Protocol"; the fields of home-assistant-libs/aioecowitt.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import NO_STORE, Wire, WireRequest
from tmon.core.errors import ApiError
from tmon.core.reading import Receipt

# Each field: a pattern, the sensor's name with the pattern's groups, and the unit.
FIELDS: tuple[tuple[str, str, str | None], ...] = (
    ("tempf", "temperature", "°F"),
    ("temp(?:in|indoor)f|indoortempf", "temperature_indoor", "°F"),
    ("temp([0-9]+)f", "temperature_{0}", "°F"),
    ("outtemp", "temperature", "°C"),
    ("intemp", "temperature_indoor", "°C"),
    ("soiltemp([0-9]*)f", "temperature_soil{0}", "°F"),
    ("tf_ch([0-9]+)c?", "temperature_probe{0}", "°F"),
    ("tf_co2", "temperature_co2", "°F"),
    ("dew(?:pt|point)f", "dew_point", "°F"),
    ("windchillf", "wind_chill", "°F"),
    ("heatindexf|heatf", "heat_index", "°F"),
    ("feelslikef", "feels_like", "°F"),
    ("(bgt|wbgt)", "temperature_{0}", "°F"),
    ("humidity|outhumi", "humidity", "%"),
    ("indoorhumidity|humidityin|inhumi", "humidity_indoor", "%"),
    ("humidity([0-9]+)", "humidity_{0}", "%"),
    ("humi_co2", "humidity_co2", "%"),
    ("soilmoisture([0-9]*)", "soil_moisture{0}", "%"),
    ("leafwetness(?:_ch)?([0-9]*)", "leaf_wetness{0}", "%"),
    ("baromin|baromrelin", "pressure", "inHg"),
    ("baromabsin|absbaromin", "pressure_absolute", "inHg"),
    ("relbaro", "pressure", "hPa"),
    ("absbaro", "pressure_absolute", "hPa"),
    ("vpd", "vapour_pressure_deficit", "inHg"),
    ("windspeedmph", "wind_speed", "mph"),
    ("windgustmph", "wind_gust", "mph"),
    ("maxdailygust", "wind_gust_day_max", "mph"),
    ("windspdmph_avg([0-9]+)m", "wind_speed_{0}min", "mph"),
    ("windgustmph_([0-9]+)m", "wind_gust_{0}min", "mph"),
    ("windspeed", "wind_speed", "km/h"),
    ("windgust", "wind_gust", "km/h"),
    ("winddir", "wind_direction", "°"),
    ("winddir_avg([0-9]+)m", "wind_direction_{0}min", "°"),
    ("windgustdir", "wind_gust_direction", "°"),
    ("windgustdir_([0-9]+)m", "wind_gust_direction_{0}min", "°"),
    ("rainin|hourlyrainin", "rain_hour", "in"),
    ("rainratein", "rain_rate", "in/h"),
    ("rrain_piezo", "rain_rate_piezo", "in/h"),
    ("(event|daily|weekly|monthly|yearly)rainin", "rain_{0}_total", "in"),
    ("totalrainin", "rain_total", "in"),
    ("hrain_piezo", "rain_piezo_hour", "in"),
    ("([edwmy])rain_piezo", "rain_piezo_{0}_total", "in"),
    ("rainrate", "rain_rate", "mm/h"),
    ("(daily|weekly|monthly|yearly)rain", "rain_{0}_total", "mm"),
    ("srain_piezo", "rain_piezo_wet", None),
    ("solarradiation", "solar_radiation", "W/m²"),
    ("light", "illuminance", "lx"),
    ("UV|uv", "uv_index", None),
    ("visibility", "visibility", "nmi"),
    ("pm25_ch([0-9]+)", "pm25_{0}", "µg/m³"),
    ("pm25_avg_24h_ch([0-9]+)", "pm25_day_mean_{0}", "µg/m³"),
    ("(pm(?:1|25|4|10))_co2", "{0}_co2", "µg/m³"),
    ("(pm(?:1|25|4|10))_24h_co2", "{0}_day_mean_co2", "µg/m³"),
    ("AqPM2\\.5", "pm25", "µg/m³"),
    ("AqPM10", "pm10", "µg/m³"),
    ("AqCO", "co", "ppm"),
    ("Aq([A-Z0-9]+)", "{0}", "ppb"),
    ("co2(?:in)?", "co2", "ppm"),
    ("co2(?:in)?_24h", "co2_day_mean", "ppm"),
    ("leak_ch([0-9]+)", "leak_{0}", None),
    ("lightning", "lightning_distance", "km"),
    ("lightning_num", "lightning_day_total", None),
    ("soilad([0-9]+)", "soil_raw_{0}", None),
    # Most batteries are 0 for good and 1 for low; some are volts, some levels from 0 to 6.
    ("(wh40|wh68|wh80|wh90)batt", "battery_{0}", "V"),
    ("(soil|leaf_|tf_)batt([0-9]+)", "battery_{0}{1}", "V"),
    ("ws90cap_volt", "capacitor_ws90", "V"),
    ("(wh57|pm25|leak|co2)_?batt([0-9]*)", "battery_{0}_{1}_level", None),
    ("(?:wh([0-9]+))?batt(out|in|)([0-9]*)", "battery_{0}_{1}_{2}_low", None),
)
_PATTERNS = [(re.compile(pattern), name, unit) for pattern, name, unit in FIELDS]
_PERIODS = {"e": "event", "d": "daily", "w": "weekly", "m": "monthly", "y": "yearly"}

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
        # Acurite's hub sends several sensors in turn.
        prefix = f"{fields.get('sensor', '')}/" if "mt" in fields else ""
        batch.device = next((fields[name] for name in DEVICES if fields.get(name)), "")
        is_ambient = fields.get("stationtype", "").startswith("AMB")
        odd = {"UV": "uv_raw"} if "outtemp" in fields else {}
        if fields.get("softwaretype", "").startswith("WH26"):
            odd = {"baromin": "pressure_absolute"}
        for field, text in fields.items():
            if (sensor := _sensor(field)) is not None:
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


@lru_cache(maxsize=1024)
def _sensor(field: str) -> tuple[str, str | None] | None:
    for pattern, name, unit in _PATTERNS:
        if found := pattern.fullmatch(field):
            groups = [_PERIODS.get(group, group) for group in found.groups(default="")]
            return re.sub("__+", "_", name.format(*groups)).strip("_"), unit
    return None
