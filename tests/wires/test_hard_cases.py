"""What devices send at their worst: odd values, lost characters, repeats, and keys out of place."""

import json
import time
from collections.abc import Mapping

import pytest

from tests.wires.devices import Device

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/k/KEY", '{"a": "%sx", "b": 1}' % ("9" * 900_000)),
        ("/k/KEY", '{"a": %s, "b": 1}' % ("9" * 4_000)),
        ("/k/KEY", '{"nickname": "n", "readings": {"a": %s, "b": 1}}' % ("9" * 4_000)),
        ("/k/KEY", '{"%s": "x", "b": 1}' % ("./" * 300_000)),
    ],
)
def test_a_huge_number_is_refused_alone_and_at_once(device: Device, path: str, body: str) -> None:
    began = time.monotonic()
    assert device.post(path, body, headers=JSON).status_code == 200
    assert time.monotonic() - began < 5
    assert device.values() == {"b": (1, None)}


@pytest.mark.parametrize("row", ["7", "[0]", '["x",5,1]', f"[{'9' * 400},5,1]"])
def test_an_emoncms_row_is_refused_alone(device: Device, row: str) -> None:
    answer = device.post("/input/bulk?apikey=KEY", f"data=[{row},[0,5,2]]", headers=FORM)
    assert (answer.status_code, answer.text) == (200, "ok")
    assert device.values() == {"5/1": (2, None)}
    assert len(device.rejected()) == 1


def test_what_emonhub_sends_after_an_outage_is_stored_at_once(device: Device) -> None:
    now_s = int(time.time())
    rows = [[now_s - 10_000 + 10 * n, "emontx", *range(12)] for n in range(1_000)]
    path = f"/input/bulk.json?apikey=KEY&sentat={now_s}"
    for _ in range(2):
        answer = device.post(path, f"data={json.dumps(rows, separators=(',', ':'))}", headers=FORM)
        assert (answer.status_code, answer.text) == (200, "ok")
    assert [len(stored) for stored in device.rows().values()] == [1_000] * 12
    assert device.rejected() == []


def test_emonhubs_repeat_is_a_duplicate(device: Device) -> None:
    now_s = int(time.time())
    for late_s in (0, 1):
        path = f"/input/bulk.json?apikey=KEY&sentat={now_s - late_s}"
        assert device.post(path, f"data=[[{now_s - 60},5,1]]", headers=FORM).text == "ok"
    assert device.rows() == {"5/1": [((now_s - 60) * 1000, 1, None)]}


@pytest.mark.parametrize("at", ["2026-03-01T13:00:00+01:00", "2026-03-01 13:00:00 +0100"])
def test_the_plus_of_a_zone_may_be_unencoded(device: Device, at: str) -> None:
    device.post("/update", f"api_key=KEY&field1=1&created_at={at}&headers=false", headers=FORM)
    assert device.rows() == {"field1": [(1_772_366_400_000, 1, None)]}


WEATHER = "/k/KEY/data/report/?dateutc=2026-03-01+12:00:00&"


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        (
            "stationtype=AMBWeatherV4.2.9&battout=1&battin=0&batt1=1",
            {"battery_out_ok": 1, "battery_in_ok": 0, "battery_1_ok": 1},
        ),
        ("stationtype=GW1100A&wh65batt=1&batt1=0", {"battery_65_low": 1, "battery_1_low": 0}),
        ("stationtype=GW1100A&pm25batt1=5&co2_batt=6", {"battery_pm25_1_level": 5}),
        ("softwaretype=WH2600GEN_V2.2.5&baromin=29.5", {"pressure_absolute": 998.98}),
        (
            "stationtype=AMBWeatherPro_V5&batt_co2=1&batt_25=0&batleak1=1&battsm2=1&24hourrainin=0.1",
            {
                "battery_co2_ok": 1,
                "battery_25_ok": 0,
                "battery_leak1_ok": 1,
                "battery_sm2_ok": 1,
                "rain_24h": 2.54,
            },
        ),
        (
            "lightning_day=3&lightning_hour=1&lightning_time=1772366400&lightning_distance=7",
            {"lightning_day_total": 3, "lightning_hour": 1, "lightning_distance": 7},
        ),
        (
            "pm25=4.5&pm25_24h=5&pm25_in_aqin=6&co2_in_aqin=640&pm_in_temp_aqin=68&soilhum1=30&leak1=0",
            {
                "pm25": 4.5,
                "pm25_day_mean": 5,
                "pm25_indoor": 6,
                "co2": 640,
                "temperature_co2": 20,
                "soil_moisture1": 30,
                "leak_1": 0,
            },
        ),
        (
            "mt=tower&sensor=7&battery=normal&rssi=3&tempf=50",
            {"7/battery_low": 0, "7/rssi": 3, "7/temperature": 10},
        ),
        ("mt=tower&sensor=7&battery=low&rssi=", {"7/battery_low": 1}),
        ("outtemp=1.4&UV=38", {"temperature": 1.4, "uv_raw": 38}),
    ],
)
def test_a_consoles_field_is_what_its_maker_means(
    device: Device, query: str, stored: Mapping[str, float]
) -> None:
    device.get(WEATHER + query)
    values = {name: value for name, (value, _) in device.values().items()}
    assert {name: values.get(name) for name in stored} == pytest.approx(stored, abs=0.1)


