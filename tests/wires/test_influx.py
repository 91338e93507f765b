"""InfluxDB's wire, by its own clients and by requests as programs send them."""

import gzip
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import influxdb
import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from ingest.limits import DECOMPRESSED_BYTES
from tests.station import Station
from tests.wires.devices import Device

AT_S = 1_772_366_400  # 2026-03-01T12:00:00Z
AT_NS = AT_S * 1_000_000_000


def test_the_client_of_version_1(device: Device) -> None:
    host, port = device.station.url.removeprefix("http://").split(":")
    client = influxdb.InfluxDBClient(host, int(port), "any", device.key, "tmon", timeout=60)
    assert client.ping()
    client.create_database("tmon")
    assert client.get_list_database() == [{"name": "tmon"}]
    point = {"measurement": "weather", "fields": {"temperature": 21.5, "note": "x", "open": True}}
    assert client.write_points([{**point, "time": AT_NS}])
    client.close()
    assert device.rows() == {
        "weather/open": [(AT_S * 1000, 1.0, None)],
        "weather/temperature": [(AT_S * 1000, 21.5, None)],
    }


@pytest.mark.parametrize("packed", [False, True])
def test_the_client_of_version_2(device: Device, packed: bool) -> None:
    point = {"measurement": "weather", "tags": {"room": "north hall"}, "fields": {"co2": 640}}
    with (
        InfluxDBClient(
            device.station.url, token=device.key, org="any", enable_gzip=packed
        ) as client,
        client.write_api(write_options=SYNCHRONOUS) as writing,
    ):
        assert client.ping()
        writing.write("any", record={**point, "time": datetime.fromtimestamp(AT_S, UTC)})
        writing.write(
            "any", record=[f"weather co2={n} {AT_S + n}" for n in range(3)], write_precision="s"
        )
    rows = device.rows()
    assert rows["weather/north_hall/co2"] == [(AT_S * 1000, 640, None)]
    assert [row[0] for row in rows["weather/co2"]] == [(AT_S + n) * 1000 for n in range(3)]


def test_a_wrong_password_is_an_error_to_both(station: Station) -> None:
    host, port = station.url.removeprefix("http://").split(":")
    client = influxdb.InfluxDBClient(host, int(port), "any", "0" * 32, "tmon")
    with pytest.raises(influxdb.exceptions.InfluxDBClientError, match="401"):
        client.write_points([{"measurement": "m", "fields": {"v": 1.0}}])
    client.close()
    with (
        InfluxDBClient(station.url, token="0" * 32, org="x") as newer,
        newer.write_api(write_options=SYNCHRONOUS) as writing,
        pytest.raises(ApiException, match="unauthorized"),
    ):
        writing.write("x", record="m v=1")


Stored = Mapping[str, tuple[int | None, float, str | None]]

# Each: the lines, the precision, and what is stored: time in seconds (None: arrival), value, unit.
LINES: dict[str, tuple[str, str, Stored]] = {
    "tasmota": (
        *("temperature,device=shed,sensor=ds18b20,id=0114 value=26.44", ""),
        {"temperature/shed/0114/ds18b20": (None, 26.44, None)},
    ),
    "rtl_433": (
        *("Nexus-TH,id=165,channel=1 battery_ok=1,temperature_C=21.5,humidity=45", ""),
        {
            "Nexus-TH/1/165/battery_ok": (None, 1, None),
            "Nexus-TH/1/165/temperature": (None, 21.5, "°C"),
            "Nexus-TH/1/165/humidity": (None, 45, None),
        },
    ),
    "home assistant": (
        f'°C,domain=sensor,entity_id=cellar value=21.5,battery=90,name_str="B, x=y" {AT_NS}',
        "",
        {"cellar": (AT_S, 21.5, "°C"), "cellar/battery": (AT_S, 90, None)},
    ),
    "home assistant, fahrenheit": (
        *(f"°F,domain=sensor,entity_id=out value=70.7 {AT_NS}", "ns", {"out": (AT_S, 21.5, "°C")}),
    ),
    "home assistant, no unit": (
        *("binary_sensor.door,domain=binary_sensor,entity_id=door value=1", ""),
        {"binary_sensor.door": (None, 1, None)},
    ),
    "telegraf": (
        *(f"cpu,host=elsewhere,cpu=cpu0 usage_idle=99.5,n=3i,u=4u {AT_S}", "s"),
        {
            "cpu/cpu0/elsewhere/usage_idle": (AT_S, 99.5, None),
            "cpu/cpu0/elsewhere/n": (AT_S, 3, None),
            "cpu/cpu0/elsewhere/u": (AT_S, 4, None),
        },
    ),
    "milliseconds": (f"m value=1 {AT_S}000", "ms", {"m": (AT_S, 1, None)}),
    "microseconds": (f"m value=1 {AT_S}000000", "us", {"m": (AT_S, 1, None)}),
    "minutes": (f"m value=1 {AT_S // 60}", "m", {"m": (AT_S, 1, None)}),
    "crlf, blanks and comments": (
        "# a comment\r\n\r\n  m   value=1\r\n",
        "",
        {"m": (None, 1, None)},
    ),
    "escapes": (
        r'a\ b\,c,t\=g=x\ y f\ 1=2,s="q \" , = ,f=3"',
        *("", {"a_b_c/x_y/f_1": (None, 2, None)}),
    ),
    "booleans": (
        "m a=t,b=False,c=TRUE",
        "",
        {n: (None, v, None) for n, v in (("m/a", 1), ("m/b", 0), ("m/c", 1))},
    ),
    "exponents": ("m value=-1.5e+2", "", {"m": (None, -150, None)}),
    "a clock that was never set": ("m value=1 1000000000", "", {"m": (None, 1, None)}),
}


