"""Facts about single devices: their fields, their ways to say nothing, and what isn't a reading."""

import base64
import json
import time

import pytest

from tests.wires.devices import Device

NOW_S = int(time.time())
SENSOR_COMMUNITY = {
    "1": ("P1", "12.5", "SDS/pm10", 12.5, "µg/m³"),
    "3": ("pressure", "99812.00", "BMP/pressure", 998.12, "hPa"),
    "5": ("P2", "7", "PPD/pm25", 7, "µg/m³"),
    "7": ("temperature", "21.50", "DHT/temperature", 21.5, "°C"),
    "9": ("height", "34.5", "GPS/height", 34.5, None),
    "11": ("humidity", "45.10", "BME280/humidity", 45.1, "%"),
    "13": ("temperature", "3.25", "DS18B20/temperature", 3.25, "°C"),
    "15": ("noise_LAeq", "52.3", "DNMS/noise_LAeq", 52.3, "dB(A)"),
    "17": ("co2_ppm", "640", "SCD30/co2", 640, "ppm"),
}


@pytest.mark.parametrize("pin", SENSOR_COMMUNITY)
def test_a_box_names_its_chip_by_a_pin(device: Device, pin: str) -> None:
    field, text, sensor, value, unit = SENSOR_COMMUNITY[pin]
    body = json.dumps({"sensordatavalues": [{"value_type": field, "value": text}]})
    headers = {"X-PIN": pin, "X-Sensor": "esp8266-1", "Authorization": "Bearer KEY"}
    assert device.post("/v1/push-sensor-data/", body, headers=headers).status_code == 200
    assert device.values() == {sensor: (value, unit)}


ECOWITT = {
    "dateutc=2026-03-01+12: 00: 00&tempf=50": {"temperature": (10, "°C")},
    "tempf=-9999&humidity=&temp2f=32": {"temperature_2": (0, "°C")},
    "tf_ch1=50&tf_co2=68&bgt=86&wbgt=77": {
        "temperature_probe1": (10, "°C"),
        "temperature_co2": (20, "°C"),
        "temperature_bgt": (30, "°C"),
        "temperature_wbgt": (25, "°C"),
    },
    "vpd=0.2&rrain_piezo=1&erain_piezo=1&mrain_piezo=2&srain_piezo=1": {
        "vapour_pressure_deficit": (6.8, "hPa"),
        "rain_rate_piezo": (25.4, "mm/h"),
        "rain_piezo_event_total": (25.4, "mm"),
        "rain_piezo_monthly_total": (50.8, "mm"),
        "rain_piezo_wet": (1, None),
    },
    "lightning=12&lightning_num=3&lightning_time=1772366400&soilad1=180&leak_ch2=0": {
        "lightning_distance": (12, "km"),
        "lightning_day_total": (3, None),
        "soil_raw_1": (180, None),
        "leak_2": (0, None),
    },
    "wh40batt=1.5&soilbatt1=1.4&leaf_batt1=1.3&tf_batt1=1.2&ws90cap_volt=5.1&wh57batt=5": {
        "battery_wh40": (1.5, "V"),
        "battery_soil1": (1.4, "V"),
        "battery_leaf_1": (1.3, "V"),
        "battery_tf_1": (1.2, "V"),
        "capacitor_ws90": (5.1, "V"),
        "battery_wh57_level": (5, None),
    },
    "runtime=100&heap=2000&interval=60&freq=868M&model=GW1100A&stationtype=x": {},
    "co2=640&co2_24h=600&pm25_ch1=4&pm25_avg_24h_ch1=5&pm10_co2=6": {
        "co2": (640, "ppm"),
        "co2_day_mean": (600, "ppm"),
        "pm25_1": (4, "µg/m³"),
        "pm25_day_mean_1": (5, "µg/m³"),
        "pm10_co2": (6, "µg/m³"),
    },
    "AqPM2.5=4&AqPM10=5&AqCO=1&AqNO2=20&visibility=5&windspdmph_avg2m=10": {
        "pm25": (4, "µg/m³"),
        "pm10": (5, "µg/m³"),
        "co": (1, "ppm"),
        "NO2": (20, "ppb"),
        "visibility": (5, "nmi"),
        "wind_speed_2min": (4.47, "m/s"),
    },
}


@pytest.mark.parametrize("form", ECOWITT)
def test_a_consoles_fields(device: Device, form: str) -> None:
    answer = device.post("/k/KEY/data/report/", form)
    assert (answer.status_code, answer.text) == (200, "OK\n")
    assert device.values() == ECOWITT[form]
    assert device.rejected() == []


def joined(*parts: bytes) -> bytes:
    """A body that is longer than a line."""
    return b"".join(parts)


