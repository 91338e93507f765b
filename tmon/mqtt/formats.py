"""What programs publish by MQTT: which topics are readings, of which device, and their values.

Each format is a row of ``FORMATS``: a pattern of topics, and a function that yields readings.
The first pattern that matches has the message; a topic that none matches is no reading.

Sources: Koenkk/zigbee2mqtt lib/controller.ts; tasmota/docs; esphome; the Shelly API docs; theengs;
merbanan/rtl_433 src/output_mqtt.c; home-assistant/core mqtt_statestream; ruuvi/ruuvi.gateway_esp.c.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tmon.core.device_names import sensor_name
from tmon.core.device_times import seconds_ms, zoned_ms
from tmon.core.device_values import without_unit
from tmon.core.ruuvi import FIELDS, SEQUENCE, decoded, sequence_of
from tmon.mqtt.messages import HOME_ASSISTANT, Measured, Message, UnitOf, reading
from tmon.mqtt.topics import Pattern

# Units of fields that have the same meaning wherever they occur.
UNITS: dict[str, str] = {
    **dict.fromkeys(("temperature", "tempc", "device_temperature", "soil_temperature"), "°C"),
    **dict.fromkeys(("humidity", "hum", "soil_moisture", "battery", "batt", "moisture"), "%"),
    **dict.fromkeys(("pressure",), "hPa"),
    **dict.fromkeys(("illuminance", "illuminance_lux"), "lx"),
    **dict.fromkeys(("co2", "eco2"), "ppm"),
    **dict.fromkeys(("power", "active_power"), "W"),
    **dict.fromkeys(("energy",), "kWh"),
    **dict.fromkeys(("rssi", "linkquality_rssi"), "dBm"),
}


def zigbee2mqtt(message: Message) -> Iterator[Measured]:
    """One flat object for each device, which repeats all values that are known.

    A battery's voltage is in mV. ``last_seen`` is the time, if the owner has turned it on.
    """
    device, fields = message.parts["device"], message.document
    if device.startswith("bridge/") or device.endswith(("/availability", "/set", "/get")):
        return
    measured_ms = zoned_ms(fields.get("last_seen"))
    for field, value in fields.items():
        if field == "voltage" and "battery" in fields:
            yield from reading(device, "voltage", value, "mV", measured_ms)
        elif field != "last_seen":
            for one in reading(device, field, value, UNITS.get(field), measured_ms):
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
                    yield from reading(message.parts["device"], name, value, units.get(field))


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
                yield from reading(device, name + suffix, value, unit, measured_ms)


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
    field = message.parts["field"]
    units = {"temperature": "°C", "humidity": "%", "battery": "%", "lux": "lx", "power": "W"}
    for one in reading(message.parts["device"], field, message.payload, units.get(field)):
        if one.value != 999:
            yield one


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
        yield from reading(device, name, fields.get(field), unit)


# Parts of rtl_433's topic of a device, in the order of its own default.
RTL_433_PLACES = ("type", "model", "subtype", "channel", "id")
RTL_433_OTHERS = (*RTL_433_PLACES, "time", "mic", "mod", "freq", "protocol")


def rtl_433(message: Message) -> Iterator[Measured]:
    """``rtl_433/HOST/events``: a transmission. Its device is what the ``devices`` topic says."""
    fields = message.document
    places = [fields[one] for one in RTL_433_PLACES if one in fields]
    if "model" not in fields:
        return
    # As rtl_433 does in the topic.
    device = "/".join(re.sub("[^-.A-Za-z0-9]", "_", str(one)) for one in places)
    measured_ms = zoned_ms(fields.get("time"))
    for field, value in fields.items():
        if field not in RTL_433_OTHERS:
            yield from _of_rtl_433(device, field, value, measured_ms)


def rtl_433_device(message: Message) -> Iterator[Measured]:
    """``rtl_433/HOST/devices/…/FIELD``: a bare value. The same is in ``events``, if that is on."""
    device, _, field = message.parts["place"].rpartition("/")
    if device and field not in RTL_433_OTHERS:
        for one in _of_rtl_433(device, field, message.payload, None):
            yield one._replace(is_copy=True)


def _of_rtl_433(
    device: str, field: str, value: object, measured_ms: int | None
) -> Iterator[Measured]:
    name, unit = without_unit(field)
    yield from reading(device, name, value, unit or UNITS.get(field), measured_ms)


def ruuvi(message: Message) -> Iterator[Measured]:
    """``ruuvi/GATEWAY/TAG``: an advertisement, raw or decoded; ``gw_status`` has none."""
    document = message.document
    fields = {**document, **decoded(str(document.get("data", "")))}
    sequence, measured_ms = sequence_of(fields), seconds_ms(document.get("ts"))
    device = message.parts["device"].upper()
    if SEQUENCE not in fields:
        return
    for field, name, unit in FIELDS:
        if field in fields:
            for one in reading(device, name, fields[field], unit, measured_ms):
                yield one._replace(sequence=sequence)


# Attributes of an entity that are measured; of the others some are numbers too.
STATESTREAM_ATTRIBUTES = {
    "current_temperature": None,  # in °C or °F, as Home Assistant is set
    "current_humidity": "%",
    "battery_level": "%",
}


def statestream(message: Message) -> Iterator[Measured]:
    """Home Assistant's statestream: an entity's state as text; its unit comes on its own."""
    for one in reading(HOME_ASSISTANT, _entity(message), message.payload):
        yield one._replace(unit_apart=True)


def statestream_attribute(message: Message) -> Iterator[Measured]:
    """An attribute of an entity, as JSON."""
    name = message.topic.rpartition("/")[2]
    unit = STATESTREAM_ATTRIBUTES[name]
    yield from reading(HOME_ASSISTANT, f"{_entity(message)}/{name}", message.json, unit)


def statestream_unit(message: Message) -> Iterator[UnitOf]:
    """``unit_of_measurement``: JSON text such as ``"°C"``."""
    unit = message.json
    if isinstance(unit, str):
        yield UnitOf(HOME_ASSISTANT, sensor_name(_entity(message)), unit or None)


def _entity(message: Message) -> str:
    domain, entity = message.parts["domain"], message.parts["entity"]
    return entity if domain == "sensor" else f"{domain}.{entity}"


def plain(message: Message) -> Iterator[Measured]:
    """ESPHome's ``NODE/sensor/ID/state``, and ``tmon/NODE/SENSOR``: a number without its unit."""
    yield from reading(message.parts["device"], message.parts["sensor"], message.payload)