@pytest.mark.parametrize("case", LINES)
def test_lines_become_readings(device: Device, case: str) -> None:
    lines, precision, stored = LINES[case]
    before_ms = time.time() * 1000
    answer = device.post(
        f"/api/v2/write?precision={precision}",
        lines.encode(),
        headers={"Authorization": "Token KEY"},
    )
    assert (answer.status_code, answer.text) == (204, "")
    rows = device.rows()
    assert rows.keys() == stored.keys()
    for sensor, (at_s, value, unit) in stored.items():
        [(measured_ms, *rest)] = rows[sensor]
        assert rest == [value, unit]
        if at_s is None:
            assert measured_ms == pytest.approx(before_ms, abs=60_000)
        else:
            assert measured_ms == at_s * 1000


def test_the_hosts_tag_is_left_out_where_it_is_the_nodes_name(device: Device) -> None:
    assert device.post("/k/KEY/write", f"cpu,host={device.node} idle=1").status_code == 204
    assert [*device.rows()] == ["cpu/idle"]


WRONG = {
    "m value=NaN": "no number",
    "m value=": "no number",
    "m": "no number",
    "m value=1 1.5": "time",
    "m,a= value=1": "empty",
    "m,a=1,a=2 value=1": "repeated",
    ",a=1 value=1": "empty",
    "m value=1i2": "no number",
    "m value=1 soon": "time",
    "m value=1e400": "finite",
    "... value=1": "called",
}


@pytest.mark.parametrize("line", WRONG)
def test_bad_lines_are_named_and_good_ones_stored(device: Device, line: str) -> None:
    answer = device.post("/k/KEY/write?precision=s", f"good value=1\n{line}\nalso value=2")
    assert answer.status_code == 400
    body = answer.json()
    assert (body["code"], body["error"]) == ("invalid", body["message"])
    assert "2 points stored" in body["error"]
    assert WRONG[line] in body["error"]
    assert answer.headers["X-Influxdb-Error"]
    assert set(device.values()) == {"good", "also"}
    assert len(device.rejected()) == 1


def test_probes_need_no_key(station: Station) -> None:
    def get(path: str, method: str = "GET") -> tuple[int, str]:
        answer = station.http.request(method, station.url + path, timeout=60)
        assert answer.headers["X-Influxdb-Version"]
        return answer.status_code, answer.text

    for prefix in ("", "/some/prefix", "/k/" + "0" * 32):
        assert get(f"{prefix}/ping") == (204, "")
        assert get(f"{prefix}/ping", "HEAD") == (204, "")
        assert get(f"{prefix}/ping?verbose=true&u=x&p=y")[0] == 200
        assert '"pass"' in get(f"{prefix}/health")[1]
    assert "statement_id" in get("/query?q=CREATE%20DATABASE%20x", "POST")[1]
    assert '"tmon"' in get("/query?q=show%20databases")[1]