AIRGRADIENT = {"wifi": -46, "pm02": 7, "rco2": 447, "atmp": 25.87, "rhum": 43, "boot": 6}
# Each: method, path, body, and what is stored; all are answered 200.
OTHERS = {
    "a join of ChirpStack, as Protobuf": ("POST", "/k/KEY?event=join", b"\x0a\x24\x00", {}),
    "a status of ChirpStack": (
        *("POST", "/k/KEY?event=status"),
        b'{"deviceInfo":{"deviceName":"d"},"margin":7,"batteryLevel":80.5}',
        {"d/margin": (7, "dB"), "d/battery": (80.5, "%")},
    ),
    "a status without a battery": (
        *("POST", "/k/KEY?event=status"),
        b'{"deviceInfo":{"devEui":"e"},"margin":7,"batteryLevel":0,"batteryLevelUnavailable":true}',
        {"e/margin": (7, "dB")},
    ),
    "a simulated uplink": (
        *("POST", "/k/KEY"),
        joined(
            b'{"end_device_ids":{"device_id":"d"},"simulated":true,',
            b'"uplink_message":{"decoded_payload":{"a":1}}}',
        ),
        {},
    ),
    "a payload that isn't decoded": (
        *("POST", "/k/KEY"),
        joined(
            b'{"end_device_ids":{"device_id":"d"},',
            b'"uplink_message":{"frm_payload":"AA==","rx_metadata":[{"rssi":-90,"snr":7}]}}',
        ),
        {"d/rssi": (-90, "dBm")},
    ),
    "a Ruuvi Gateway's own status": (
        *("POST", "/k/KEY/ruuvi", b'{"gw_mac":"AA:BB","uptime":5}', {}),
    ),
    "a Ruuvi tag, decoded": (
        *("POST", "/k/KEY/ruuvi"),
        json.dumps(
            {
                "data": {
                    "gw_mac": "AA:BB",
                    "tags": {
                        "C1": {
                            "rssi": -70,
                            "timestamp": str(NOW_S),
                            "temperature": "21.5",
                            "humidity": None,
                            "pressure": 100044,
                            "voltage": 2.9,
                        }
                    },
                }
            }
        ).encode(),
        {
            "C1/temperature": (21.5, "°C"),
            "C1/pressure": (1000.44, "hPa"),
            "C1/battery_voltage": (2.9, "V"),
            "C1/rssi": (-70, "dBm"),
        },
    ),
    "a Ruuvi tag of another format": (
        *("POST", "/k/KEY/ruuvi"),
        b'{"data":{"gw_mac":"AA","tags":{"C2":{"rssi":-70,"data":"0201061BFF990403291A1E"}}}}',
        {"C2/rssi": (-70, "dBm")},
    ),
    "GravityMon": (
        *("POST", "/k/KEY/"),
        joined(
            b'{"name":"g","ID":"2e6753","token":"x","interval":900,"temperature":68,',
            b'"temp_units":"F","gravity":1.05,"angle":45,"battery":3.9,"RSSI":-60,',
            b'"corr-gravity":1.049,"gravity-unit":"G","run-time":6}',
        ),
        {
            "2e6753/temperature": (20, "°C"),
            "2e6753/tilt": (45, "°"),
            "2e6753/battery_voltage": (3.9, "V"),
            "2e6753/gravity": (1.05, None),
            "2e6753/gravity_corrected": (1.049, None),
            "2e6753/signal": (-60, "dBm"),
        },
    ),
    "AirGradient's own path": (
        *("POST", "/k/KEY/sensors/airgradient:ecda3b/measures"),
        json.dumps({**AIRGRADIENT, "channels": {"1": {"atmp": 21.5}, "2": {}}}).encode(),
        {
            "signal": (-46, "dBm"),
            "pm25": (7, "µg/m³"),
            "co2": (447, "ppm"),
            "temperature": (25.87, "°C"),
            "humidity": (43, "%"),
            "1/temperature": (21.5, "°C"),
        },
    ),
    "a Shelly's template that failed, percent-encoded": (
        *("GET", "/k/KEY/shelly?temperature=%24%7Bev.tC%7D&humidity=null&battery=72", b""),
        {"battery": (72, "%")},
    ),
    "an Enviro Weather": (
        *("POST", "/k/KEY"),
        joined(
            b'{"nickname":"w","model":"weather","uid":"e1","timestamp":"2026-03-01T12:00:00Z",',
            b'"readings":{"wind_speed":1.5,"rain":0.28,"rain_per_second":0.001,"wind_direction":90,',
            b'"luminance":12.5,"voltage":4.9}}',
        ),
        {
            "wind_speed": (1.5, "m/s"),
            "rain": (0.28, "mm"),
            "rain_rate": (0.001, "mm/s"),
            "wind_direction": (90, "°"),
            "illuminance": (12.5, "lx"),
            "voltage": (4.9, "V"),
        },
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_a_device_says(device: Device, case: str) -> None:
    method, path, body, stored = OTHERS[case]
    assert device.send(method, path, body).status_code == 200
    assert device.values() == stored
    assert device.rejected() == []


def test_chirpstacks_protobuf_names_the_setting(device: Device) -> None:
    answer = device.post("/k/KEY?event=up", b"\x0a\x24\x00")
    assert answer.status_code == 400
    assert "JSON" in answer.text


@pytest.mark.parametrize("form", ["Bearer KEY", "Token KEY", "KEY", "Basic"])
def test_a_ruuvi_gateways_ways_to_authenticate(device: Device, form: str) -> None:
    body = b'{"data":{"gw_mac":"AA","tags":{"C2":{"rssi":-70,"temperature":21.5}}}}'
    if form == "Basic":
        form = "Basic " + base64.b64encode(f"user:{device.key}".encode()).decode()
    headers = {"Authorization": form}
    assert device.post("/ruuvi", body, headers=headers).status_code == 200
    assert device.values()["C2/temperature"] == (21.5, "°C")