def test_an_acurite_hub_is_told_the_time(device: Device) -> None:
    path = "/weatherstation/updateweatherstation?dateutc=now&mt=tower&sensor=1&PASSWORD=KEY&tempf=5"
    told = device.get(path).json()["localtime"]
    assert len(time.strptime(told, "%H:%M:%S")) == 9


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ("bytes_in=5,temp_in=21.5", {"m/bytes_in": (5, None), "m/temp_in": (21.5, None)}),
        ("voltage_A=229,voltage_C=231", {"m/voltage_A": (229, None), "m/voltage_C": (231, None)}),
        ("rain_in=1", {"m/rain": (25.4, "mm")}),
        ("temperature_F=70.7", {"m/temperature": (21.5, "°C")}),
        ("a=1,b=NaN,c=3", {"m/a": (1, None), "m/c": (3, None)}),
    ],
)
def test_the_fields_of_a_line(
    device: Device, fields: str, stored: Mapping[str, tuple[float, str | None]]
) -> None:
    device.post("/k/KEY/write", f"m {fields}")
    assert device.values() == stored


def test_other_scripts_have_names_of_their_own(device: Device) -> None:
    device.post("/k/KEY/write", "t,room=厨房 value=1\nt,room=卧室 value=2\nt,room=Küche value=3")
    assert sorted(value for value, _ in device.values().values()) == [1, 2, 3]
    assert device.values()["t/Kuche"] == (3, None)


@pytest.mark.parametrize(
    "path", ["/k/KEY?name=KEY&value=1", "/input/post?apikey=KEY&node=KEY&csv=1"]
)
def test_no_key_becomes_a_name(device: Device, path: str) -> None:
    assert device.get(path).status_code == 200
    assert len(device.values()) == 1
    assert device.key not in str(device.values())


def test_no_key_or_token_becomes_a_unit_or_a_name(device: Device) -> None:
    token = device.station.token()
    assert device.get("/k/KEY?name=t&value=1&unit=KEY").status_code == 200
    bearer = {"Authorization": "Bearer KEY"}
    for reading in (
        {"value": 1, "unit": device.key},
        {"value": 1, "sensor": device.key},
        {"value": 1, "sensor": f"a/{device.key.upper()}"},
        {"value": 1, "sensor": token[:64]},
    ):
        answer = device.post("/readings", json.dumps(reading), headers=bearer)
        [rejected] = answer.json()["rejected"]
        assert rejected["code"] in {"invalid_unit", "invalid_sensor"}
        assert "key or token" in rejected["error"]
    everything = str(device.station.query("select * from rejected")) + str(device.rows())
    assert device.key not in everything
    assert token[:40] not in everything


def test_a_shellys_fault_is_no_temperature(device: Device) -> None:
    device.get("/k/KEY/?hum=56&temp=999.00&id=shellyht-6BB646")
    assert device.values() == {"humidity": (56, "%")}


def test_gravitymon_by_get(device: Device) -> None:
    device.get("/k/KEY/?name=a&temperature=70.7&temp-units=F&gravity=1.01&angle=30&battery=3.9")
    assert device.values()["a/temperature"] == (21.5, "°C")
    assert device.values()["a/battery_voltage"] == (3.9, "V")


def test_what_home_assistant_has_from_tmon_does_not_come_back(device: Device) -> None:
    lines = """°C,domain=sensor,entity_id=tmon_attic_temperature value=21.5,friendly_name_str="t"
°C,domain=sensor,entity_id=attic value=20
state,domain=light,entity_id=tmon_lamp value=1"""
    assert device.post("/k/KEY/write", lines).status_code == 204
    assert device.values() == {"attic": (20, "°C"), "light.tmon_lamp": (1, None)}


