"""What is kept of what was refused: of whom, how much, and never a key or token."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.station import Station, station_in_thread
from tests.wires.devices import Device
from tests.wires.test_answers import REQUESTS
from tests.wires.test_devices import Home, ruuvi
from tmon.core.reading import TEXT_LIMIT, as_sent, clip

COLUMNS = "node, gateway, sensor, value, code, reason, raw"


def kept(station: Station, node: str) -> list[tuple[Any, ...]]:
    query = f"select {COLUMNS} from rejected where node = ? order by id"
    return station.query(query, [node])


@pytest.mark.parametrize(
    ("method", "path", "body", "code_and_raw"),
    [
        ("POST", "/k/KEY/readings", "{", ("invalid_body", "{")),
        (
            *("POST", "/k/KEY/readings", '{"node": "x", "readings": []}'),
            ("forbidden", '{"node": "x", "readings": []}'),
        ),
        ("GET", "/k/KEY?time=1", None, ("invalid_body", "/?time=1")),
        ("POST", "/k/KEY", "{", ("invalid_body", "{")),
        ("POST", "/write?p=KEY&precision=x", "m value=1", ("invalid_body", "m value=1")),
        ("POST", "/input/post?apikey=KEY", "json={", ("invalid_body", "json={")),
        (
            *("POST", "/channels/1/bulk_update.json", '{"write_api_key": "KEY", "updates": 1}'),
            ("invalid_body", '{"write_api_key": "…", "updates": 1}'),
        ),
        ("PUT", "/k/KEY", "\xff\xd8 a picture\0", ("invalid_body", "ÿØ a picture\ufffd")),
    ],
)
def test_a_whole_request_of_a_valid_sender_is_kept(
    device: Device, method: str, path: str, body: str | None, code_and_raw: tuple[str, str]
) -> None:
    answer = device.send(method, path, body)
    assert answer.status_code < 500
    [row] = kept(device.station, device.node)
    assert row[:4] == (device.node, None, None, None)
    assert (row[4], row[6]) == code_and_raw
    assert device.rows() == {}


def test_a_compressed_request_is_shown_as_what_is_in_it(device: Device) -> None:
    headers = {"Content-Encoding": "gzip"}
    for path in ("/k/KEY/readings", "/k/KEY"):
        device.post(path, gzip.compress(b"{" + b" " * 100_000), headers=headers)
        device.post(path, b"no gzip", headers=headers)
    shown = [row[6] for row in kept(device.station, device.node)]
    assert [text.strip() if text else text for text in shown] == ["{", None, "{", "/"]


def test_a_request_that_is_too_large_is_kept_without_its_body(device: Device) -> None:
    assert device.post("/k/KEY/readings", b" " * 2_000_000).status_code == 413
    assert device.post("/k/KEY", b" " * 2_000_000).status_code == 413
    assert [row[4] for row in kept(device.station, device.node)] == ["too_large", "too_large"]


def test_a_reading_is_kept_whole_where_its_fields_dont_say_all(device: Device) -> None:
    items = [{"value": 1, "mesured_ms": 1, "token": device.key}, {"value": "x"}, 7]
    device.post("/k/KEY/readings", json.dumps(items))
    device.post("/write?p=KEY", "m value=1\nm,t value=2")
    whole = '{"value": 1, "mesured_ms": 1, "token": "…"}'
    assert [(row[3], row[6]) for row in kept(device.station, device.node)] == [
        ("1", whole),
        ("x", None),
        ("7", None),
        ("m,t value=2", None),
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_is_kept_of_a_sender_without_a_valid_key(shared: Station, name: str) -> None:
    before = shared.count("rejected")
    sent = REQUESTS[name]
    for key in ("0" * 32, "x"):
        path, body = ((text or "{").replace("KEY", key) for text in (sent.path, sent.bad))
        shared.http.request(sent.method, shared.url + path, data=body, timeout=60)
        headers = {"Authorization": f"Bearer {key}"}
        shared.http.post(f"{shared.url}/readings", data=b"{", headers=headers, timeout=60)
    assert shared.count("rejected") == before


def test_nothing_whole_is_kept_of_a_device_that_is_known_by_its_id_alone(station: Station) -> None:
    Home(station).run("device", "allow", "esp8266-1", "balcony")
    url = f"{station.url}/v1/push-sensor-data/"
    answer = station.http.post(url, data=b"[]", headers={"X-Sensor": "esp8266-1"}, timeout=60)
    assert answer.status_code == 400
    assert station.count("rejected") == 0


def test_a_gateways_devices_stay_private(station: Station) -> None:
    home = Home(station)
    assert home.post("/k/KEY", "neighbour=1&neighbour2=x").status_code == 400
    assert home.post("/k/KEY/readings", '{"sensor": "neighbour", "value": 1}').status_code == 400
    home.post("/k/KEY/neighbour", "temperature=x")
    assert [(row[1], row[6]) for row in kept(station, "")] == [("hall", None), ("hall", None)]
    assert "neighbour" not in str(station.query("select * from rejected"))
    home.post("/k/KEY", ruuvi(1772366400))
    home.run("device", "adopt", "shed", "shed", "--unheard")
    home.post("/k/KEY/shed", "temperature=x")
    assert kept(station, "shed")[0][:5] == ("shed", "hall", "temperature", "x", "invalid_value")


def test_a_refusal_that_cant_be_kept_is_a_refusal_all_the_same(tmp_path: Path) -> None:
    with station_in_thread(tmp_path, {"TMON_RATE": "0.001"}) as station:
        device = Device(station, "attic")
        assert device.post("/k/KEY/readings", json.dumps([{"value": 1}] * 100)).status_code == 201
        assert device.post("/k/KEY/readings", "{").status_code == 400
        assert device.post("/k/KEY", "{").status_code == 400
        assert {row[4] for row in kept(station, "attic")} == {"repeated_untimed"}


@pytest.mark.parametrize("gap", [0, 1, 40, 700, 767, 769, 780, 799, 800, 5000])
def test_no_secret_is_shown_wherever_it_is_cut(device: Device, gap: int) -> None:
    token = device.station.token(device.node)
    for secret in (device.key, token, device.key.upper()):
        for text in (
            "x" * gap + f" {secret}",
            "x" * (gap % 33) + f" {secret}" * 40 + " " * gap + secret,
            f"PASSWORD={secret}&" + "y=1&" * (gap // 4) + f"apikey={secret}",
            f'{{"a": "{"z " * (gap // 2)}", "token": "{secret}"}}' + secret,
        ):
            shown = clip(text) + as_sent(text)
            assert len(shown) <= 2 * TEXT_LIMIT
            for part in (secret[-20:], secret[-43:-20], secret[:20].removeprefix("tmon_device")):
                assert len(part) < 12 or part not in shown, (text, shown)
