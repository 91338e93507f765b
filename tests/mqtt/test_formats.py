"""What programs publish, as recorded: which readings it has."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmon.mqtt.formats import PATTERNS, read_message
from tmon.mqtt.messages import Measured, UnitOf
from tmon.mqtt.news import News, with_plausible_time

RAW = "0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
RUUVI = (
    ("temperature", 24.3, "°C"),
    ("humidity", 53.49, "%"),
    ("pressure", 1000.44, "hPa"),
    ("battery_voltage", 2.977, "V"),
    ("acceleration_x", 0.004, "g"),
    ("acceleration_y", -0.004, "g"),
    ("acceleration_z", 1.036, "g"),
    ("tx_power", 4, "dBm"),
    ("movements_total", 66, None),
    ("rssi", -70, "dBm"),
)
AT_MS = 1_772_366_400_000
AT = "2026-03-01T12:00:00Z"

MESSAGES: dict[str, tuple[str, str, list[Measured | UnitOf]]] = {
    "zigbee2mqtt": (
        "zigbee2mqtt/living room/shelf",
        json.dumps(
            {
                "temperature": 21.5,
                "voltage": 3000,
                "battery": 97,
                "humidity": None,
                "linkquality": 80,
                "last_seen": AT,
            }
        ),
        [
            Measured("living room/shelf", "temperature", 21.5, "°C", AT_MS),
            Measured("living room/shelf", "voltage", 3.0, "V", AT_MS),
            Measured("living room/shelf", "battery", 97, "%", AT_MS),
            Measured("living room/shelf", "linkquality", 80, None, AT_MS),
        ],
    ),
    "zigbee2mqtt's bridge": ("zigbee2mqtt/bridge/state", '{"state": "online"}', []),
    "zigbee2mqtt's availability": ("zigbee2mqtt/x/availability", '{"state": "online"}', []),
    "tasmota": (
        "tele/plug/SENSOR",
        '{"Time":"2017-02-16T10:13:52","DS18B20":{"Id":"01","Temperature":70.6},"TempUnit":"F"}',
        [Measured("plug", "DS18B20/Temperature", 21.444, "°C")],
    ),
    "shelly, second generation": (
        "shellyht-1/events/rpc",
        json.dumps(
            {
                "src": "shellyht-1",
                "method": "NotifyFullStatus",
                "params": {
                    "ts": AT_MS / 1000,
                    "temperature:0": {"tC": 19.8, "tF": 67.6},
                    "humidity:0": {"rh": 42.2},
                    "devicepower:0": {"battery": {"V": 5.3, "percent": 72}},
                },
            }
        ),
        [
            Measured("shellyht-1", "temperature", 19.8, "°C", AT_MS),
            Measured("shellyht-1", "humidity", 42.2, "%", AT_MS),
            Measured("shellyht-1", "battery", 72, "%", AT_MS),
            Measured("shellyht-1", "battery_voltage", 5.3, "V", AT_MS),
        ],
    ),
    "shelly, no clock yet": (
        "s/events/rpc",
        '{"src": "s", "method": "NotifyStatus", "params": {"ts": null, "humidity:1": {"rh": 4}}}',
        [Measured("s", "humidity_1", 4, "%")],
    ),
    "shelly, first generation": (
        "shellies/shellyht-2/sensor/temperature",
        "19.5",
        [Measured("shellyht-2", "temperature", 19.5, "°C")],
    ),
    "shelly, a fault": ("shellies/shellyht-2/sensor/temperature", "999", []),
    "theengs": (
        "home/gw/BTtoMQTT/A4C138",
        '{"id":"A4:C1:38","tempc":20.5,"tempf":68.9,"hum":"50","batt":80,"rssi":-70}',
        [
            Measured("A4:C1:38", "temperature", 20.5, "°C"),
            Measured("A4:C1:38", "humidity", 50, "%"),
            Measured("A4:C1:38", "battery", 80, "%"),
            Measured("A4:C1:38", "rssi", -70, "dBm"),
        ],
    ),
    "rtl_433": (
        "rtl_433/pi/events",
        json.dumps(
            {
                "time": "2026-03-01 12:00:00",
                "model": "Nexus-TH",
                "id": 165,
                "channel": 1,
                "battery_ok": 1,
                "temperature_C": 21.5,
                "humidity": 45,
            }
        ),
        [
            Measured("Nexus-TH/1/165", "battery_ok", 1),
            Measured("Nexus-TH/1/165", "temperature", 21.5, "°C"),
            Measured("Nexus-TH/1/165", "humidity", 45, "%"),
        ],
    ),
    "statestream": (
        "homeassistant/sensor/attic_temperature/state",
        "21.5",
        [Measured("homeassistant", "attic_temperature", 21.5)],
    ),
    "statestream, unavailable": ("homeassistant/sensor/x/state", "unavailable", []),
    "esphome": ("porch/sensor/outside/state", "nan", []),
    "esphome, a value": (
        "porch/sensor/outside/state",
        "3.25",
        [Measured("porch", "outside", 3.25)],
    ),
    "plain": ("tmon/shed/soil/1", " 12.5 ", [Measured("shed", "soil/1", 12.5)]),
    "something else": ("a/b/c", "1", []),
    "rubbish": ("zigbee2mqtt/x", "{" * 5000, []),
    "rtl_433, its devices": (
        "rtl_433/pi/devices/Nexus-TH/1/165/temperature_C",
        "21.5",
        [Measured("Nexus-TH/1/165", "temperature", 21.5, "°C")],
    ),
    "rtl_433, a device's id": ("rtl_433/pi/devices/Nexus-TH/1/165/id", "165", []),
    "rtl_433, a state": ("rtl_433/pi/devices/Nexus-TH/1/165/mic", "CRC", []),
    "rtl_433, no device": ("rtl_433/pi/devices/rows", "1", []),
    "rtl_433, a name that no topic has": (
        "rtl_433/pi/events",
        '{"model": "Acurite 606TX", "subtype": "x/y", "id": 7, "wind_avg_mi_h": 10}',
        [Measured("Acurite_606TX/x_y/7", "wind_avg", 4.47, "m/s")],
    ),
    "ruuvi": (
        "ruuvi/AA:BB/cb:b8:33:4c:88:4f",
        json.dumps({"gw_mac": "AA:BB", "rssi": -70, "ts": str(AT_MS // 1000), "data": RAW}),
        [
            Measured("CB:B8:33:4C:88:4F", name, value, unit, AT_MS, sequence=205)
            for name, value, unit in RUUVI
        ],
    ),
    "ruuvi's gateway": ("ruuvi/AA:BB/gw_status", '{"state": "online", "rssi": 3}', []),
    "ruuvi, another format": ("ruuvi/AA/BB", '{"rssi": -70, "ts": "5", "data": "FF990403"}', []),
    "statestream, another domain": (
        "homeassistant/binary_sensor/door/state",
        "on",
        [Measured("homeassistant", "binary_sensor.door", 1)],
    ),
    "statestream, a unit": (
        "homeassistant/sensor/attic_temperature/unit_of_measurement",
        '"°F"',
        [UnitOf("homeassistant", "attic_temperature", "°F")],
    ),
    "statestream, no unit": ("homeassistant/sensor/x/unit_of_measurement", "null", []),
    "statestream, an attribute that is measured": (
        "homeassistant/climate/hall/current_temperature",
        "20.5",
        [Measured("homeassistant", "climate.hall/current_temperature", 20.5)],
    ),
    "statestream, another attribute": ("homeassistant/climate/hall/min_temp", "7", []),
    "infinite": ("zigbee2mqtt/x", '{"temperature": Infinity, "humidity": 1e999}', []),
    "a word for a voltage": (
        "zigbee2mqtt/x",
        '{"voltage": true, "battery": "on"}',
        [Measured("x", "voltage", 0.001, "V"), Measured("x", "battery", 1, "%")],
    ),
    "a name that no sensor can have": (
        "tmon/shed/soil moisture",
        "3",
        [Measured("shed", "soil_moisture", 3)],
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_has_these_readings(case: str) -> None:
    topic, payload, expected = MESSAGES[case]
    found = [
        one._replace(may_be_old=False, is_copy=False, unit_apart=False)
        if isinstance(one, Measured)
        else one
        for one in read_message(topic, payload.encode())
    ]
    assert found == expected


def test_each_format_is_subscribed_to() -> None:
    filters = [pattern.filter for pattern, _ in PATTERNS]
    assert "zigbee2mqtt/#" in filters
    assert "tele/+/SENSOR" in filters


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = ("last_seen", "battery", "voltage", "temperature", "ts", "data", "params", "model", "id")


@given(
    st.sampled_from([topic for topic, *_ in MESSAGES.values()]),
    st.one_of(JSON.map(json.dumps), st.text())
    | st.dictionaries(st.sampled_from(FIELDS), JSON).map(json.dumps),
)
def test_no_message_breaks_it(topic: str, payload: str) -> None:
    readings = [with_plausible_time(one, AT_MS) for one in measured(topic, payload)]
    for row in News().rows(readings, AT_MS):
        json.dumps(row, allow_nan=False)


def measured(topic: str, payload: str) -> list[Measured]:
    found = read_message(topic, payload.encode(errors="replace"))
    return [one for one in found if isinstance(one, Measured)]


def rows(news: News, *messages: tuple[str, str]) -> list[tuple[str, float]]:
    """Sensor and value of what is news, of messages that come a minute apart."""
    return [
        (row["sensor"], row["value"])
        for number, message in enumerate(messages)
        for row in news.rows(measured(*message), AT_MS + 60_000 * number)
    ]


def test_rtl_433s_devices_are_copies_of_its_events() -> None:
    event = ("rtl_433/pi/events", '{"model": "Nexus-TH", "id": 165, "temperature_C": 21.5}')
    device = ("rtl_433/pi/devices/Nexus-TH/165/temperature_C", "21.5")
    assert rows(News(), event, device) == [("temperature", 21.5)]
    assert rows(News(), device, device) == [("temperature", 21.5)] * 2


def test_two_gateways_that_receive_a_tag_send_one_reading() -> None:
    first, second = (
        (
            f"ruuvi/{gateway}/CB:B8:33:4C:88:4F",
            json.dumps({"ts": AT_MS // 1000 + late, "data": RAW}),
        )
        for gateway, late in (("AA", 0), ("BB", 1))
    )
    assert len(rows(News(), first, second, first)) == 9


def test_a_clock_that_was_never_set_gives_way_to_the_time_of_arrival() -> None:
    params = {"ts": AT_MS / 1000 + 3600, "humidity:0": {"rh": 4}}
    payload = {"method": "NotifyStatus", "params": params}
    [ahead] = measured("s/events/rpc", json.dumps(payload))
    assert ahead.measured_ms == AT_MS + 3_600_000
    assert with_plausible_time(ahead, AT_MS).measured_ms is None
    assert with_plausible_time(ahead, AT_MS + 3_600_000) == ahead
    [row] = News().rows([with_plausible_time(ahead, AT_MS)], AT_MS)
    assert row["measured_ms"] == AT_MS