def test_hydrometers_with_one_key_are_told_apart(device: Device) -> None:
    for number in (1, 2):
        body = {"name": "iSpindel", "ID": number, "angle": 30, "temperature": 18 + number}
        assert device.post("/k/KEY/", json.dumps(body)).status_code == 200
    values = device.values()
    assert (values["1/temperature"], values["2/temperature"]) == ((19, "°C"), (20, "°C"))


def test_devices_whose_ids_differ_in_a_blank_are_told_apart(device: Device) -> None:
    for number, name in enumerate(("my dev", "my_dev", "my/dev")):
        body = {"deviceInfo": {"deviceName": name}, "object": {"temperature": number}}
        assert device.post("/k/KEY/", json.dumps(body)).status_code == 200
    assert sorted(value for value, _ in device.values().values()) == [0, 1, 2]
    assert device.values()["my_dev/temperature"] == (1, "°C")


def test_a_word_for_a_value_in_another_unit(device: Device) -> None:
    assert device.post("/k/KEY/data/report/", "PASSKEY=A&tempf=on").status_code == 200
    assert device.values() == {"temperature": (-17.22, "°C")}


@pytest.mark.parametrize(("query", "status"), [("", 204), ("?db=x", 400), ("?bucket=x", 400)])
def test_telegrafs_outputs_http_is_not_made_to_repeat(
    device: Device, query: str, status: int
) -> None:
    headers = {"User-Agent": "Telegraf/1.30.0 Go/1.22"}
    answer = device.post(f"/k/KEY/write{query}", "m v=1\nbad", headers=headers)
    assert (answer.status_code, len(device.rejected())) == (status, 1)
    assert device.values() == {"m/v": (1, None)}


@pytest.mark.parametrize("query", ["event=door&name=door&value=1", "event=up&door=1"])
def test_a_field_called_event_is_no_lorawan_event(device: Device, query: str) -> None:
    device.get(f"/k/KEY?{query}")
    device.post(f"/k/KEY?{query}")
    assert {value for value, _ in device.values().values()} == {1}


def test_a_decoders_numbers_may_be_texts(device: Device) -> None:
    decoded = {"BatV": "3.012", "soil": {"temp": "21.50"}, "Work_mode": "3DS18B20", "none": ""}
    body = {"deviceInfo": {"deviceName": "lht"}, "object": decoded}
    assert device.post("/k/KEY?event=up", json.dumps(body)).status_code == 200
    assert device.values() == {"lht/BatV": (3.012, None), "lht/soil.temp": (21.5, None)}
    assert device.rejected() == []


@pytest.mark.parametrize("odd", ["7", "null", '"x"'])
def test_an_odd_entry_of_a_bulk_is_refused_alone(device: Device, odd: str) -> None:
    updates = f'[{{"delta_t":0,"field1":1}},{odd},{{"delta_t":9,"field1":2}}]'
    answer = device.post(
        "/channels/9/bulk_update.json", f'{{"write_api_key":"KEY","updates":{updates}}}'
    )
    assert answer.status_code == 202
    (first, second) = device.rows()["field1"]
    assert (second[0] - first[0], first[1], second[1]) == (9_000, 1, 2)
    assert [code for _, code, _ in device.rejected()] == ["invalid_reading"]


@pytest.mark.parametrize("odd", ["5", '{"values": {}, "dsnames": ["a"]}'])
def test_an_odd_item_of_collectd_is_refused_alone(device: Device, odd: str) -> None:
    good = '{"values":[1],"dsnames":["value"],"host":"h","plugin":"load","type":"load","time":%d}'
    body = f"[{odd},{good % time.time()}]"
    assert device.post("/k/KEY/collectd", body).status_code == 200
    assert device.values() == {"load/load": (1, None)}
    assert [code for _, code, _ in device.rejected()] == ["invalid_reading"]


@pytest.mark.parametrize("is_last", [False, True])
def test_the_key_of_a_large_body_is_found(device: Device, is_last: bool) -> None:
    row = {f"field{n}": 1.5 for n in range(1, 9)}
    updates = [{**row, "created_at": 1_764_000_000 + 60 * n} for n in range(960)]
    fields = {"updates": updates, "write_api_key": "KEY"}
    body = json.dumps(dict(sorted(fields.items(), reverse=not is_last)))
    assert len(body) > 100_000
    assert device.post("/channels/9/bulk_update.json", body).status_code == 202
    assert [len(stored) for stored in device.rows().values()] == [960] * 8


def test_what_is_left_out_of_plain_fields_is_said(device: Device) -> None:
    answer = device.post("/k/KEY", '{"temperature": {"tC": 21.5}, "humidity": [40], "battery": 90}')
    assert answer.text == "1 stored; left out, as they are no numbers: temperature, humidity\n"
    assert device.values() == {"battery": (90, "%")}
