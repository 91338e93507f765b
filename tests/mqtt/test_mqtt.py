"""From a real broker to the database: stored once it is acknowledged, and not before."""

from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from tests.mqtt.broker import Broker, bridge, connected, end
from tests.station import Process, Station, station_in_thread, tmon, wait_for
from tmon.mqtt.bridge import Bridge
from tmon.mqtt.home_assistant import HomeAssistant
from tmon.mqtt.owner_topics import OwnerTopic
from tmon.mqtt.quantities import QuantityNotes
from tmon.mqtt.topics import Pattern


def rows(station: Station) -> list[Any]:
    query = (
        "select node, name, value, unit from sensors join readings on sensor = id order by 1, 2, 3"
    )
    return station.query(query)


def test_messages_become_readings(tmp_path: Path, broker: Broker) -> None:
    with station_in_thread(tmp_path) as station:
        broker.publish(("tmon/shed/old", "1"), retain=True)
        tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
        running = bridge(station, broker)
        try:
            wait_for(lambda: connected(station))
            broker.publish(("tmon/shed/t", "21.5"), ("zigbee2mqtt/porch", '{"temperature": 3}'))
            wait_for(lambda: station.count() == 1)
            assert rows(station) == [("shed", "t", 21.5, None)]
            wait_for(lambda: "porch" in tmon(tmp_path, "device", "list").stdout)
            broker.publish(*(("zigbee2mqtt/porch", '{"temperature": 3}') for _ in range(5)))
            broker.publish(("zigbee2mqtt/porch", '{"temperature": 4}'))
            tmon(tmp_path, "device", "adopt", "porch", "porch", "--unheard")
            wait_for(lambda: len([row for row in rows(station) if row[0] == "porch"]) == 2)
        finally:
            end(running, station)


def test_whatever_is_killed_nothing_is_lost(tmp_path: Path, broker: Broker) -> None:
    with station_in_thread(tmp_path) as station:
        tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
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
        tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
    running = bridge(station, broker)  # nobody listens at that address any more
    wait_for(lambda: connected(station))
    broker.publish(*(("tmon/shed/t", str(n)) for n in range(20)))
    wait_for(lambda: "ingest doesn't store" in (tmp_path / "mqtt.log").read_text())
    end(running, station)
    with station_in_thread(tmp_path) as again:
        running = bridge(again, broker)
        wait_for(lambda: {row[2] for row in rows(again)} == {float(n) for n in range(20)})
        end(running, station)


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
    tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
    running = bridge(station, broker)
    wait_for(lambda: connected(station))
    for turn in range(3):
        broker.publish(*((f"tmon/shed/s{turn}", str(n)) for n in range(40)))
        serving.kill()
        broker.publish(*((f"tmon/shed/s{turn}", str(n)) for n in range(40, 80)))
        serving = Process(tmp_path, "serve", "ingest", "--db", "tmon.db", "--port", port)
        serving.addresses(1)
        broker.kill()
        broker.start()
        wait_for(lambda turn=turn: connected(station, turn + 2))
    wanted = {(f"s{turn}", float(n)) for turn in range(3) for n in range(80)}
    wait_for(lambda: wanted <= {(row[1], row[2]) for row in rows(station)})
    end(running, station)
    serving.kill()


class Broken:
    """A row of topics with a fault in it."""

    pattern = Pattern("a/<node>")

    def readings(self, *_: object) -> Any:
        raise RuntimeError


def test_a_fault_in_one_format_stops_nothing_else(
    tmp_path: Path, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """The message is left out, and acknowledged: else it would come again for ever."""
    with station_in_thread(tmp_path) as station:
        tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
        url = f"{station.url}/k/{tmon(tmp_path, 'key', 'get', '--gateway', 'x').stdout.strip()}"
        home_assistant = HomeAssistant("0123", None, "", "1.0")
        topics = [cast(OwnerTopic, Broken())]
        address = f"mqtt://127.0.0.1:{broker.port}"
        running = Bridge(
            *(address, "tmon-test", f"{url}/readings", topics),
            *(QuantityNotes(lambda _: {}), home_assistant),
        )
        thread = Thread(target=running.run)
        thread.start()
        wait_for(lambda: "connected to" in caplog.text)
        broker.publish(("a/b", "1"), ("tmon/shed/t", "2"))
        wait_for(lambda: station.count() == 1)
        running.stop()
        thread.join()
    assert "a message on a/b can't be read" in caplog.text


def test_topics_that_the_broker_keeps_from_us_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Mosquitto's own lists of rights don't refuse subscriptions, but other brokers do."""
    home_assistant = HomeAssistant("0123", None, "", "1.0")
    notes = QuantityNotes(lambda _: {})
    running = Bridge("mqtt://127.0.0.1:1", "tmon-test", "", [], notes, home_assistant)
    taken, refused = (ReasonCode(PacketTypes.SUBACK, identifier=code) for code in (1, 128))
    running._filters = ["tele/+/SENSOR", "tmon/+/#"]
    running._on_subscribe(None, None, None, [refused, taken], None)
    assert "the broker doesn't let us read tele/+/SENSOR" in caplog.text
    assert "read tmon/+/#" not in caplog.text
