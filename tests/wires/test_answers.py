"""What each wire is answered where nothing, or not all, can be stored; and that none ever fails."""

import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.limits import BODY_BYTES
from tests.station import Station, station_in_thread
from tests.wires.devices import Device


class Sent(NamedTuple):
    """A request with KEY for the key, and how it is answered where nothing is stored."""

    method: str
    path: str
    body: str
    unauthorized: int = 401
    bad: str = ""  # a body that can never be stored
    bad_status: int = 200


REQUESTS = {
    "influxdb": Sent("POST", "/write?p=KEY", "m value=1", bad="m value=x", bad_status=400),
    "original": Sent(
        "POST",
        "/temp",
        '{"token": "KEY", "data": {"temperature": "1"}}',
        bad='{"token": "KEY", "data": {"temperature": "x"}}',
        bad_status=400,
    ),
    "weather": Sent("GET", "/weatherstation/updateweatherstation.php?PASSWORD=KEY&tempf=50", ""),
    "ecowitt": Sent("POST", "/k/KEY/data/report/", "tempf=50", bad="tempf=x"),
    "emoncms": Sent("GET", "/input/post?apikey=KEY&csv=1", ""),
    "emoncms, bad": Sent("POST", "/input/post?apikey=KEY", "json=1", bad="json={"),
    "thingspeak": Sent("POST", "/update", "api_key=KEY&field1=1", 400, "api_key=KEY&field1=x"),
    "airrohr": Sent(
        "POST",
        "/k/KEY/x",
        '{"sensordatavalues":[{"value_type":"signal","value":"1"}]}',
        bad='{"sensordatavalues":[{"value_type":"signal","value":"x"}]}',
    ),
    "lorawan": Sent(
        "POST",
        "/k/KEY",
        '{"deviceInfo": {}, "object": {"a": 1}}',
        bad='{"deviceInfo": 1, "object": "x"}',
    ),
    "enviro": Sent(
        "POST",
        "/k/KEY",
        '{"nickname": "x", "readings": {"noise": 1}}',
        bad='{"nickname": "x", "readings": {"noise": "x"}}',
    ),
    "flat": Sent("GET", "/k/KEY?a=1", ""),
    "flat, bad": Sent("POST", "/k/KEY", "a=1", bad="a=x"),
}


