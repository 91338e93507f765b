"""Every sensor appears in Home Assistant by itself, and never comes back as a reading."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt.broker import Broker, bridge, connected, end
from tests.station import Station, station_in_thread, tmon, wait_for
from tmon.core.errors import RefusedDatabase
from tmon.db.connect import open_database
from tmon.mqtt.home_assistant import HomeAssistant, Latest

# Of home-assistant.io/integrations/sensor.mqtt and /integrations/mqtt: what a sensor's
# configuration may have; and of home-assistant/core components/sensor/const.py: the units of
# device classes, and the state classes of those that only grow.
KEYS = {
    *("availability", "availability_mode", "availability_template", "availability_topic"),
    *("default_entity_id", "device", "device_class", "enabled_by_default", "encoding"),
    *("entity_category", "entity_picture", "expire_after", "force_update", "icon"),
    *("json_attributes_template", "json_attributes_topic", "last_reset_value_template", "name"),
    *("options", "origin", "payload_available", "payload_not_available", "platform", "qos"),
    *("state_class", "state_topic", "suggested_display_precision", "unique_id"),
    *("unit_of_measurement", "value_template"),
}
DEVICE_KEYS = {
    *("configuration_url", "connections", "hw_version", "identifiers", "manufacturer", "model"),
    *("model_id", "name", "serial_number", "suggested_area", "sw_version", "via_device"),
}
CLASS_UNITS = {
    "battery": {"%"},
    "carbon_dioxide": {"ppm"},
    "current": {"A", "mA"},
    "distance": {"km", "m", "cm", "mm", "mi", "nmi", "yd", "in"},
    "energy": {"Wh", "kWh", "MWh", "J", "kJ", "MJ"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
    "humidity": {"%"},
    "illuminance": {"lx"},
    "irradiance": {"W/m²"},
    "moisture": {"%"},
    "pm1": {"µg/m³"},
    "pm10": {"µg/m³"},
    "pm25": {"µg/m³"},
    "power": {"W", "kW"},
    "precipitation": {"mm", "cm", "in"},
    "precipitation_intensity": {"mm/h", "mm/d", "in/h", "in/d"},
    "pressure": {"hPa", "Pa", "kPa", "bar", "mbar", "mmHg", "inHg", "psi"},
    "signal_strength": {"dB", "dBm"},
    "speed": {"m/s", "km/h", "mph", "kn", "ft/s", "mm/d", "mm/h", "in/d", "in/h"},
    "temperature": {"°C", "°F", "K"},
    "voltage": {"V", "mV", "µV", "kV", "MV"},
    "wind_speed": {"m/s", "km/h", "mph", "kn", "ft/s"},
}
TOTALS = {"energy"}  # which can't be `measurement`
MAY_BE_TOTALS = {*TOTALS, "precipitation", "distance", None}


def sensor(name: str, unit: str | None, quantity: str | None = None, **fields: Any) -> Latest:
    row: dict[str, Any] = {
        "id": 7,
        "node_uid": "ab12",
        "node": "attic",
        "value": 1.0,
        "measured_ms": 0,
    }
    return Latest(
        **{**row, "name": name, "unit": unit, "quantity": quantity, "silent": False, **fields}
    )


def published(*sensors: Latest, public_url: str = "") -> dict[str, Any]:
    """What one round publishes, by topic."""
    messages: dict[str, Any] = {}
    home = HomeAssistant("0123", lambda: [*sensors], public_url, "1.0")

    def publish(topic: str, payload: str) -> bool:
        messages[topic] = json.loads(payload) if payload[:1] == "{" else payload
        home.stop()
        return True

    home.run(publish)
    return messages


@pytest.mark.parametrize(
    ("one", "device_class", "state_class"),
    [
        (sensor("temperature", "°C", "temperature"), "temperature", "measurement"),
        (sensor("bme280/humidity", "%", "humidity"), "humidity", "measurement"),
        (sensor("battery", "%", "fraction"), "battery", "measurement"),
        (sensor("soil_moisture", "%"), "moisture", "measurement"),
        (sensor("load", "%"), None, "measurement"),
        (sensor("co2", "ppm", "concentration"), "carbon_dioxide", "measurement"),
        (sensor("methane", "ppm"), None, "measurement"),
        (sensor("pm25", "µg/m³"), "pm25", "measurement"),
        (sensor("pm10", "µg/m³"), "pm10", "measurement"),
        (sensor("pm1", "µg/m³"), "pm1", "measurement"),
        (sensor("nh3", "µg/m³"), None, "measurement"),
        (sensor("energy_total", "Wh"), "energy", "total_increasing"),
        (sensor("energy", "kWh"), "energy", "total_increasing"),
        (sensor("rain_total", "mm"), "precipitation", "total_increasing"),
        (sensor("rain", "mm"), "precipitation", "measurement"),
        (sensor("rain_rate", "mm/h"), "precipitation_intensity", "measurement"),
        (sensor("snow", "mm"), "distance", "measurement"),
        (sensor("wind_gust", "m/s"), "wind_speed", "measurement"),
        (sensor("wind_direction", "°"), None, "measurement"),
        (sensor("movements_total", None), None, "total_increasing"),
        (sensor("charge_total", "V"), None, "total_increasing"),
        (sensor("pressure", "hPa"), "pressure", "measurement"),
        (sensor("rssi", "dBm"), "signal_strength", "measurement"),
        (sensor("sun", "lx"), "illuminance", "measurement"),
    ],
)
def test_what_home_assistant_is_told(
    one: Latest, device_class: str | None, state_class: str
) -> None:
    config = published(one, public_url="https://example.org")[
        "homeassistant/sensor/tmon_0123/7/config"
    ]
    assert config.keys() <= KEYS
    assert config["device"].keys() <= DEVICE_KEYS
    assert (config.get("device_class"), config["state_class"]) == (device_class, state_class)
    assert config.get("unit_of_measurement") == one.unit
    if device_class:
        assert one.unit in CLASS_UNITS[device_class]
    assert (state_class == "measurement") <= (device_class not in TOTALS)
    assert (state_class == "measurement") or device_class in MAY_BE_TOTALS


def test_a_sensor_links_to_its_page() -> None:
    one = sensor("1-wire/top", "°C", node="living:room")
    told = published(one, public_url="https://example.org")
    device = told["homeassistant/sensor/tmon_0123/7/config"]["device"]
    assert device["configuration_url"] == "https://example.org/node/living%3Aroom"
    assert told["tmon_0123/7"]["page"] == "https://example.org/node/living%3Aroom/1-wire/top"
    without = published(one)
    assert "configuration_url" not in without["homeassistant/sensor/tmon_0123/7/config"]["device"]
    assert "page" not in without["tmon_0123/7"]


class Listener:
    """What a broker retains now, as Home Assistant would see it."""

    def __init__(self, broker: Broker) -> None:
        self.retained: dict[str, str] = {}
        self.client = broker.client()
        self.client.on_message = self._on_message
        self.client.subscribe([("homeassistant/#", 1), ("+/+", 1)])
        self.client.loop_start()

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        if message.payload:
            self.retained[message.topic] = message.payload.decode()
        else:
            self.retained.pop(message.topic, None)

    def configs(self) -> dict[str, Any]:
        """By the sensor's name."""
        retained = {**self.retained}
        found = [json.loads(text) for topic, text in retained.items() if "/config" in topic]
        return {one["name"]: one for one in found}

    def state(self, name: str) -> Any:
        return json.loads(self.retained.get(self.configs()[name]["state_topic"], "{}"))

    def status(self) -> str:
        topics = (one for one in [*self.retained] if re.fullmatch("tmon_.*/status", one))
        return next((self.retained.get(one, "") for one in topics), "")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listener(broker: Broker) -> Any:
    made = Listener(broker)
    yield made
    made.close()