@pytest.mark.parametrize("body", [b"", b"\n", gzip.compress(b"", mtime=0)])
def test_an_empty_body_is_a_probe(device: Device, body: bytes) -> None:
    headers = {"Content-Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    assert device.post("/k/KEY/api/v2/write", body, headers=headers).status_code == 204
    empty = {"Content-Encoding": "gzip"}  # as a client with gzip on sends it
    assert device.post("/k/KEY/api/v2/write", b"", headers=empty).status_code == 204


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "identity", ""])
def test_encodings(device: Device, encoding: str) -> None:
    body = gzip.compress(b"m value=1") if "gzip" in encoding else b"m value=1"
    headers = {"Content-Encoding": encoding} if encoding else {}
    assert device.post("/k/KEY/write", body, headers=headers).status_code == 204
    assert device.values() == {"m": (1, None)}


def test_a_bomb_ends_at_the_limit(device: Device) -> None:
    bomb = gzip.compress(b"m value=1\n" * (DECOMPRESSED_BYTES // 5))
    answer = device.post("/k/KEY/write", bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (413, "request too large")
    assert device.rows() == {}


def test_a_body_may_come_in_chunks(device: Device) -> None:
    def lines() -> Iterator[bytes]:
        yield b"m val"
        yield b"ue=1"

    url = f"{device.station.url}/k/{device.key}/write"
    assert device.station.http.post(url, data=lines(), timeout=60).status_code == 204
    assert device.values() == {"m": (1, None)}


def test_collectd_sends_its_password_after_a_401(device: Device) -> None:
    answer = device.post("/write?db=x", "m value=1")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert device.post("/write?db=x", "m value=1", auth=("any", "KEY")).status_code == 204


def test_ten_thousand_readings_are_one_request_at_most(device: Device) -> None:
    lines = "\n".join(f"m value={n} {AT_S + n}" for n in range(10_001))
    assert device.post("/k/KEY/write?precision=s", lines).status_code == 413
    assert device.post("/k/KEY/write?precision=s", lines.rpartition("\n")[0]).status_code == 204
    assert len(device.rows()["m"]) == 10_000


MIXED: dict[str, dict[str, float]] = {
    'm s="one\ntwo, three=4",v=3\nn v=4': {"m/v": 3, "n/v": 4},
    'm,a="x v=1\nn v=2': {'m/"x/v': 1, "n/v": 2},  # a quotation mark in a tag is no text's
    "m,a=b/c v=1": {"m/b_c-": 1},
    "m,path=/ v=1": {"m/": 1},
    "feinstaub,node=esp8266-1 SDS_P1=12.3,BME280_pressure=99812": {
        "SDS/pm10": 12.3,
        "BME280/pressure": 998.12,
    },
}


@pytest.mark.parametrize("lines", MIXED)
def test_odd_lines(device: Device, lines: str) -> None:
    assert device.post("/k/KEY/write", lines).status_code == 204
    stored = device.values()
    assert sorted(value for value, _ in stored.values()) == sorted(MIXED[lines].values())
    for name in MIXED[lines]:
        plain = name.replace('"', "_")
        assert [one for one in stored if one.startswith(plain)], stored


def test_two_tags_and_one_with_a_slash_are_two_sensors(device: Device) -> None:
    lines = "a,b=c/d v=1\na,b=c,x=d v=2\na,b=c_d v=3"
    assert device.post("/k/KEY/write", lines).status_code == 204
    assert len(device.values()) == 3


def test_a_line_with_endless_tags_is_refused(device: Device) -> None:
    tags = ",".join(f"t{n}=v" for n in range(5_000))
    answer = device.post("/k/KEY/write", f"m,{tags} v=1\nok v=1")
    assert (answer.status_code, set(device.values())) == (400, {"ok/v"})


@pytest.mark.parametrize("units_a_second", [1, 1_000, 1_000_000, 1_000_000_000])
def test_the_precision_may_be_told_by_the_digits(device: Device, units_a_second: int) -> None:
    path = "/k/KEY/api/v3/write_lp?db=x&precision=auto"
    assert device.post(path, f"m value=1 {AT_S * units_a_second}").status_code == 204
    assert device.rows()["m"][0][0] == AT_S * 1000