Reader = Callable[[Message], Iterator[Measured | UnitOf]]
FORMATS: tuple[tuple[str, Reader], ...] = (
    ("zigbee2mqtt/<device...>", zigbee2mqtt),
    ("tele/<device>/SENSOR", tasmota),
    ("<device>/events/rpc", shelly),
    ("shellies/<device>/sensor/<field>", shelly_first),
    ("home/<gateway>/BTtoMQTT/<device>", bluetooth),
    ("rtl_433/<host>/events", rtl_433),
    ("rtl_433/<host>/devices/<place...>", rtl_433_device),
    ("ruuvi/<gateway>/<device>", ruuvi),
    ("homeassistant/<domain>/<entity>/state", statestream),
    ("homeassistant/<domain>/<entity>/unit_of_measurement", statestream_unit),
    *(
        (f"homeassistant/<domain>/<entity>/{name}", statestream_attribute)
        for name in STATESTREAM_ATTRIBUTES
    ),
    ("<device>/sensor/<sensor>/state", plain),
    ("tmon/<device>/<sensor...>", plain),
)
PATTERNS = [(Pattern(text), reader) for text, reader in FORMATS]


def read_message(topic: str, payload: bytes) -> list[Measured | UnitOf]:
    """The readings of a message; none of one that is something else."""
    for pattern, reader in PATTERNS:
        if (parts := pattern.match(topic)) is not None:
            return [*reader(Message(topic, parts, payload.decode(errors="replace")))]
    return []
