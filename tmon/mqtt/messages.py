"""What programs publish by MQTT: which topics are readings, of which device, and their values.

Each format is a row of ``FORMATS``: a pattern of topics, and a function that yields readings.
The first pattern that matches has the message; a topic that none matches is no reading.

Sources: Koenkk/zigbee2mqtt lib/controller.ts; tasmota/docs; esphome; the Shelly API docs; theengs;
merbanan/rtl_433 src/output_mqtt.c; home-assistant/core mqtt_statestream; ruuvi/ruuvi.gateway_esp.c.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tmon.core.reading import iso_moment
from tmon.core.time import as_ms

NO_VALUES = frozenset(("", "null", "none", "nan", "unavailable", "unknown", "offline", "online"))
WORDS = {"on": 1.0, "true": 1.0, "open": 1.0, "off": 0.0, "false": 0.0, "closed": 0.0}
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?")


class Measured(NamedTuple):
    """A reading as a message has it: of a device's sensor; without a time, of its arrival."""

    device: str
    sensor: str
    value: float
    unit: str | None = None
    measured_ms: int | None = None
    may_be_old: bool = False  # a message that repeats all known values: news only if it differs


class Message(NamedTuple):
    """A message: its topic in parts by the pattern's names, and its payload."""

    parts: Mapping[str, str]
    payload: str

    @property
    def document(self) -> dict[str, Any]:
        """The payload as a JSON object; empty if it is none."""
        try:
            document = json.loads(self.payload)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


# Units of fields that have the same meaning wherever they occur.
UNITS: dict[str, str] = {
    **dict.fromkeys(("temperature", "tempc", "device_temperature", "soil_temperature"), "°C"),
    **dict.fromkeys(("humidity", "hum", "soil_moisture", "battery", "batt"), "%"),
    **dict.fromkeys(("pressure",), "hPa"),
    **dict.fromkeys(("illuminance", "illuminance_lux"), "lx"),
    **dict.fromkeys(("co2", "eco2"), "ppm"),
    **dict.fromkeys(("power", "active_power"), "W"),
    **dict.fromkeys(("energy",), "kWh"),
    **dict.fromkeys(("rssi", "linkquality_rssi"), "dBm"),
}
# Of keys that have their unit behind them, as rtl_433's do.
SUFFIXES = {
    "_C": "°C",
    "_F": "°F",
    "_hPa": "hPa",
    "_kPa": "kPa",
    "_inHg": "inHg",
    "_km_h": "km/h",
    "_m_s": "m/s",
    "_mm": "mm",
    "_lux": "lx",
    "_V": "V",
    "_dB": "dB",
}


def number(value: object) -> float | None:
    """A value as a number; None for a text that is none, or that says that there is none."""
    if isinstance(value, bool | int | float):
        return float(value) if value == value else None  # noqa: PLR0124
    if not isinstance(value, str):
        return None
    folded = value.strip().casefold()
    if folded in NO_VALUES:
        return None
    if _NUMBER.fullmatch(folded):
        return float(folded)
    return WORDS.get(folded)


def zigbee2mqtt(message: Message) -> Iterator[Measured]:
    """One flat object for each device, which repeats all values that are known.

    A battery's voltage is in mV. ``last_seen`` is the time, if the owner has turned it on.
    """
    device, fields = message.parts["device"], message.document
    if device.startswith("bridge/") or device.endswith(("/availability", "/set", "/get")):
        return
    measured_ms = instant_ms(fields.get("last_seen"))
    for field, value in fields.items():
        if field == "voltage" and "battery" in fields:
            yield from _reading(device, "voltage", value, "mV", measured_ms)
        elif field != "last_seen":
            for one in _reading(device, field, value, UNITS.get(field), measured_ms):
                yield one._replace(may_be_old=measured_ms is None)


def tasmota(message: Message) -> Iterator[Measured]:
    """``tele/TOPIC/SENSOR``: an object for each sensor. The time has no zone, so it isn't taken."""
    fields = message.document
    temperature = {"F": "°F", "K": "K"}.get(str(fields.get("TempUnit")), "°C")
    pressure = {"hPa": "hPa", "mbar": "hPa", "mmHg": "mmHg", "inHg": "inHg"}.get(
        str(fields.get("PressureUnit"))
    )
    units = {"Temperature": temperature, "DewPoint": temperature, "Humidity": "%"}
    units |= {"Pressure": pressure or "hPa", "Illuminance": "lx", "Power": "W", "Voltage": "V"}
    units |= {"Current": "A", "Total": "kWh", "Today": "kWh", "CarbonDioxide": "ppm"}
    for chip, values in fields.items():
        if isinstance(values, dict):
            for field, value in values.items():
                if field not in ("Id", "TotalStartTime"):
                    name = f"{chip}/{field}"
                    yield from _reading(message.parts["device"], name, value, units.get(field))


def shelly(message: Message) -> Iterator[Measured]:
    """``DEVICE/events/rpc`` of the second generation. ``tC`` and ``tF`` are one reading."""
    document = message.document
    params = document.get("params")
    if document.get("method") not in ("NotifyStatus", "NotifyFullStatus"):
        return
    if not isinstance(params, dict):
        return
    device = str(document.get("src") or message.parts["device"])
    measured_ms = seconds_ms(params.get("ts"))
    for component, values in params.items():
        if isinstance(values, dict):
            kind, _, place = component.partition(":")
            suffix = f"_{place}" if place not in ("", "0") else ""
            for name, value, unit in _shelly_values(kind, values):
                yield from _reading(device, name + suffix, value, unit, measured_ms)


