"""A gateway's devices wait for the owner, become nodes, and bring what they sent along."""

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.station import Station, station_in_thread, tmon
from tests.wires.devices import Device
from tmon.core.ruuvi import decoded
from tmon.db import keys
from tmon.db.connect import open_database
from tmon.db.devices import MOST_DEVICES, MOST_READINGS, Devices, Waiting, path_beside
from tmon.db.tokens import load_or_create_secret

TAG = "CB:B8:33:4C:88:4F"
RAW = "0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
STORED = {
    "temperature": (24.3, "°C"),
    "humidity": (53.49, "%"),
    "pressure": (1000.44, "hPa"),
    "battery_voltage": (2.977, "V"),
    "acceleration_x": (0.004, "g"),
    "acceleration_y": (-0.004, "g"),
    "acceleration_z": (1.036, "g"),
    "tx_power": (4, "dBm"),
    "movements_total": (66, None),
    "rssi": (-70, "dBm"),
}


def ruuvi(at_s: int, raw: str = RAW, tag: str = TAG) -> str:
    tags = {tag: {"rssi": -70, "timestamp": at_s, "data": raw}}
    data = {"coordinates": "", "timestamp": at_s, "nonce": 1, "gw_mac": "AA:BB", "tags": tags}
    return json.dumps({"data": data})


def numbered(sequence: int) -> str:
    """The same advertisement with another sequence number."""
    return RAW[: -12 - 4] + f"{sequence:04X}" + RAW[-12:]


