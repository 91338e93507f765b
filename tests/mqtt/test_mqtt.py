"""From a real broker to the database: stored once it is acknowledged, and not before."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.station import Process, Station, station_in_thread, tmon, wait_for
from tmon.mqtt.messages import FORMATS, Measured, readings, topic_filter

AT_MS = 1_772_366_400_000
AT = "2026-03-01T12:00:00Z"

MESSAGES: dict[str, tuple[str, str, list[Measured]]] = {
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
            Measured("living room/shelf", "voltage", 3000, "mV", AT_MS),
            Measured("living room/shelf", "battery", 97, "%", AT_MS),
            Measured("living room/shelf", "linkquality", 80, None, AT_MS),
        ],
    ),
    "zigbee2mqtt's bridge": ("zigbee2mqtt/bridge/state", '{"state": "online"}', []),
    "zigbee2mqtt's availability": ("zigbee2mqtt/x/availability", '{"state": "online"}', []),
    "tasmota": (
        "tele/plug/SENSOR",
        '{"Time":"2017-02-16T10:13:52","DS18B20":{"Id":"01","Temperature":70.6},"TempUnit":"F"}',
        [Measured("plug", "DS18B20/Temperature", 70.6, "°F")],
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
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_has_these_readings(case: str) -> None:
    topic, payload, expected = MESSAGES[case]
    assert [one._replace(may_be_old=False) for one in readings(topic, payload.encode())] == expected


def test_each_format_is_subscribed_to() -> None:
    filters = [topic_filter(pattern) for pattern, _ in FORMATS]
    assert "zigbee2mqtt/#" in filters
    assert "tele/+/SENSOR" in filters


class Broker:
    """mosquitto with a file of its own, so that a restart has what isn't acknowledged."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        (folder / "mosquitto.conf").write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nautosave_interval 1\nmax_queued_messages 0\n"
        )
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", "mosquitto.conf"]
        self.process = subprocess.Popen(command, cwd=self._folder, stderr=subprocess.DEVNULL)

    def publish(self, *messages: tuple[str, str], retain: bool = False) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        wait_for(lambda: _connects(client, self.port))
        client.loop_start()
        for topic, payload in messages:
            client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(20)
        client.disconnect()
        client.loop_stop()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


def _connects(client: paho.Client, port: int) -> bool:
    try:
        client.connect("127.0.0.1", port)
    except OSError:
        return False
    return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "broker"
    folder.mkdir()
    running = Broker(folder, port)
    yield running
    running.end()


def bridge(station: Station, broker: Broker) -> Process:
    folder = station.path.parent
    url = f"mqtt://127.0.0.1:{broker.port}"
    command = ("mqtt", "--mqtt-url", url, "--ingest-url", station.url)
    with (folder / "mqtt.log").open("ab") as stderr:
        return Process(folder, *command, stderr=stderr)


def connected(station: Station, times: int = 1) -> bool:
    return (station.path.parent / "mqtt.log").read_text().count("connected to") >= times


def rows(station: Station) -> list[Any]:
    query = (
        "select node, name, value, unit from sensors join readings on sensor = id order by 1, 2, 3"
    )
    return station.query(query)


def test_messages_become_readings(tmp_path: Path, broker: Broker) -> None:
    with station_in_thread(tmp_path) as station:
        broker.publish(("tmon/shed/old", "1"), retain=True)
        tmon(tmp_path, "device", "adopt", "shed", "shed")
        running = bridge(station, broker)
        try:
            wait_for(lambda: connected(station))
            broker.publish(("tmon/shed/t", "21.5"), ("zigbee2mqtt/porch", '{"temperature": 3}'))
            wait_for(lambda: station.count() == 1)
            assert rows(station) == [("shed", "t", 21.5, None)]
            wait_for(lambda: "porch" in tmon(tmp_path, "device", "list").stdout)
            broker.publish(*(("zigbee2mqtt/porch", '{"temperature": 3}') for _ in range(5)))
            broker.publish(("zigbee2mqtt/porch", '{"temperature": 4}'))
            tmon(tmp_path, "device", "adopt", "porch", "porch")
            wait_for(lambda: len([row for row in rows(station) if row[0] == "porch"]) == 2)
        finally:
            running.popen.terminate()
            assert running.end()[0] == 0


def test_whatever_is_killed_nothing_is_lost(tmp_path: Path, broker: Broker) -> None:
    with station_in_thread(tmp_path) as station:
        tmon(tmp_path, "device", "adopt", "shed", "shed")
        running = bridge(station, broker)
        wait_for(lambda: connected(station))
        for turn in range(4):
            broker.publish(*((f"tmon/shed/s{turn}", str(n)) for n in range(50)))
            running.kill()  # with messages on the way
            broker.publish(*((f"tmon/shed/s{turn}", str(n)) for n in range(50, 100)))
            running = bridge(station, broker)
        wanted = {(f"s{turn}", float(n)) for turn in range(4) for n in range(100)}
        wait_for(lambda: wanted <= {(row[1], row[2]) for row in rows(station)})
        running.popen.terminate()
        running.end()


def test_what_ingest_cant_store_now_waits_in_the_broker(tmp_path: Path, broker: Broker) -> None:
    with station_in_thread(tmp_path) as station:
        tmon(tmp_path, "device", "adopt", "shed", "shed")
    running = bridge(station, broker)  # nobody listens at that address any more
    wait_for(lambda: connected(station))
    broker.publish(*(("tmon/shed/t", str(n)) for n in range(20)))
    time.sleep(1)
    running.popen.terminate()
    assert running.end()[0] == 0
    with station_in_thread(tmp_path) as again:
        running = bridge(again, broker)
        wait_for(lambda: {row[2] for row in rows(again)} == {float(n) for n in range(20)})
        running.popen.terminate()
        assert running.end()[0] == 0


def test_without_a_broker_it_says_what_to_set(tmp_path: Path) -> None:
    for flags in ((), ("--mqtt-url", "http://x")):
        ran = tmon(tmp_path, "mqtt", *flags)
        assert ran.returncode == 1
        assert "TMON_MQTT_URL" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_broker_and_ingest_killed_lose_nothing(tmp_path: Path, broker: Broker) -> None:
    """The bridge keeps on, and what wasn't acknowledged comes again."""
    port = "0"
    serving = Process(tmp_path, "serve", "ingest", "--db", "tmon.db", "--port", port)
    url = serving.addresses(1)["ingest"]
    port = url.rpartition(":")[2]
    station = Station(tmp_path, url)
    tmon(tmp_path, "device", "adopt", "shed", "shed")
    running = bridge(station, broker)
    wait_for(lambda: connected(station))
    for turn in range(3):
        broker.publish(*((f"tmon/shed/s{turn}", str(n)) for n in range(40)))
        serving.kill()
        broker.publish(*((f"tmon/shed/s{turn}", str(n)) for n in range(40, 80)))
        serving = Process(tmp_path, "serve", "ingest", "--db", "tmon.db", "--port", port)
        serving.addresses(1)
        time.sleep(1.2)  # the broker saves what it has each second
        broker.process.kill()
        broker.process.wait()
        broker.start()
        wait_for(lambda turn=turn: connected(station, turn + 2))
    wanted = {(f"s{turn}", float(n)) for turn in range(3) for n in range(80)}
    wait_for(lambda: wanted <= {(row[1], row[2]) for row in rows(station)})
    running.popen.terminate()
    assert running.end()[0] == 0
    serving.kill()
