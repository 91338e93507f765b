"""Keys: the same each time, taken wherever a device has room, and in no log."""

import json
import re
from base64 import b64encode
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.station import Process, Station, holds_within_a_second, tmon
from tests.wires.devices import Device
from tmon.core.errors import InvalidName, UnknownKey, UnknownNode
from tmon.db import keys
from tmon.db.connect import open_database
from tmon.db.keys import KnownKey
from tmon.db.tokens import load_or_create_secret

KEY = re.compile("[0-9a-f]{32}")
READING = '{"value": 21.5}'


@pytest.fixture
def device(station: Station) -> Device:
    return Device(station, "plug")


def test_asking_again_gives_the_same_key(tmp_path: Path) -> None:
    first, again = (tmon(tmp_path, "key", "get", "plug", "attic").stdout for _ in range(2))
    assert first == again
    plug, attic = first.split()
    assert plug != attic
    assert KEY.fullmatch(plug)


def test_a_key_that_a_device_has_stays_valid_whatever_is_installed_later() -> None:
    key = KnownKey("0123456789ab", "plug", "0123456789abcdef", 1, None)
    made = keys.Keys(b"0123456789abcdef" * 4)
    assert made.make(key) == "0123456789ab90ba2ab5890957510dcd"
    made.verify(key, made.make(key)[12:].encode())


def test_the_database_holds_no_tag(device: Device) -> None:
    assert device.post("/k/KEY?temperature=1").status_code == 200
    stored = b"".join(
        path.read_bytes()
        for path in device.station.path.parent.glob("tmon.db*")
        if path.suffix != ".secret"
    )
    assert device.key[:12].encode() in stored
    assert device.key[12:].encode() not in stored
    assert bytes.fromhex(device.key[12:]) not in stored


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


PLACES = {
    "the path": ("/k/KEY/write", {}),
    "the path, before any prefix": ("/k/KEY/influx/write", {}),
    "the password in the query": ("/write?u=tmon&p=KEY", {}),
    "the key in the query": ("/write?api_key=KEY", {}),
    "apikey in the query": ("/write?apikey=KEY", {}),
    "token in the query": ("/write?token=KEY", {}),
    "the query, not the header": ("/write?u=x&p=KEY", {"Authorization": "Token (null)"}),
    "bearer": ("/write", {"Authorization": "Bearer KEY"}),
    "token": ("/write", {"Authorization": "Token KEY"}),
    "token with a user": ("/write", {"Authorization": "Token tmon:KEY"}),
    "bare": ("/write", {"Authorization": "KEY"}),
    "a vendor's header": ("/write", {"X-THINGSPEAKAPIKEY": "KEY"}),
    "another vendor's header": ("/write", {"APIKEY": "KEY"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_taken_wherever_there_is_room(device: Device, place: str) -> None:
    path, headers = PLACES[place]
    assert device.post(path, "m value=1", headers=headers).status_code == 204
    assert device.values() == {"m": (1, None)}


@pytest.mark.parametrize("place", ["password", "user"])
def test_a_key_may_be_either_part_of_basic(device: Device, place: str) -> None:
    pair = ("any", device.key) if place == "password" else (device.key, "")
    headers = {"Authorization": basic(*pair)}
    assert device.post("/write", "m value=1", headers=headers).status_code == 204


def test_a_token_is_taken_where_it_fits_too(device: Device) -> None:
    token = device.station.token("plug")
    assert device.post(f"/write?p={token}", "m value=1").status_code == 204
    assert device.post(f"/k/{token}/write", "m value=2 1700000000000000000").status_code == 204
    assert device.station.count() == 2


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"Authorization": "KEY"}),
        ("", {"Authorization": "Token KEY"}),
        ("", {"Authorization": "BASIC"}),
        ("", {"X-THINGSPEAKAPIKEY": "KEY"}),
        ("?api_key=KEY", {}),
        ("?key=KEY&x=1", {"Authorization": "Basic xx"}),
    ],
)
def test_readings_take_a_key_wherever_there_is_room(
    device: Device, query: str, headers: dict[str, str]
) -> None:
    sent = {
        name: text.replace("BASIC", basic("plug", device.key)).replace("KEY", device.key)
        for name, text in headers.items()
    }
    assert device.post(f"/readings{query}", READING, headers=sent).status_code == 201
    wrong = {name: text.replace(device.key, "0" * 32) for name, text in sent.items()}
    wrong |= {"Authorization": basic("plug", "0" * 32)} if "BASIC" in headers.values() else {}
    path = f"/readings{query.replace('KEY', '0' * 32)}"
    assert device.post(path, READING, headers=wrong).status_code == 401


