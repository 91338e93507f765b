"""Programs' and devices' requests to the byte, as they were recorded, over a raw socket."""

import gzip
import http.client
import re
import socket
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

import influxdb
import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from tests.wires.devices import Device

AT_S = 1_772_366_400  # 2026-03-01T12:00:00Z
Stored = Mapping[str, tuple[float, str | None]]


def answer_to(device: Device, request: bytes) -> tuple[int, str]:
    """Status and body of the response to what is sent; KEY stands for the key."""
    address = urlsplit(device.station.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as sock:
        sock.sendall(re.sub(rb"(?<![A-Z]{2})KEY", device.key.encode(), request))
        with closing(http.client.HTTPResponse(sock)) as response:
            response.begin()
            return response.status, response.read().decode()


def request(head: str, body: bytes = b"") -> bytes:
    """A request whose lines are written one below the other; with its body's length."""
    lines = [line.strip() for line in head.strip().splitlines()]
    if body and not any(line.lower().startswith(("transfer-", "content-length")) for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


NEXUS = (
    f"Nexus-TH,id=165,channel=1 battery_ok=1,temperature_C=21.500000,humidity=45 {AT_S}000000000"
)
NEXUS_STORED = {
    "Nexus-TH/1/165/battery_ok": (1, None),
    "Nexus-TH/1/165/temperature": (21.5, "°C"),
    "Nexus-TH/1/165/humidity": (45, None),
}
COLLECTD = (
    '[{"values":[0.5,2.5,null],"dstypes":["gauge","gauge","gauge"],'
    '"dsnames":["shortterm","midterm","longterm"],"time":1772366400.355,"interval":1.000,'
    '"host":"myhost","plugin":"load","plugin_instance":"","type":"load","type_instance":""},'
    '{"values":[66.5],"dstypes":["gauge"],"dsnames":["value"],"time":1772366400.355,'
    '"interval":1.000,"host":"myhost","plugin":"sensors","plugin_instance":"k10temp",'
    '"type":"temperature","type_instance":"temp1"}]'
)
# Each: the request, the status, and what is stored.
CLIENTS: dict[str, tuple[bytes, int, Stored]] = {
    "rtl_433, version 1": (
        request(
            """POST /write?db=x&u=u&p=KEY HTTP/1.1
            Host: 127.0.0.1:8086
            Authorization: Token (null)""",
            NEXUS.encode(),
        ),
        *(204, NEXUS_STORED),
    ),
    "rtl_433, version 2": (
        request(
            """POST /api/v2/write?org=o&bucket=b HTTP/1.1
            Host: 127.0.0.1:8086
            Authorization: Token KEY""",
            NEXUS.encode(),
        ),
        *(204, NEXUS_STORED),
    ),
    "telegraf": (
        request(
            """POST /api/v2/write?bucket=b&org=o HTTP/1.1
            Host: 127.0.0.1:8086
            User-Agent: Telegraf/1.30.0 Go/1.22
            Transfer-Encoding: chunked
            Authorization: Token KEY
            Content-Encoding: gzip
            Content-Type: text/plain; charset=utf-8""",
            chunks(gzip.compress(f"cpu,cpu=cpu0 usage_idle=99.5 {AT_S}000000000\n".encode())),
        ),
        *(204, {"cpu/cpu0/usage_idle": (99.5, None)}),
    ),
    "influxdb3-python": (
        request(
            r"""POST /api/v2/write?org=x&bucket=tmon&precision=ns HTTP/1.1
            Host: 127.0.0.1:8086
            Accept-Encoding: identity
            User-Agent: influxdb3-python/0.21.0
            Authorization: Token KEY
            Accept: application/json
            Content-Type: text/plain; charset=utf-8""",
            rf"v3,room=a\ b t=21.5 {AT_S}000000000".encode(),
        ),
        *(204, {"v3/a_b/t": (21.5, None)}),
    ),
    "collectd": (
        request(
            """POST /k/KEY/collectd HTTP/1.1
            Host: 127.0.0.1:13117
            User-Agent: collectd/5.12.0.git
            Accept:  */*
            Content-Type: application/json""",
            COLLECTD.encode(),
        ),
        200,
        {
            "load/load/shortterm": (0.5, None),
            "load/load/midterm": (2.5, None),
            "sensors-k10temp/temperature-temp1": (66.5, "°C"),
        },
    ),
    "thingspeak's library for Python": (
        request(
            """POST /update.json?field1=2.5&status=x&api_key=KEY HTTP/1.1
            Host: 127.0.0.1:13117
            User-Agent: python-requests/2.34.2
            Accept-Encoding: gzip, deflate
            Accept: */*
            Connection: keep-alive
            Content-Length: 0"""
        ),
        *(200, {"field1": (2.5, None)}),
    ),
    "busybox wget": (
        request(
            """POST /k/KEY HTTP/1.1
            Host: 127.0.0.1:13117
            User-Agent: Wget
            Connection: close
            Content-Type: application/x-www-form-urlencoded""",
            b"a=1",
        ),
        *(200, {"a": (1, None)}),
    ),
    "urllib, JSON as a form": (
        request(
            """POST /readings HTTP/1.1
            Accept-Encoding: identity
            Content-Type: application/x-www-form-urlencoded
            Host: 127.0.0.1:13117
            User-Agent: Python-urllib/3.11
            Authorization: Bearer KEY
            Connection: close""",
            b'{"value": 20}',
        ),
        *(201, {"temperature": (20, "°C")}),
    ),
    "curl, waiting for 100 Continue": (
        request(
            """POST /k/KEY HTTP/1.1
            Host: x
            Expect: 100-continue""",
            b"a=1",
        ),
        *(200, {"a": (1, None)}),
    ),
}
DEVICES: dict[str, tuple[bytes, int, Stored]] = {
    "HTTP/1.0, no headers": (b"GET /k/KEY?a=1 HTTP/1.0\r\n\r\n", 200, {"a": (1, None)}),
    "lower case": (
        b"POST /k/KEY HTTP/1.1\r\nhost:x\r\ncontent-length:3\r\n\r\na=1",
        *(200, {"a": (1, None)}),
    ),
    "line ends behind the body": (
        b"POST /k/KEY HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=1\r\n",
        *(200, {"a": (1, None)}),
    ),
    "chunked": (
        b"POST /k/KEY HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks(b"a=", b"1"),
        *(200, {"a": (1, None)}),
    ),
    "an absolute address": (
        b"GET http://elsewhere:80/k/KEY?a=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        *(200, {"a": (1, None)}),
    ),
    "double slashes": (b"GET //k//KEY//?a=1 HTTP/1.0\r\n\r\n", 200, {"a": (1, None)}),
    "glued with ?&": (
        b"GET /k/KEY/data/report/?&tempf=50&dateutc=now HTTP/1.0\r\n\r\n",
        *(200, {"temperature": (10, "°C")}),
    ),
    "glued with ??": (
        b"GET /k/KEY/data/report/??tempf=50 HTTP/1.0\r\n\r\n",
        *(200, {"temperature": (10, "°C")}),
    ),
    "glued with &, the key in it": (
        b"GET /data/report/&PASSWORD=KEY&tempf=50 HTTP/1.0\r\n\r\n",
        *(200, {"temperature": (10, "°C")}),
    ),
    "all percent-encoded": (
        b"GET /data/report/%26PASSWORD%3DKEY%26tempf%3D50 HTTP/1.0\r\n\r\n",
        *(200, {"temperature": (10, "°C")}),
    ),
    "a path with .asp, an unpadded time": (
        request(
            "GET /weatherstation/updateweatherstation.asp?ID=x&PASSWORD=KEY&tempf=50"
            "&dateutc=2016-1-4%2021:2:35 HTTP/1.0"
        ),
        *(200, {"temperature": (10, "°C")}),
    ),
    "ThingSpeak's library for Arduino": (
        request(
            """POST /update HTTP/1.1
            Host: api.thingspeak.com
            User-Agent: tslib-arduino/1.5.0 (ESP8266)
            X-THINGSPEAKAPIKEY: KEY
            Content-Type: application/x-www-form-urlencoded""",
            b"field1=21.50000&field2=3&headers=false",
        ),
        *(200, {"field1": (21.5, None), "field2": (3, None)}),
    ),
    "iSpindel, for InfluxDB": (
        request(
            """POST /write?db=x&u=u&p=KEY HTTP/1.1
            Host: x
            Content-Type: application/x-www-form-urlencoded""",
            b'measurements,source=NAME tilt=1.5,temperature=20.5,temp_units="C"\n',
        ),
        204,
        {"measurements/NAME/tilt": (1.5, None), "measurements/NAME/temperature": (20.5, None)},
    ),
}


@pytest.mark.parametrize("name", [*CLIENTS, *DEVICES])
def test_a_request_as_it_is_sent_is_stored(device: Device, name: str) -> None:
    sent, status, stored = {**CLIENTS, **DEVICES}[name]
    assert answer_to(device, sent)[0] == status
    assert device.values() == stored
    assert device.rejected() == []


@pytest.mark.parametrize("name", [name for name in CLIENTS if str(AT_S) in str(CLIENTS[name][0])])
def test_a_repeat_of_a_clients_request_is_a_duplicate(device: Device, name: str) -> None:
    sent, status, stored = CLIENTS[name]
    assert [answer_to(device, sent)[0] for _ in range(2)] == [status, status]
    rows = device.rows()
    assert rows.keys() == stored.keys()
    assert all(len(one) == 1 and one[0][0] // 1000 == AT_S for one in rows.values())


@pytest.mark.parametrize(
    ("content_type", "body", "status", "told"),
    [
        ("multipart/form-data; boundary=AA", b'--AA\r\nname="a"\r\n\r\n1\r\n--AA--', 415, "form"),
        ("application/json", b'[{"value": 1}]', 400, "/k/KEY/readings"),
        ("application/json", b'[{"dsnames": 1, "values": [1]}]', 400, "dsnames"),
    ],
)
def test_a_body_that_is_read_elsewhere_is_told_where(
    device: Device, content_type: str, body: bytes, status: int, told: str
) -> None:
    head = f"POST /k/KEY HTTP/1.1\nHost: x\nContent-Type: {content_type}"
    answered, text = answer_to(device, request(head, body))
    assert answered == status
    assert told in text
    assert device.rows() == {}


def test_glances_finds_the_database_that_it_was_told_to_use(device: Device) -> None:
    host, port = device.station.url.removeprefix("http://").split(":")
    client = influxdb.InfluxDBClient(host, int(port), "any", device.key, "glances", timeout=60)
    assert {"name": "glances"} in client.get_list_database()
    client.close()


def test_the_rest_of_influxdbs_interface_is_not_found(device: Device) -> None:
    with (
        InfluxDBClient(device.station.url, token=device.key, org="x") as client,
        pytest.raises(ApiException, match="only takes writes") as raised,
    ):
        client.buckets_api().find_bucket_by_name("tmon")
    assert raised.value.status == 404