def _shelly_values(
    kind: str, values: Mapping[str, Any]
) -> Iterator[tuple[str, object, str | None]]:
    if kind == "temperature":
        yield "temperature", values.get("tC"), "°C"
    elif kind == "humidity":
        yield "humidity", values.get("rh"), "%"
    elif kind == "devicepower" and isinstance(values.get("battery"), dict):
        yield "battery", values["battery"].get("percent"), "%"
        yield "battery_voltage", values["battery"].get("V"), "V"
    elif kind in ("switch", "pm1"):
        yield "power", values.get("apower"), "W"
        yield "voltage", values.get("voltage"), "V"
        yield "current", values.get("current"), "A"
        energy = values.get("aenergy")
        yield "energy_total", energy.get("total") if isinstance(energy, dict) else None, "Wh"


def shelly_first(message: Message) -> Iterator[Measured]:
    """``shellies/DEVICE/sensor/temperature`` of the first generation: bare numbers; 999 is none."""
    value = number(message.payload)
    if value is not None and value != 999:
        field = message.parts["field"]
        units = {"temperature": "°C", "humidity": "%", "battery": "%", "lux": "lx", "power": "W"}
        yield Measured(message.parts["device"], field, value, units.get(field))


def bluetooth(message: Message) -> Iterator[Measured]:
    """OpenMQTTGateway and Theengs: a device's address, and ``tempc`` beside ``tempf``."""
    fields = message.document
    device = str(fields.get("id") or message.parts["device"])
    names = {"tempc": ("temperature", "°C"), "hum": ("humidity", "%"), "batt": ("battery", "%")}
    names |= {
        "volt": ("battery_voltage", "V"),
        "rssi": ("rssi", "dBm"),
        "pres": ("pressure", "hPa"),
    }
    names |= {"moi": ("moisture", "%"), "lux": ("illuminance", "lx"), "co2": ("co2", "ppm")}
    for field, (name, unit) in names.items():
        yield from _reading(device, name, fields.get(field), unit)


def rtl_433(message: Message) -> Iterator[Measured]:
    """``rtl_433/HOST/events``: a transmission, its model, id and channel; units behind the keys."""
    fields = message.document
    places = [str(fields[key]) for key in ("model", "channel", "id") if key in fields]
    device = "/".join(places)
    measured_ms = instant_ms(fields.get("time"))
    for field, value in fields.items():
        if field in ("time", "model", "id", "channel", "mic", "mod", "freq", "subtype"):
            continue
        suffix = next((one for one in SUFFIXES if field.endswith(one)), "")
        name = field.removesuffix(suffix)
        unit = SUFFIXES.get(suffix, UNITS.get(field))
        yield from _reading(device, name, value, unit, measured_ms)


def statestream(message: Message) -> Iterator[Measured]:
    """Home Assistant's statestream: an entity's state as text, without its unit."""
    domain, entity = message.parts["domain"], message.parts["entity"]
    name = entity if domain == "sensor" else f"{domain}.{entity}"
    yield from _reading("homeassistant", name, message.payload)


def esphome(message: Message) -> Iterator[Measured]:
    """``NODE/sensor/ID/state``: a bare number, without its unit."""
    yield from _reading(message.parts["device"], message.parts["sensor"], message.payload)


def plain(message: Message) -> Iterator[Measured]:
    """``tmon/NODE/SENSOR``: a bare number."""
    yield from _reading(message.parts["device"], message.parts["sensor"], message.payload)


Reader = Callable[[Message], Iterator[Measured]]
FORMATS: tuple[tuple[str, Reader], ...] = (
    ("zigbee2mqtt/<device...>", zigbee2mqtt),
    ("tele/<device>/SENSOR", tasmota),
    ("<device>/events/rpc", shelly),
    ("shellies/<device>/sensor/<field>", shelly_first),
    ("home/<gateway>/BTtoMQTT/<device>", bluetooth),
    ("rtl_433/<host>/events", rtl_433),
    ("homeassistant/<domain>/<entity>/state", statestream),
    ("<device>/sensor/<sensor>/state", esphome),
    ("tmon/<device>/<sensor...>", plain),
)


def topic_filter(pattern: str) -> str:
    """The filter to subscribe with: ``zigbee2mqtt/#`` for ``zigbee2mqtt/<device...>``."""
    return "/".join(
        "#" if part.endswith("...>") else "+" if part.startswith("<") else part
        for part in pattern.split("/")
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in pattern.split("/"):
        name = part.strip("<>").removesuffix("...")
        some = ".+" if part.endswith("...>") else "[^/]+"
        parts.append(f"(?P<{name}>{some})" if part.startswith("<") else re.escape(part))
    return re.compile("/".join(parts), re.DOTALL)


_COMPILED = [(_compiled(pattern), reader) for pattern, reader in FORMATS]


def readings(topic: str, payload: bytes) -> list[Measured]:
    """The readings of a message; none of one that is something else."""
    for pattern, reader in _COMPILED:
        if found := pattern.fullmatch(topic):
            return [*reader(Message(found.groupdict(), payload.decode(errors="replace")))]
    return []


def instant_ms(value: object) -> int | None:
    """Unix milliseconds of ISO 8601 text with a zone, or of a number of milliseconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value) if 1e11 < value < 1e14 else None
    moment = iso_moment(value.replace(" ", "T", 1)) if isinstance(value, str) else None
    return as_ms(moment) if moment is not None and moment.tzinfo is not None else None


def seconds_ms(value: object) -> int | None:
    """Unix milliseconds of a number of Unix seconds; None before the device's clock was set."""
    if isinstance(value, int | float) and 1e9 < value < 1e11:
        return round(value * 1000)
    return None


def _reading(
    device: str,
    sensor: str,
    value: object,
    unit: str | None = None,
    measured_ms: int | None = None,
) -> Iterator[Measured]:
    measured = number(value)
    if measured is not None:
        yield Measured(device, sensor, measured, unit, measured_ms)