def test_readings_take_both(device: Device) -> None:
    bearer = {"Authorization": "Bearer KEY"}
    assert device.post("/readings", READING, headers=bearer).status_code == 201
    assert device.post("/k/KEY/readings", READING).status_code == 201
    assert device.station.post({"value": 21.5}, node="plug").status_code == 201
    assert device.station.count() == 3


def test_a_key_can_write_and_nothing_else(device: Device) -> None:
    for path in ("/k/KEY/metrics", "/k/KEY/healthz", "/k/KEY/tmon"):
        assert device.get(path).status_code == 400


@pytest.mark.parametrize(
    "wrong",
    [
        "0" * 32,  # no such id
        "ID" + "0" * 20,  # another tag
        "UPPER",
        "ID",
        "",
        "tmon_plug.x.1.y",
        quote("\0é\n", safe=""),
    ],
)
def test_a_wrong_key_is_refused_and_leaves_no_trace(device: Device, wrong: str) -> None:
    bad = wrong.replace("ID", device.key[:12]).replace("UPPER", device.key.upper())
    answers = [
        device.post(f"/k/{bad}/write", "m value=1"),
        device.post(f"/write?p={bad}", "m value=1"),
        device.get(f"/k/{bad}?temperature=1"),
    ]
    assert {answer.status_code for answer in answers} <= {401, 404}
    assert device.station.count() == 0
    assert device.station.count("rejected") == 0


def test_rotated_and_revoked_keys_are_refused_within_a_second(device: Device) -> None:
    old = device.key
    assert device.get(f"/k/{old}?a=1").status_code == 200
    with open_database(device.station.path) as db:
        signer = keys.Keys(load_or_create_secret(device.station.settings))
        new = signer.make(keys.rotate(db, "plug"))
        assert new[:12] == old[:12]
        assert new != old
        holds_within_a_second(lambda: device.get(f"/k/{new}?a=1").status_code == 200)
        holds_within_a_second(lambda: device.get(f"/k/{old}?a=1").status_code == 401)
        keys.revoke(db, "plug")
        holds_within_a_second(lambda: device.get(f"/k/{new}?a=1").status_code == 403)
        assert device.station.post({"value": 1}, node="plug").status_code == 201  # its token


def test_a_renamed_node_keeps_its_key(device: Device) -> None:
    assert device.get("/k/KEY?a=1").status_code == 200
    assert tmon(device.station.path.parent, "node", "rename", "plug", "lamp").returncode == 0
    holds_within_a_second(lambda: device.get("/k/KEY/lamp?a=2").status_code == 200)
    assert device.get("/k/KEY/plug?a=3").status_code == 200
    assert device.get("/k/KEY/any-other-word?a=4").status_code == 200
    device.station.token("attic")
    assert device.get("/k/KEY/attic?a=5").status_code == 403


