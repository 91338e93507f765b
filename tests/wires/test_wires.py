"""What existing devices send, unchanged, is stored; and each is answered what it expects."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from ingest import wires
from ingest.http import HttpConnection
from tests.station import running, station_in_thread
from tests.wires.devices import Device
from tmon.cli.connecting import INSTRUCTIONS, instructions
from tmon.core.settings import Settings

ROOT = Path(__file__).parent.parent.parent

AT = "2026-03-01T12:00:00Z"
AT_MS = int(datetime.fromisoformat(AT).astimezone(UTC).timestamp() * 1000)

WU = (
    "action=updateraw&ID=KSTATION1&PASSWORD=KEY&dateutc=2026-03-01%2012%3A00%3A00"
    "&tempf=70.7&humidity=065&baromin=29.92&windspeedmph=10&winddir=180&rainin=0.01"
    "&dailyrainin=0.25&UV=3&indoortempf=-9999&softwaretype=x&weather="
)
ECOWITT = (
    "PASSKEY=0123456789ABCDEF0123456789ABCDEF&stationtype=GW1100A_V2.1.4&dateutc=2026-03-01+12:00:00"
    "&tempinf=68.0&humidityin=45&baromrelin=29.920&baromabsin=29.529&tempf=70.7&humidity=55"
    "&winddir=90&windspeedmph=2.24&maxdailygust=5.82&rainratein=0.000&dailyrainin=0.100"
    "&totalrainin=12.000&temp1f=32.0&soilmoisture1=38&wh65batt=0&wh40batt=1.6&lightning="
    "&freq=868M&model=GW1100A&interval=60"
)
ECOWITT_STORED = {
    "temperature_indoor": (20.0, "°C"),
    "humidity_indoor": (45, "%"),
    "pressure": (1013.207, "hPa"),
    "pressure_absolute": (999.967, "hPa"),
    "temperature": (21.5, "°C"),
    "humidity": (55, "%"),
    "wind_direction": (90, "°"),
    "wind_speed": (1.0014, "m/s"),
    "wind_gust_day_max": (2.6018, "m/s"),
    "rain_rate": (0, "mm/h"),
    "rain_daily_total": (2.54, "mm"),
    "rain_total": (304.8, "mm"),
    "temperature_1": (0.0, "°C"),
    "soil_moisture1": (38, "%"),
    "battery_65_low": (0, None),
    "battery_wh40": (1.6, "V"),
}
AIRROHR = json.dumps(
    {
        "esp8266id": "123456",
        "software_version": "NRZ-2024-135",
        "sensordatavalues": [
            {"value_type": "SDS_P1", "value": "12.30"},
            {"value_type": "SDS_P2", "value": "6.05"},
            {"value_type": "BME280_temperature", "value": "21.50"},
            {"value_type": "BME280_pressure", "value": "101325.00"},
            {"value_type": "samples", "value": "5000000"},
            {"value_type": "signal", "value": "-71"},
        ],
    }
)
ENVIRO = json.dumps(
    {
        "nickname": "shed",
        "model": "indoor",
        "uid": "e66",
        "timestamp": AT,
        "readings": {"temperature": 21.5, "humidity": 40, "luminance": 12, "pressure": 1001.2},
    }
)
ISPINDEL = json.dumps(
    {
        "name": "spindel",
        "ID": 42,
        "token": "KEY",
        "angle": 45.6,
        "temperature": 68.0,
        "temp_units": "F",
        "battery": 3.9,
        "gravity": 12.1,
        "interval": 900,
        "RSSI": -60,
    }
)
METERS = json.dumps(
    [
        {
            "timestamp": "2026-03-01T13:00:00+0100",
            "timestampLong": "1772366400",
            "name": "main",
            "rawValue": "0123.4N",
            "value": "123.4",
            "error": "no error",
        },
        {"timestamp": AT, "name": "other", "rawValue": "N", "value": "", "error": "x"},
    ]
)
THINGS_STACK = json.dumps(
    {
        "end_device_ids": {"device_id": "dragino", "dev_eui": "A84041"},
        "received_at": "2026-03-01T12:00:05.123456789Z",
        "uplink_message": {
            "f_cnt": 7,
            "decoded_payload": {"temperature": 21.5, "battery": {"v": 3.1}, "text": "x"},
            "rx_metadata": [{"rssi": -100}, {"rssi": -90}],
            "received_at": "2026-03-01T12:00:00.000000001Z",
        },
    }
)
CHIRPSTACK = json.dumps(
    {
        "time": "2026-03-01T12:00:00.123456789+00:00",
        "deviceInfo": {"deviceName": "soil", "devEui": "0004"},
        "object": {"humidity": 33.5},
        "rxInfo": [{"rssi": -48}],
    }
)

# Each: method, path, body, what is stored, the status, and the answer's text (None: any).
Case = tuple[str, str, str, Mapping[str, tuple[float, str | None]], int, str | None]

# Each: method, path, body, what is stored, the status, and the answer's text (None: any).
CASES: dict[str, Case] = {
    "weather underground": (
        *("GET", f"/weatherstation/updateweatherstation.php?{WU}", ""),
        {
            "temperature": (21.5, "°C"),
            "humidity": (65, "%"),
            "pressure": (1013.21, "hPa"),
            "wind_speed": (4.47, "m/s"),
            "wind_direction": (180, "°"),
            "rain_hour": (0.25, "mm"),
            "rain_daily_total": (6.35, "mm"),
            "uv_index": (3, None),
        },
        *(200, "success"),
    ),
    "ecowitt": ("POST", "/k/KEY/data/report/", ECOWITT, ECOWITT_STORED, 200, "OK"),
    "ambient, glued": ("GET", f"/k/KEY/data/report/&{ECOWITT}", "", ECOWITT_STORED, 200, "success"),
    "ambient, encoded": (
        *(
            "GET",
            "/k/KEY/data/report/%26PASSKEY%3Dx%26dateutc%3D2026-03-01%2B12:00:00%26tempf%3D38.5",
        ),
        *("", {"temperature": (3.611, "°C")}, 200, "success"),
    ),
    "airrohr": (
        *("POST", "/k/KEY/any/path", AIRROHR),
        {
            "SDS/pm10": (12.3, "µg/m³"),
            "SDS/pm25": (6.05, "µg/m³"),
            "BME280/temperature": (21.5, "°C"),
            "BME280/pressure": (1013.25, "hPa"),
            "signal": (-71, "dBm"),
        },
        *(200, None),
    ),
    "thingspeak": (
        *("POST", "/update", "api_key=KEY&field1=21.50000&field2=&headers=false"),
        *({"field1": (21.5, None)}, 200, "1"),
    ),
    "thingspeak, bulk": (
        *("POST", "/channels/9/bulk_update.json"),
        '{"write_api_key":"KEY","updates":[{"delta_t":0,"field1":1},{"delta_t":60,"field1":2}]}',
        *({"field1": (2, None)}, 202, '{"success":true}'),
    ),
    "thingspeak, csv": (
        *("POST", "/channels/9/bulk_update.csv"),
        "write_api_key=KEY&time_format=absolute&updates=2026-03-01T12:00:00Z,1,2|2026-03-01T12:01:00Z,3",
        *({"field1": (3, None), "field2": (2, None)}, 202, None),
    ),
    "emoncms, json": (
        *("GET", "/input/post?node=emontx&json={power1:100,temp:21.5}&apikey=KEY", ""),
        *({"emontx/power1": (100, None), "emontx/temp": (21.5, None)}, 200, "ok"),
    ),
    "emoncms, fulljson": (
        *("POST", "/emoncms/input/post.json/emontx"),
        f'apikey=KEY&fulljson={{"power":5,"time":{AT_MS // 1000}}}',
        *({"emontx/power": (5, None)}, 200, '{"success":true}'),
    ),
    "emoncms, csv": (
        *("GET", "/input/post.json?csv=100,200&apikey=KEY", ""),
        *({"1": (100, None), "2": (200, None)}, 200, "ok"),
    ),
    "flat": (
        *("GET", "/k/KEY?temperature=21.5&humidity=null&tempf=${ev.tF}&door=on", ""),
        *({"temperature": (21.5, "°C"), "door": (1, None)}, 200, "2 stored"),
    ),
    "shelly, first generation": (
        *("GET", "/k/KEY/shelly?hum=55&temp=21.50&id=shellyht-1", ""),
        *({"temperature": (21.5, "°C"), "humidity": (55, "%")}, 200, "2 stored"),
    ),
    "flat, short and long names": (
        *("GET", "/k/KEY?temp=1&temperature=2", ""),
        *({"temp": (1, "°C"), "temperature": (2, "°C")}, 200, "2 stored"),
    ),
    "flat, named": (
        *("GET", "/k/KEY/?name=tank&value=12.5&unit=cm&time=now", ""),
        *({"tank": (12.5, "cm")}, 200, "1 stored"),
    ),
    "flat, json": (
        *("POST", "/k/KEY", '{"temperature": 70.7, "unit": "F"}'),
        *({"temperature": (21.5, "°C")}, 200, "1 stored"),
    ),
    "enviro": (
        *("POST", "/k/KEY", ENVIRO),
        {
            "temperature": (21.5, "°C"),
            "humidity": (40, "%"),
            "illuminance": (12, "lx"),
            "pressure": (1001.2, "hPa"),
        },
        *(200, None),
    ),
    "ispindel": (
        *("POST", "/k/KEY/", ISPINDEL),
        {
            "42/temperature": (20, "°C"),
            "42/tilt": (45.6, "°"),
            "42/battery_voltage": (3.9, "V"),
            "42/gravity": (12.1, None),
            "42/signal": (-60, "dBm"),
        },
        *(200, None),
    ),
    "ai on the edge": ("POST", "/k/KEY/meter", METERS, {"main": (123.4, None)}, 200, None),
    "the things stack": (
        *("POST", "/k/KEY/up", THINGS_STACK),
        {
            "dragino/temperature": (21.5, "°C"),
            "dragino/battery.v": (3.1, None),
            "dragino/rssi": (-90, "dBm"),
        },
        *(200, "ok"),
    ),
    "the things stack, a join": (
        *("POST", "/k/KEY/join", '{"end_device_ids": {"device_id": "x"}, "join_accept": {}}'),
        *({}, 200, "ok"),
    ),
    "chirpstack": (
        *("POST", "/k/KEY?event=up", CHIRPSTACK),
        *({"soil/humidity": (33.5, "%"), "soil/rssi": (-48, "dBm")}, 200, "ok"),
    ),
    "the original": (
        *("POST", "/temp", '{"type":"temperature","token":"KEY","data":{"temperature":"20812"}}'),
        *({"temperature": (20.812, "°C")}, 200, '{"success":true}'),
    ),
    "influxdb": (
        *("POST", "/write?db=x&u=u&p=KEY", "temperature,device=shed,sensor=ds18b20 value=26.44\n"),
        *({"temperature/shed/ds18b20": (26.44, None)}, 204, ""),
    ),
    "readings behind a key": (
        *("POST", "/k/KEY/readings", '{"value": 21.5}'),
        *({"temperature": (21.5, "°C")}, 201, None),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_device_sends_is_stored(device: Device, case: str) -> None:
    method, path, body, stored, status, text = CASES[case]
    answer = device.send(method, path, body)
    assert (answer.status_code, answer.text.strip()) == (
        status,
        answer.text.strip() if text is None else text,
    )
    assert device.values() == stored
    assert device.rejected() == []


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if "2026-03-01" in str(CASES[case]) or str(AT_MS // 1000) in str(CASES[case])
    ],
)
def test_its_time_is_stored_and_a_repeat_is_a_duplicate(device: Device, case: str) -> None:
    method, path, body, stored, status, _ = CASES[case]
    for _ in range(2):
        assert device.send(method, path, body).status_code == status
    rows = device.rows()
    assert rows.keys() == stored.keys()
    assert {row[0] // 1000 for sensor in rows.values() for row in sensor} <= {
        AT_MS // 1000,
        AT_MS // 1000 + 60,
    }


def test_the_example_of_a_new_wire_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall("```python\n(.*?)```", (ROOT / "docs/connect.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    monkeypatch.setattr(wires, "WIRES", (names["Barometer"], *wires.WIRES))
    with station_in_thread(tmp_path) as station:
        device = Device(station, "porch")
        answer = device.post("/k/KEY/barometer", "29.92;2950")
        assert (answer.status_code, answer.text) == (200, "2 stored\n")
        assert device.values() == {"pressure": (1013.21, "hPa"), "battery": (2.95, "V")}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_what_to_type_has_the_address_and_the_key(name: str) -> None:
    settings = Settings.load({"TMON_INGEST_URL": "http://garden.example:8080/in"})
    text = instructions(name, settings, "0123456789abcdef0123456789abcdef")
    assert "0123456789abcdef0123456789abcdef" in text
    assert "garden.example" in text
    assert "8080" in text
    assert not re.search(r"\{[a-z]+\}|\{\{", re.sub(r"\$\{ev\.\w+\}", "", text))


AIRGRADIENT = (
    '{"pm01":2,"pm02":4,"pm10":5,"pm02Compensated":2.61,"pm003Count":303.5,"atmp":24.1,'
    '"atmpCompensated":23.35,"rhum":60.7,"rhumCompensated":83.76,"rco2":417,"tvocIndex":48,'
    '"tvocRaw":32520.83,"noxIndex":2,"boot":2378,"bootCount":2378,"wifi":-69,"ledMode":"co2",'
    '"serialno":"d83bda1d7660","firmware":"3.2.0","model":"O-1PST"}'
)


def test_the_line_for_airgradient_asks_the_device(device: Device) -> None:
    async def measures(scope: Scope, receive: Receive, send: Send) -> None:
        answer = PlainTextResponse(AIRGRADIENT, 200 if "current" in scope["path"] else 404)
        await answer(scope, receive, send)

    settings = Settings.load({"TMON_INGEST_URL": device.station.url})
    line = instructions("airgradient", settings, device.key).splitlines()[-1]
    command = line.strip().removeprefix("* * * * * ")
    with running(measures, HttpConnection) as url:
        command = command.replace("http://airgradient_NUMBER.local", url)
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    values = device.values()
    assert values["temperature"] == (24.1, "°C")
    assert values["temperature_compensated"] == (23.35, "°C")
    assert (values["pm25"], values["co2"]) == ((4, "µg/m³"), (417, "ppm"))
    assert len(values) == 13


def test_the_line_for_curl_stores(device: Device) -> None:
    settings = Settings.load({"TMON_INGEST_URL": device.station.url})
    line = instructions("curl", settings, device.key).splitlines()[0]
    subprocess.run(shlex.split(line), check=True, capture_output=True)
    assert device.values() == {"temperature": (21.5, "°C"), "humidity": (40, "%")}