def test_sensors_appear_change_and_go(tmp_path: Path, broker: Broker, listener: Listener) -> None:
    with station_in_thread(tmp_path) as station:
        old = {"sensor": "old", "value": 3, "unit": "%", "measured_ms": 1_772_366_400_000}
        assert station.post([{"value": 21.5}, old], node="attic").status_code == 201
        running = bridge(station, broker, "--mqtt-discovery", "yes")
        wait_for(lambda: listener.configs().keys() == {"temperature", "old"})
        wait_for(lambda: listener.status() == "online")
        assert listener.state("temperature")["value"] == 21.5
        assert listener.state("temperature")["availability"] == "online"
        assert listener.state("old")["availability"] == "offline"
        before = {*listener.retained}
        listener.retained.clear()
        broker.publish(("homeassistant/status", "online"))  # it is started again: all once more
        wait_for(lambda: listener.retained.keys() >= before)
        running.kill()
        wait_for(lambda: listener.status() == "offline")  # the broker says so
        assert listener.configs().keys() == {"temperature", "old"}
        remove(station, "old")
        running = bridge(station, broker, "--mqtt-discovery", "yes")
        wait_for(lambda: listener.configs().keys() == {"temperature"})
        wait_for(lambda: len([one for one in listener.retained if one.startswith("tmon_")]) == 2)
        end(running, station)
        wait_for(lambda: listener.status() == "offline")
        running = bridge(station, broker)  # switched off: nothing of it stays
        wait_for(lambda: listener.configs() == {})
        end(running, station)
        assert station.count() == 1
        assert "device" not in tmon(tmp_path, "device", "list").stdout