@pytest.fixture(scope="module")
def without_clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station whose clock was never set: nothing can be stored now, and later all can."""
    folder = tmp_path_factory.mktemp("clock")
    with station_in_thread(folder, wall_clock=lambda: 1000) as station:
        yield station


@pytest.mark.parametrize("name", REQUESTS)
def test_a_wrong_key_is_each_wires_own_error(shared: Station, name: str) -> None:
    sent = REQUESTS[name]
    path, body = (text.replace("KEY", "0" * 32) for text in (sent.path, sent.body))
    answer = shared.http.request(sent.method, shared.url + path, data=body, timeout=60)
    assert answer.status_code == sent.unauthorized
    assert "0" * 20 not in answer.text


@pytest.mark.parametrize("name", REQUESTS)
def test_what_could_be_stored_later_is_a_503(without_clock: Station, name: str) -> None:
    sent = REQUESTS[name]
    answer = Device(without_clock, "plug").send(sent.method, sent.path, sent.body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "invalid" not in answer.text or name != "weather"
    assert without_clock.count() == 0


@pytest.mark.parametrize("name", [name for name, sent in REQUESTS.items() if sent.bad])
def test_what_can_never_be_stored_is_not_asked_for_again(device: Device, name: str) -> None:
    sent = REQUESTS[name]
    assert device.send(sent.method, sent.path, sent.bad).status_code == sent.bad_status
    assert device.rows() == {}


def test_weewx_is_told_to_stop_only_for_its_password(shared: Station, device: Device) -> None:
    path = "/weatherstation/updateweatherstation.php?dateutc=now&tempf="
    wrong = shared.http.get(f"{shared.url}{path}50&PASSWORD=x", timeout=60)
    assert wrong.text.startswith("ERROR")
    soon = device.get(f"{path}x&PASSWORD=KEY")
    assert (soon.status_code, soon.text) == (200, "success\n")
    assert device.rejected() == [("temperature", "invalid_value", "x")]


def test_thingspeaks_library_finds_its_header(device: Device) -> None:
    answer = device.post("/update", "api_key=KEY&field1=1")
    raw = answer.raw.headers.items()
    assert ("Content-Length", "1") in raw


def test_a_get_that_stores_is_never_cached(device: Device) -> None:
    for path in ("/k/KEY?a=1", "/input/post?apikey=KEY&csv=1", "/update?api_key=KEY&field1=1"):
        assert device.get(path).headers["Cache-Control"] == "no-store"


def test_other_methods_and_paths(device: Device) -> None:
    assert device.send("DELETE", "/k/KEY?a=1").status_code == 405
    assert device.get("/write?p=KEY").status_code == 405
    assert device.get("/elsewhere?temperature=1").status_code == 404
    assert device.get("/elsewhere?p=KEY").status_code == 400
    picture = b"\xff\xd8\xff\xe0 a picture"
    assert device.send("PUT", "/k/KEY/", picture).status_code == 400
    jpeg = {"Content-Type": "image/jpeg"}
    assert device.send("PUT", "/k/KEY/", picture, headers=jpeg).status_code == 200
    assert device.rows() == {}
    assert [row for row in device.rejected() if row[1] == "unknown_encoding"] == []


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (b"[" * (BODY_BYTES + 1), "decompressed"),
        (b"[" + b"[0,1]," * 10_000 + b"[0,1]]", "10,000 rows"),
        (b"[[0,1" + b",null" * 50_001 + b"]]", "50,000 readings"),
        (b"[" + b"7," * 10_000 + b"7]", "10,000 rows"),
    ],
)
@pytest.mark.parametrize("query", ["cb=1", "c=1"])
def test_a_small_body_with_much_in_it_ends_at_the_limit(
    device: Device, rows: bytes, told: str, query: str
) -> None:
    packed = zlib.compress(rows)
    body = packed if query == "cb=1" else b"data=" + packed.hex().encode()
    answer = device.post(f"/input/bulk?{query}&apikey=KEY", body)
    assert (answer.status_code, answer.json()["success"]) == (200, False)
    assert told in answer.json()["message"]
    assert device.rows() == {}


def test_a_zlib_bomb_of_empty_rows_is_not_read_one_by_one(device: Device) -> None:
    bomb = zlib.compress(b"[" + b"[]," * 250_000 + b"[]]")  # 1 KB
    answer = device.post("/input/bulk?cb=1&apikey=KEY", bomb)
    assert (answer.status_code, answer.json()["success"]) == (200, False)
    assert "too many values" in answer.json()["message"]


@pytest.mark.parametrize(
    ("query", "ago_s"),
    [("", 0), ("&sentat=100", 10), ("&offset=100", 10), ("&time=NOW", 10)],
)
@pytest.mark.parametrize("how", ["data", "c", "cb"])
def test_emoncms_bulk(device: Device, query: str, ago_s: int, how: str) -> None:
    now_s = int(time.time())
    first, last = (90, 90) if query != "&time=NOW" else (-10, -10)
    rows = f'[[{first - 20},"emontx",1,null,{{"power":5}}],[{last},"emontx",2]]'
    path = f"/emoncms/input/bulk.json?apikey=KEY{query.replace('NOW', str(now_s))}"
    if how == "data":
        answer = device.post(path, f"data={rows}")
    elif how == "c":
        answer = device.post(f"{path}&c=1", f"data={zlib.compress(rows.encode()).hex()}")
    else:
        answer = device.post(f"{path}&cb=1", zlib.compress(rows.encode()))
    assert (answer.status_code, answer.text) == (200, "ok")
    stored = device.rows()
    assert set(stored) == {"emontx/1", "emontx/power"}
    assert [row[1] for row in stored["emontx/1"]] == [1, 2]
    newest_s = stored["emontx/1"][-1][0] / 1000
    assert newest_s == pytest.approx(now_s - ago_s, abs=20)
    assert stored["emontx/1"][0][0] / 1000 == pytest.approx(newest_s - 20, abs=0.01)


PATHS = (
    "/k/KEY",
    "/k/KEY/write",
    "/k/KEY/api/v2/write",
    "/k/KEY/temp",
    "/k/KEY/data/report/",
    "/k/KEY/weatherstation/updateweatherstation.php",
    "/k/KEY/input/post",
    "/k/KEY/input/bulk?cb=1",
    "/k/KEY/input/bulk.json",
    "/k/KEY/update",
    "/k/KEY/channels/1/bulk_update.json",
    "/k/KEY/channels/1/bulk_update.csv",
    "/k/KEY/v1/push-sensor-data/",
    "/k/KEY?event=up",
    "/k/KEY/readings",
)
PIECES = (
    *('{"', '":', '"', "{", "}", "[", "]", ",", "=", "&", " ", "\n", "\\", "%", "%00", "|", "#"),
    *(
        "nan",
        "1e999",
        "-9999",
        "null",
        "true",
        "1",
        "0.5",
        "x",
        "\0",
        "\ud800",
        "é",
        "🜁",
        "9" * 400,
    ),
    *("sensordatavalues", "value_type", "value", "end_device_ids", "uplink_message", "deviceInfo"),
    *("object", "nickname", "readings", "timestamp", "angle", "temperature", "rawValue", "rco2"),
    *("dateutc", "tempf", "fulljson", "json", "csv", "data", "time", "node", "updates", "delta_t"),
    *("created_at", "field1", "m value=1", "decoded_payload", "received_at", "name", "unit"),
    *("dsnames", "dstypes", "values", "host", "plugin", "type", "type_instance", "gauge"),
)


@settings(max_examples=150)
@given(
    path=st.sampled_from(PATHS),
    pieces=st.lists(st.sampled_from(PIECES), max_size=25),
    in_query=st.booleans(),
    method=st.sampled_from(["GET", "POST", "PUT"]),
)
def test_nothing_makes_a_wire_fail(
    shared: Station, path: str, pieces: list[str], in_query: bool, method: str
) -> None:
    device = Device(shared, "fuzzed")
    text = "".join(pieces).encode("utf-8", "surrogatepass")
    if in_query:
        safe = "".join(chr(byte) if 33 <= byte < 127 else f"%{byte:02x}" for byte in text)
        path = f"{path}{'&' if '?' in path else '?'}{safe.replace('#', '%23')}"
        text = b""
    answer = device.send(method, path, text)
    assert answer.status_code < 500, (path, text, answer.text)