def test_commands_say_what_is_wrong(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        with pytest.raises(InvalidName):
            keys.get_or_create(db, "a b")
        with pytest.raises(UnknownNode):
            keys.rotate(db, "plug")
        keys.get_or_create(db, "plug")
        db.execute("delete from keys")
        with pytest.raises(UnknownKey, match="tmon key get plug"):
            keys.revoke(db, "plug")


def test_the_commands(tmp_path: Path) -> None:
    first = tmon(tmp_path, "key", "get", "plug").stdout.strip()
    second = tmon(tmp_path, "key", "rotate", "plug").stdout.strip()
    assert KEY.fullmatch(second)
    assert second != first
    revoked = tmon(tmp_path, "key", "revoke", "plug")
    assert (revoked.returncode, revoked.stdout) == (0, "")
    assert "tmon key rotate plug" in revoked.stderr
    again = tmon(tmp_path, "key", "get", "plug")
    assert again.returncode == 1
    assert "revoked" in again.stderr
    listed = tmon(tmp_path, "key", "list", "--json").stdout
    [row] = json.loads(listed)
    assert (row["node"], row["id"], row["generation"]) == ("plug", first[:12], 2)
    assert row["revoked_at"]
    assert second[12:] not in listed


def test_who_revokes_a_token_is_told_of_the_key(tmp_path: Path) -> None:
    tmon(tmp_path, "key", "get", "plug")
    assert "tmon key revoke plug" in tmon(tmp_path, "token", "revoke", "plug").stderr


def test_no_key_reaches_a_log(tmp_path: Path) -> None:
    key = tmon(tmp_path, "key", "get", "plug").stdout.strip()
    ports = {"TMON_PORT": "0", "TMON_DATASETTE_PORT": "0", "TMON_LOG_LEVEL": "info"}
    serving = Process(tmp_path, "serve", environ=ports)
    try:
        url = serving.addresses(2)["ingest"]
        station = Station(tmp_path, url)
        encoded = "".join(f"%{ord(digit):02x}" for digit in key)
        twice = encoded.replace("%", "%25")
        for text in (key, encoded, twice, key[:12] + "0" * 20, key.upper()):
            for path in (f"/k/{text}?a=1", f"/k/{text}/write", f"/write?p={text}", f"/x?y={text}"):
                station.http.post(url + path, data="m value=1", timeout=60)
        station.http.get(f"{url}/data/report/%26PASSKEY%3D{key}%26tempf%3D1", timeout=60)
    finally:
        serving.popen.terminate()
        _, stderr = serving.end()
    assert "/write" in stderr
    for text in (key, key[12:], key.upper(), encoded, twice):
        assert text not in stderr


def test_strangers_fill_no_log(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        assert station.http.post(f"{station.url}/write?p=x", data="m v=1").status_code == 401
    lines = [line for line in caplog.messages if "no valid key" in line]
    assert lines == ["127.0.0.1, influxdb: no valid key or token"]
    metrics = station.http.get(f"{station.url}/metrics").text
    assert 'tmon_wire_requests_total{outcome="unauthorized",wire="influxdb"} 20.0' in metrics


def test_one_device_gets_no_gateways_key(tmp_path: Path) -> None:
    refused = tmon(tmp_path, "key", "get", "--gateway", "hall", "--for", "shelly")
    assert (refused.returncode, "node's key" in refused.stderr) == (2, True)
    made = tmon(tmp_path, "key", "get", "--gateway", "hall", "--for", "ruuvi")
    assert (made.returncode, "/ruuvi" in made.stdout) == (0, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_what_to_type_has_an_address_that_devices_reach(tmp_path: Path, host: str) -> None:
    environ = {"TMON_HOST": host, "TMON_PORT": "13117"}
    printed = tmon(tmp_path, "key", "get", "garden", "--for", "curl", environ=environ)
    [url] = set(re.findall(r"http://[^/]+", printed.stdout))
    address = str(urlsplit(url).hostname)
    if host == "192.0.2.7":
        assert (address, "TMON_INGEST_URL" in printed.stderr) == (host, False)
        return
    assert "TMON_INGEST_URL" in printed.stderr
    assert address not in {host, "localhost"}
    with suppress(ValueError):  # on a machine without a network, its name
        assert ip_address(address).version == (4 if host == "0.0.0.0" else 6)


def test_what_to_type_has_the_address_that_is_set(tmp_path: Path) -> None:
    environ = {"TMON_HOST": "0.0.0.0", "TMON_INGEST_URL": "https://tmon.example.org/ingest"}
    printed = tmon(tmp_path, "key", "get", "garden", "--for", "home-assistant", environ=environ)
    assert "host: tmon.example.org\n" in printed.stdout
    assert "path: /ingest/\n" in printed.stdout
    assert "TMON_INGEST_URL" not in printed.stderr