def remove(station: Station, name: str) -> None:

    with open_database(station.path) as db:
        db.execute(
            "delete from readings where sensor = (select id from sensors where name = ?)", [name]
        )


def test_what_is_published_never_comes_back(tmp_path: Path, broker: Broker) -> None:
    topics = tmp_path / "topics.yml"
    topics.write_text('- topic: "<node>/<sensor>"\n  value: value\n')
    with station_in_thread(tmp_path) as station:
        station.post({"value": 21.5}, node="attic")
        flags = ("--mqtt-discovery", "yes", "--mqtt-topics", str(topics))
        running = bridge(station, broker, *flags)
        wait_for(lambda: connected(station))
        echoes = (
            ("homeassistant/sensor/tmon_attic_temperature/state", "21.5"),
            ("homeassistant/sensor/attic_temperature/state", "21.5"),
        )
        listener = Listener(broker)
        wait_for(lambda: listener.configs().keys() == {"temperature"})
        listener.close()
        broker.publish(*echoes, ("tmon/shed/t", "1"))
        wait_for(lambda: "shed" in tmon(tmp_path, "device", "list").stdout)
        listed = json.loads(tmon(tmp_path, "device", "list", "--json").stdout)
        assert [row["id"] for row in listed] == ["shed"]
        assert "is one of ours" in (tmp_path / "mqtt.log").read_text()
        end(running, station)


def test_what_home_assistant_sent_is_not_sent_back(tmp_path: Path, broker: Broker) -> None:
    """Else each of its entities would make another one, for ever."""
    with station_in_thread(tmp_path) as station:
        station.post({"value": 21.5}, node="attic")
        tmon(tmp_path, "device", "adopt", "homeassistant", "house", "--unheard")
        running = bridge(station, broker, "--mqtt-discovery", "yes")
        wait_for(lambda: connected(station))
        broker.publish(
            ("homeassistant/sensor/oven/state", "392"),
            ("homeassistant/sensor/oven/unit_of_measurement", '"°F"'),
        )
        wait_for(lambda: station.count() == 2)
        unit = "select value, unit from sensors join readings on sensor = id where name = 'oven'"
        assert station.query(unit) == [(200.0, "°C")]
        station.post({"sensor": "later", "value": 1}, node="attic")
        listener = Listener(broker)
        broker.publish(("homeassistant/status", "online"))
        wait_for(lambda: "later" in listener.configs())
        assert listener.configs().keys() == {"temperature", "later"}
        listener.close()
        end(running, station)


def test_an_entity_without_a_unit_is_stored_all_the_same(tmp_path: Path, broker: Broker) -> None:
    with station_in_thread(tmp_path) as station:
        tmon(tmp_path, "device", "adopt", "homeassistant", "house", "--unheard")
        running = bridge(station, broker)
        wait_for(lambda: connected(station))
        broker.publish(("homeassistant/sensor/people/state", "3"))
        wait_for(lambda: station.count() == 1)
        assert station.query("select name, unit from sensors") == [("people", None)]
        end(running, station)


def test_a_database_that_cant_be_read_now_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def unreadable() -> list[Latest]:
        raise RefusedDatabase("tmon.db: no such database")

    home = HomeAssistant("0123", unreadable, "", "1.0")
    assert home.know_own() is None
    assert home.know_own() is None
    assert [one for one in caplog.messages if "no such database" in one] == [
        "Home Assistant gets nothing new, trying again: tmon.db: no such database"
    ]
    assert home.take("homeassistant/sensor/tmon_attic_temperature/state", b"1")  # ours all the same
    assert not home.take("homeassistant/sensor/oven/state", b"1")
    assert not home.take("homeassistant/light/tmon_lamp/state", b"on")
    assert not home.take("homeassistant", b"1")
    assert not HomeAssistant("0123", None, "", "1.0").take("homeassistant/sensor/tmon_x/state", b"")
