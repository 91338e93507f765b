"""What the fields of weather stations' consoles are called here, and their units.

Sources: Weather Underground's "PWS Upload Protocol"; the fields of home-assistant-libs/aioecowitt;
ambient-weather/api-docs, "Device Data Specs".
"""

import re
from functools import lru_cache

# Each field: a pattern, the sensor's name with the pattern's groups, and the unit.
FIELDS: tuple[tuple[str, str, str | None], ...] = (
    ("tempf", "temperature", "°F"),
    ("temp(?:in|indoor)f|indoortempf", "temperature_indoor", "°F"),
    ("temp([0-9]+)f", "temperature_{0}", "°F"),
    ("outtemp", "temperature", "°C"),
    ("intemp", "temperature_indoor", "°C"),
    ("soiltemp([0-9]*)f", "temperature_soil{0}", "°F"),
    ("tf_ch([0-9]+)c?", "temperature_probe{0}", "°F"),
    ("tf_co2|pm_in_temp(?:_aqin)?", "temperature_co2", "°F"),
    ("dew(?:pt|point)f", "dew_point", "°F"),
    ("windchillf", "wind_chill", "°F"),
    ("heatindexf|heatf", "heat_index", "°F"),
    ("feelslikef", "feels_like", "°F"),
    ("(bgt|wbgt)", "temperature_{0}", "°F"),
    ("humidity|outhumi", "humidity", "%"),
    ("indoorhumidity|humidityin|inhumi", "humidity_indoor", "%"),
    ("humidity([0-9]+)", "humidity_{0}", "%"),
    ("humi_co2|pm_in_humidity(?:_aqin)?", "humidity_co2", "%"),
    ("soil(?:moisture|hum)([0-9]*)", "soil_moisture{0}", "%"),
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
    ("24hourrainin", "rain_24h", "in"),
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
    ("pm25", "pm25", "µg/m³"),
    ("pm25_24h", "pm25_day_mean", "µg/m³"),
    ("(pm25|pm10)_in(?:_aqin)?", "{0}_indoor", "µg/m³"),
    ("(pm25|pm10)_in_24h(?:_aqin)?", "{0}_indoor_day_mean", "µg/m³"),
    ("pm25_avg_24h_ch([0-9]+)", "pm25_day_mean_{0}", "µg/m³"),
    ("(pm(?:1|25|4|10))_co2", "{0}_co2", "µg/m³"),
    ("(pm(?:1|25|4|10))_24h_co2", "{0}_day_mean_co2", "µg/m³"),
    ("AqPM2\\.5", "pm25", "µg/m³"),
    ("AqPM10", "pm10", "µg/m³"),
    ("AqCO", "co", "ppm"),
    ("Aq([A-Z0-9]+)", "{0}", "ppb"),
    ("co2(?:in|_in|_in_aqin)?", "co2", "ppm"),
    ("co2(?:_?in)?_24h(?:_aqin)?", "co2_day_mean", "ppm"),
    ("leak(?:_ch)?([0-9]+)", "leak_{0}", None),
    ("lightning", "lightning_distance", "km"),
    ("lightning_(?:num|day)", "lightning_day_total", None),
    ("lightning_hour", "lightning_hour", None),
    ("lightning_distance", "lightning_distance", None),  # its unit is said nowhere
    ("soilad([0-9]+)", "soil_raw_{0}", None),
    # Most batteries are 0 for good and 1 for low; some are volts, some levels from 0 to 6.
    ("(wh40|wh68|wh80|wh90)batt", "battery_{0}", "V"),
    ("(soil|leaf_|tf_)batt([0-9]+)", "battery_{0}{1}", "V"),
    ("ws90cap_volt", "capacitor_ws90", "V"),
    ("(wh57|pm25|leak|co2)_?batt([0-9]*)", "battery_{0}_{1}_level", None),
    ("bat(?:t_?)?(co2|25(?:in)?|lightning|rain|(?:sm|r|leak)[0-9]+)", "battery_{0}_low", None),
    ("(?:wh([0-9]+))?batt(out|in|)([0-9]*)", "battery_{0}_{1}_{2}_low", None),
)
_PATTERNS = [(re.compile(pattern), name, unit) for pattern, name, unit in FIELDS]
_PERIODS = {"e": "event", "d": "daily", "w": "weekly", "m": "monthly", "y": "yearly"}


@lru_cache(maxsize=1024)
def sensor_of(field: str) -> tuple[str, str | None] | None:
    """A field's sensor and unit; None for what is no measurement, or isn't known."""
    for pattern, name, unit in _PATTERNS:
        if found := pattern.fullmatch(field):
            groups = [_PERIODS.get(group, group) for group in found.groups(default="")]
            return re.sub("__+", "_", name.format(*groups)).strip("_"), unit
    return None