class Home(Device):
    """A gateway's key, in place of a node's."""

    def __init__(self, station: Station, *, gateway: str = "hall", **flags: bool) -> None:
        with open_database(station.path) as db:
            given = {"names_nodes": False, "adopts_all": False, **flags}
            key = keys.get_or_create_of_gateway(db, gateway, **given)
        self.station = station
        self.node = "freezer"
        self.key = keys.Keys(load_or_create_secret(station.settings)).make(key)

    def run(self, *arguments: str) -> Any:
        ran = tmon(self.station.path.parent, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran


@pytest.fixture
def home(station: Station) -> Home:
    return Home(station)


def test_the_formats_own_example_is_decoded() -> None:
    fields = decoded(RAW)
    assert (fields["temperature"], fields["humidity"], fields["pressure"]) == (24.3, 53.49, 100044)
    assert fields["measurementSequenceNumber"] == 205
    assert not any(
        decoded("0201061BFF990405" + "8000FFFFFFFF" + "8000" * 3 + "FFFFFFFFFF" + "F" * 12).values()
    )
    for other in (
        "",
        "0201061BFF9904",
        "0201061BFF990403291A1E",
        "FF9904" + "05" * 3,
        "zz",
        "FF9904zz",
    ):
        assert decoded(other) == {}


def test_an_unknown_device_waits_and_comes_along_when_it_is_adopted(home: Home) -> None:
    now_s = int(time.time())
    for number in range(5):
        answer = home.post("/k/KEY/ruuvi", ruuvi(now_s - 50 + 10 * number, numbered(number)))
        assert (answer.status_code, answer.headers["X-Ruuvi-Gateway-Rate"]) == (200, "60")
    assert home.station.count() == 0
    assert home.station.query("select count(*) from nodes") == [(0,)]  # nothing public of it
    [listed] = json.loads(home.run("device", "list", "--json").stdout)
    assert (listed["id"], listed["gateway"], listed["node"]) == (TAG, "hall", None)
    assert "temperature 24.3 °C" in listed["last_values"]
    told = home.run("device", "adopt", TAG, "freezer").stderr
    assert "50 readings came along" in told
    assert {name: (rows[-1][1], rows[-1][2]) for name, rows in home.rows().items()} == STORED
    assert [row[0] for row in home.rows()["temperature"]] == [
        (now_s - 50 + 10 * number) * 1000 for number in range(5)
    ]
    home.post("/k/KEY/ruuvi", ruuvi(now_s, numbered(9)))
    assert len(home.rows()["temperature"]) == 6
    assert "0 readings" in home.run("device", "adopt", TAG, "freezer").stderr


def test_a_repeated_sequence_number_is_one_reading(home: Home) -> None:
    now_s = int(time.time())
    home.run("device", "adopt", TAG, "freezer", "--unheard")
    for number in range(3):
        assert home.post("/k/KEY/x", ruuvi(now_s - 30 + 10 * number)).status_code == 200
    assert [row[0] for row in home.rows()["temperature"]] == [(now_s - 30) * 1000]


def test_two_gateways_that_receive_a_tag_store_one_reading(home: Home) -> None:
    now_s = int(time.time())
    home.run("device", "adopt", TAG, "freezer", "--unheard")
    attic = Home(home.station, gateway="attic")
    assert attic.key != home.key
    for late_s, gateway in enumerate((home, attic, home)):
        assert gateway.post("/k/KEY/x", ruuvi(now_s - 30 + late_s)).status_code == 200
    assert attic.post("/k/KEY/x", ruuvi(now_s - 20, numbered(206))).status_code == 200
    assert home.post("/k/KEY/x", ruuvi(now_s - 10, RAW)).status_code == 200  # an older one
    times_s = [row[0] // 1000 - now_s for row in home.rows()["temperature"]]
    assert times_s == [-30, -20]


def test_a_decoded_measurement_is_numbered_in_text_too(home: Home) -> None:
    now_s = int(time.time())
    home.run("device", "adopt", TAG, "freezer", "--unheard")
    for at_s in (now_s - 30, now_s - 20):
        tag = {"timestamp": str(at_s), "temperature": "21.5", "measurementSequenceNumber": "7"}
        body = {"data": {"gw_mac": "AA", "tags": {TAG: tag}}}
        assert home.post("/k/KEY/x", json.dumps(body)).status_code == 200
    assert [row[1] for row in home.rows()["temperature"]] == [21.5]


def test_a_new_battery_begins_the_sequence_anew(home: Home) -> None:
    now_s = int(time.time())
    home.run("device", "adopt", TAG, "freezer", "--unheard")
    for at_s in (now_s - 3 * 3600, now_s - 5):
        assert home.post("/k/KEY/x", ruuvi(at_s)).status_code == 200
    assert len(home.rows()["temperature"]) == 2


def test_the_gateways_own_status_is_fine_and_stores_nothing(home: Home) -> None:
    assert home.post("/k/KEY/x", '{"data": {"gw_mac": "AA"}}').status_code == 200
    assert not path_beside(home.station.path).exists()


def test_what_is_ignored_is_thrown_away(home: Home) -> None:
    home.post("/k/KEY/x", ruuvi(int(time.time()) - 10))
    home.run("device", "ignore", TAG)
    assert home.post("/k/KEY/x", ruuvi(int(time.time()), numbered(9))).status_code == 200
    [listed] = json.loads(home.run("device", "list", "--json").stdout)
    assert (listed["node"], listed["last_values"]) == ("ignored", None)
    missing = tmon(home.station.path.parent, "device", "ignore", "nobody")
    assert (missing.returncode, "nobody" in missing.stderr) == (1, True)


def test_all_devices_of_a_gateway_may_become_nodes_at_once(station: Station) -> None:
    home = Home(station, adopts_all=True)
    home.node = TAG
    assert home.post("/k/KEY/x", ruuvi(int(time.time()))).status_code == 200
    assert {name: (rows[-1][1], rows[-1][2]) for name, rows in home.rows().items()} == STORED
    assert home.get("/k/KEY/plug one?temperature=21.5").status_code == 200
    assert ("plug-one",) in station.query("select name from nodes")


def test_a_gateway_must_say_which_device(home: Home) -> None:
    answer = home.get("/k/KEY?temperature=21.5")
    assert (answer.status_code, "which device" in answer.text) == (400, True)
    bearer = {"Authorization": "Bearer KEY"}
    refused = home.post("/readings", '{"value": 1}', headers=bearer)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_body")


def test_readings_name_their_devices(home: Home) -> None:
    home.run("device", "adopt", "shed", "shed", "--unheard")
    bearer = {"Authorization": "Bearer KEY"}
    body = """{"node": "shed", "readings": [
        {"sensor": "t", "value": 1, "measured_ms": 1770000000000},
        {"sensor": "t", "value": 2, "measured_ms": 1770000001000, "node": "porch"},
        {"sensor": "t", "value": 3, "measured_ms": 5},
        {"sensor": "t", "value": "x"}
    ]}"""
    for accepted, duplicates in ((2, 0), (1, 1)):
        answer = home.post("/readings", body, headers=bearer)
        told = answer.json()
        assert answer.status_code == 201
        assert (told["accepted"], told["duplicates"]) == (accepted, duplicates)
        assert [each["index"] for each in told["rejected"]] == [2, 3]
    home.node = "shed"
    assert home.rows() == {"t": [(1770000000000, 1.0, None)]}
    listed = json.loads(home.run("device", "list", "--json").stdout)
    assert {row["id"]: row["last_values"] for row in listed} == {"shed": "t 1.0", "porch": "t 2.0"}


def test_a_gateway_may_name_nodes_itself(station: Station) -> None:
    home = Home(station, names_nodes=True)
    home.node = "porch"
    bearer = {"Authorization": "Bearer KEY"}
    body = '{"node": "porch", "readings": [{"sensor": "t", "value": 1}]}'
    assert home.post("/readings", body, headers=bearer).status_code == 201
    assert home.values() == {"t": (1.0, None)}


@pytest.mark.parametrize(
    ("path", "body", "device"),
    [
        ("/k/KEY/write", "m,device=shed,a=b value=1", "shed"),
        ("/k/KEY/data/report/", "PASSKEY=ABC&tempf=50", "ABC"),
        ("/k/KEY/x", '{"esp8266id": "12", "sensordatavalues": []}', None),
        (
            "/k/KEY/x",
            '{"esp8266id": "12", "sensordatavalues": [{"value_type": "signal", "value": 1}]}',
            "esp8266-12",
        ),
        ("/k/KEY", '{"deviceInfo": {"devEui": "0004"}, "object": {"a": 1}}', "0004"),
        ("/k/KEY", '{"nickname": "n", "uid": "u1", "readings": {"noise": 1}}', "u1"),
        ("/k/KEY", '{"ID": 42, "angle": 1, "temperature": 2}', "42"),
        ("/k/KEY/plug", "temperature=1", "plug"),
    ],
)
def test_each_wire_says_which_device(home: Home, path: str, body: str, device: str | None) -> None:
    answer = home.post(path, body)
    assert answer.status_code in {200, 204}, answer.text
    listed = json.loads(home.run("device", "list", "--json").stdout)
    assert [row["id"] for row in listed] == ([device] if device else [])


def test_airgradients_own_path_needs_no_key_once_its_number_is_allowed(station: Station) -> None:
    path, body = "/sensors/airgradient:ecda3b/measures", '{"atmp": 21.5, "rco2": 447}'
    home = Home(station)
    assert home.post(path, body).status_code == 401
    home.run("device", "allow", "ecda3b", home.node)
    assert home.post(path, body).status_code == 200
    assert home.values() == {"temperature": (21.5, "°C"), "co2": (447, "ppm")}
    assert home.post(path.replace("ecda3b", "ecda3c"), body).status_code == 401


def test_a_device_without_a_key_is_taken_once_its_id_is_allowed(station: Station) -> None:
    body = '{"sensordatavalues": [{"value_type": "temperature", "value": "21.5"}]}'
    sent = {"X-Sensor": "esp8266-12", "X-PIN": "11"}
    home = Home(station)
    home.node = "balcony"
    path = "/v1/push-sensor-data/"
    assert home.post(path, body, headers=sent).status_code == 401
    home.run("device", "allow", "esp8266-12", "balcony")
    assert home.post(path, body, headers=sent).status_code == 200
    assert home.values() == {"BME280/temperature": (21.5, "°C")}
    other = {**sent, "X-Sensor": "esp8266-13"}
    assert home.post(path, body, headers=other).status_code == 401
    home.run("device", "ignore", "esp8266-12")
    assert home.post(path, body, headers=sent).status_code == 401


def test_adopted_alone_is_not_allowed_without_a_key(station: Station) -> None:
    home = Home(station)
    home.run("device", "adopt", "esp8266-12", "balcony", "--unheard")
    body = '{"sensordatavalues": [{"value_type": "temperature", "value": "21.5"}]}'
    sent = {"X-Sensor": "esp8266-12", "X-PIN": "11"}
    assert home.post("/v1/push-sensor-data/", body, headers=sent).status_code == 401


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    made = Devices(tmp_path / "tmon.devices.db")
    yield made
    made.close()


@pytest.mark.usefixtures("devices")
def test_the_file_is_private(tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "tmon.devices.db").stat().st_mode) == 0o600


def test_the_file_is_bounded(devices: Devices) -> None:
    for number in range(3):
        part = [Waiting("t", 6_000 * number + n, 1.0, None, 1) for n in range(6_000)]
        devices.keep("hall", "loud", part, 1)
    kept = devices.waiting("loud")
    assert len(kept) == MOST_READINGS
    assert kept[-1].measured_ms == 17_999
    devices.adopt("mine", "uid", 0)
    for number in range(MOST_DEVICES + 10):
        devices.keep("hall", f"d{number}", [Waiting("t", 1, 1.0, None, 1)], number + 2)
    ids = {row["id"] for row in devices.listed()}
    assert len(ids) == MOST_DEVICES + 1
    assert "mine" in ids
    assert "loud" not in ids
    assert devices.waiting("loud") == []


def test_a_kill_while_a_device_is_adopted_loses_nothing(tmp_path: Path) -> None:
    """It is the node's from the first moment; a reading is forgotten once it is stored."""
    with station_in_thread(tmp_path) as station:
        home = Home(station)
        home.post("/k/KEY/x", ruuvi(int(time.time()) - 10))
        with open_database(station.path) as db:
            from tmon.db import nodes  # noqa: PLC0415

            uid = nodes.find_or_make(db, "freezer").uid
        waiting = Devices(path_beside(station.path))
        waiting.adopt(TAG, uid, 1)  # and then it was killed
        waiting.close()
        home.post("/k/KEY/x", ruuvi(int(time.time()), numbered(7)))
        assert len(home.rows()["temperature"]) == 1
        told = home.run("device", "adopt", TAG, "freezer").stderr
        assert len(home.rows()["temperature"]) == 2, (told, home.rejected())


def test_devices_are_in_backups_and_come_back(home: Home, tmp_path: Path) -> None:
    home.post("/k/KEY/x", ruuvi(int(time.time()) - 10))
    home.run("device", "adopt", "esp8266-12", "balcony", "--unheard")
    made = home.run("backup", "kept").stdout.strip()
    assert stat.S_IMODE((tmp_path / f"{made}.devices").stat().st_mode) == 0o600
    new = tmp_path / "new"
    new.mkdir()
    assert tmon(new, "restore", str(tmp_path / made)).returncode == 0
    listed = json.loads(tmon(new, "device", "list", "--json").stdout)
    assert {row["id"]: row["node"] for row in listed} == {TAG: None, "esp8266-12": "balcony"}
    assert "10 readings" in tmon(new, "device", "adopt", TAG, "freezer").stderr
    assert tmon(new, "restore", str(tmp_path / made), "--force").returncode == 0
    again = json.loads(tmon(new, "device", "list", "--json").stdout)
    assert {row["id"] for row in again} == {TAG, "esp8266-12"}
    (tmp_path / f"{made}.devices").write_bytes(b"rubbish" * 1000)
    broken = tmon(new, "restore", str(tmp_path / made), "--force")
    assert (broken.returncode, "itself is restored" in broken.stderr) == (1, True)


def test_a_public_copy_has_no_devices(home: Home, tmp_path: Path) -> None:
    home.post("/k/KEY/x", ruuvi(int(time.time()) - 10))
    home.run("backup", "--publish", "public")
    assert not list((tmp_path / "public").glob("*.devices"))


def test_an_id_that_is_none_is_refused(home: Home) -> None:
    for text in ("x" * 129, "a%00b"):
        assert home.get(f"/k/KEY/{text}?temperature=1").status_code == 400


def test_a_node_that_is_gone_leaves_its_device_waiting(home: Home) -> None:
    devices = Devices(path_beside(home.station.path))
    devices.adopt(TAG, "no such node", 1)
    home.post("/k/KEY/x", ruuvi(int(time.time())))
    assert len(devices.waiting(TAG)) == len(STORED)
    devices.close()


def test_a_gateways_name_without_its_flag_names_the_flag(home: Home) -> None:
    for command in ("rotate", "revoke"):
        ran = tmon(home.station.path.parent, "key", command, "hall")
        assert (ran.returncode, "add --gateway" in ran.stderr) == (1, True)
