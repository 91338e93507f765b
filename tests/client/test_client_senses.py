"""What the client finds under /sys, and what it makes of it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import client
from tests.client.harness import FakeClock, Once, SysfsTree, listed, probes


def sensed(sysfs: SysfsTree) -> dict[str, tuple[float, str | None]]:
    clock = FakeClock(0)
    readings = [probe.sense(clock) for probe in probes(sysfs.root)]
    assert all(re.fullmatch(client.SENSOR_NAME, reading.sensor) for reading in readings)
    return {reading.sensor: (reading.value, reading.unit) for reading in readings}


def test_cpu_and_board_are_read_once_though_hwmon_shows_them_too(sysfs: SysfsTree) -> None:
    sysfs.zone(0, "cpu-thermal", 48312)
    sysfs.hwmon(0, "virtual/thermal/thermal_zone0", name="cpu_thermal", temp1_input="48312")
    sysfs.hwmon(1, "w1_bus_master1/28-0316a2f2c3ff", name="w1_slave_temp", temp1_input="23125")
    sysfs.thermometer()
    assert sensed(sysfs) == {
        "temperature:28-0316a2f2c3ff": (23.125, "°C"),
        "temperature:cpu-thermal": (48.312, "°C"),
    }


def test_two_zones_of_a_type_are_told_apart(sysfs: SysfsTree) -> None:
    sysfs.zone(0, "acpitz", 27800)
    sysfs.zone(1, "acpitz", 29800)
    assert sensed(sysfs) == {
        "temperature:acpitz": (27.8, "°C"),
        "temperature:acpitz:2": (29.8, "°C"),
    }


def test_a_chips_labels_name_its_sensors(sysfs: SysfsTree) -> None:
    sysfs.hwmon(
        0,
        "platform/coretemp.0",
        name="coretemp",
        temp1_input="40000",
        temp1_label="Package id 0",
        temp2_input="39000",
        temp2_label="Core 0",
        temp3_input="38000",
        temp2_crit="100000",
    )
    assert sensed(sysfs) == {
        "temperature:coretemp:Package-id-0": (40.0, "°C"),
        "temperature:coretemp:Core-0": (39.0, "°C"),
        "temperature:coretemp:temp3": (38.0, "°C"),
    }


def test_a_humidity_chip_of_hwmon_is_read(sysfs: SysfsTree) -> None:
    sysfs.hwmon(2, "i2c-1/1-0044", name="sht3x", temp1_input="21400", humidity1_input="48300")
    assert sensed(sysfs) == {
        "temperature:sht3x:1-0044": (21.4, "°C"),
        "humidity:sht3x:1-0044": (48.3, "%"),
    }


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_names_do_not_hang_on_the_order_of_a_boot(
    sysfs: SysfsTree, numbers: tuple[int, int]
) -> None:
    first, second = numbers
    sysfs.hwmon(first, "pci/0000:01/nvme", name="nvme", temp1_input="30000")
    sysfs.hwmon(second, "pci/0000:02/nvme", name="nvme", temp1_input="40000")
    sysfs.iio(first, "i2c-1/1-0076", name="bme280", in_temp_input="20000")
    sysfs.iio(second, "i2c-1/1-0077", name="bme280", in_temp_input="21000")
    assert sensed(sysfs) == {
        "temperature:nvme:0000-01": (30.0, "°C"),
        "temperature:nvme:0000-02": (40.0, "°C"),
        "temperature:bme280:1-0076": (20.0, "°C"),
        "temperature:bme280:1-0077": (21.0, "°C"),
    }


def test_a_bme280_gives_three_quantities_in_our_units(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0,
        "i2c-1/1-0076",
        name="bme280",
        in_temp_input="21740",
        in_humidityrelative_input="45312",
        in_pressure_input="98.525390625",
        in_temp_oversampling_ratio="2",
    )
    assert sensed(sysfs) == {
        "temperature:bme280:1-0076": (21.74, "°C"),
        "humidity:bme280:1-0076": (45.312, "%"),
        "pressure:bme280:1-0076": (985.253906, "hPa"),
    }


def test_a_dht22_is_named_by_its_pin(sysfs: SysfsTree) -> None:
    sysfs.iio(0, "platform/dht11@4", name="dht11@4", in_temp_input="21400")
    assert sensed(sysfs) == {"temperature:dht11-4": (21.4, "°C")}


def test_raw_values_are_offset_then_scaled(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0,
        "i2c-1/1-005f",
        name="hts221",
        in_temp_raw="120",
        in_temp_offset="305.5",
        in_temp_scale="50",
        in_humidityrelative_raw="-1500",
        in_humidityrelative_offset="-10000",
        in_humidityrelative_scale="-4",
    )
    assert sensed(sysfs) == {
        "temperature:hts221:1-005f": (21.275, "°C"),
        "humidity:hts221:1-005f": (46.0, "%"),
    }


def test_channels_share_the_scale_of_their_kind(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0,
        "i2c-1/1-005a",
        name="mlx90614",
        in_temp_ambient_raw="14700",
        in_temp_object_raw="15000",
        in_temp_offset="-13657.5",
        in_temp_scale="20",
    )
    assert sensed(sysfs) == {
        "temperature:mlx90614:1-005a:ambient": (20.85, "°C"),
        "temperature:mlx90614:1-005a:object": (26.85, "°C"),
    }


def test_a_finished_value_goes_before_its_raw(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0, "i2c-1/1-0023", name="bh1750", in_illuminance_input="312.5", in_illuminance_raw="9"
    )
    assert sensed(sysfs) == {"illuminance:bh1750:1-0023": (312.5, "lx")}


def test_nothing_below_absolute_zero_passes(sysfs: SysfsTree) -> None:
    sysfs.zone(0, "soc", -274000)
    (probe,) = probes(sysfs.root)
    with pytest.raises(client.BadReading, match="absolute zero"):
        probe.sense(FakeClock(0))


@given(st.lists(st.text(), max_size=4))
def test_any_chip_and_label_make_a_name_that_the_server_takes(parts: list[str]) -> None:
    name = client.sensor_name("temperature", *parts) + ":999"
    assert re.fullmatch(client.SENSOR_NAME, name)


def failures(sysfs: SysfsTree) -> dict[str, str]:
    """Why each sensor that gives nothing doesn't."""
    told = {}
    for probe in probes(sysfs.root):
        try:
            probe.sense(FakeClock(0))
        except client.BadReading as error:
            told[probe.sensor] = str(error)
    return told


def test_a_bme680_gives_percent_and_its_pressure_in_either_unit(sysfs: SysfsTree) -> None:
    sysfs.iio(0, "i2c-1/1-0076", name="bme680", in_pressure_input="1013.25")
    sysfs.iio(
        1,
        "i2c-1/1-0077",
        name="bme680",
        in_temp_input="21530",
        in_pressure_input="101.325",
        in_humidityrelative_input="45.123",
        in_resistance_input="120543",
    )
    sysfs.iio(
        2,
        "i2c-3/3-0077",
        name="bme680",
        in_humidityrelative_raw="45123",
        in_humidityrelative_scale="0.001",
        in_pressure_raw="101325",
        in_pressure_scale="0.001",
    )
    sysfs.iio(3, "i2c-4/4-0077", name="bme680", in_humidityrelative_input="45123")
    assert sensed(sysfs) == {
        "pressure:bme680:1-0076": (1013.25, "hPa"),
        "temperature:bme680:1-0077": (21.53, "°C"),
        "pressure:bme680:1-0077": (1013.25, "hPa"),
        "humidity:bme680:1-0077": (45.123, "%"),
        "resistance:bme680:1-0077": (120543.0, "Ω"),
        "humidity:bme680:3-0077": (45.123, "%"),
        "pressure:bme680:3-0077": (1013.25, "hPa"),
        "humidity:bme680:4-0077": (45.123, "%"),
    }


def test_iio_chips_tell_voltage_current_gas_and_dust(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0,
        "i2c-1/1-0048",
        name="ads1115",
        in_voltage0_raw="13000",
        in_voltage0_scale="0.1875",
        in_voltage1_raw="12",
        in_voltage_scale="2",
    )
    sysfs.iio(1, "i2c-1/1-0034", name="axp20x", in_current_raw="120", in_scale="0.5")
    sysfs.iio(
        2,
        "i2c-1/1-0062",
        name="scd41",
        in_concentration_co2_raw="812",
        in_concentration_co2_scale="0.0001",
    )
    sysfs.iio(3, "i2c-1/1-0058", name="sgp30", in_concentration_voc_input="0.000000225")
    sysfs.iio(4, "i2c-1/1-0069", name="sps30", in_massconcentration_pm2p5_input="7.5")
    sysfs.iio(5, "i2c-1/1-0040", name="pac1934", in_power1_raw="1500", in_power1_scale="1")
    assert sensed(sysfs) == {
        "voltage:ads1115:1-0048:0": (2.4375, "V"),
        "voltage:ads1115:1-0048:1": (0.024, "V"),
        "current:axp20x:1-0034": (0.06, "A"),
        "co2:scd41:1-0062": (812.0, "ppm"),
        "concentration:sgp30:1-0058:voc": (0.225, "ppm"),
        "particulates:sps30:1-0069:pm2p5": (7.5, "µg/m³"),
        "power:pac1934:1-0040:1": (1.5, "W"),
    }


def test_hwmon_chips_tell_voltage_current_power_fans_and_an_alarm(sysfs: SysfsTree) -> None:
    sysfs.hwmon(
        0,
        "i2c-1/1-0040",
        name="ina219",
        in0_input="-4",
        in1_input="4228",
        curr1_input="-40",
        power1_input="176000",
    )
    sysfs.hwmon(1, "platform/cooling_fan", name="pwmfan", fan1_input="2987", pwm1="75")
    sysfs.hwmon(2, "platform/soc/rpi_volt", name="rpi_volt", in0_lcrit_alarm="1")
    assert sensed(sysfs) == {
        "voltage:ina219:1-0040": (-0.004, "V"),
        "voltage:ina219:1-0040:in1": (4.228, "V"),
        "current:ina219:1-0040": (-0.04, "A"),
        "power:ina219:1-0040": (0.176, "W"),
        "fan:pwmfan": (2987.0, "rpm"),
        "undervoltage:rpi_volt": (1.0, "1"),
    }


def test_the_highest_and_lowest_since_a_reset_are_no_measurement(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0,
        "i2c-1/1-0044",
        name="sht4x",
        in_temp_input="20000",
        in_temp_peak_raw="9",
        in_temp_trough_raw="1",
        in_temp_mean_raw="5",
    )
    assert sensed(sysfs) == {"temperature:sht4x:1-0044": (20.0, "°C")}


def test_what_no_such_sensor_can_measure_is_refused(sysfs: SysfsTree) -> None:
    sysfs.iio(
        0,
        "platform/dht11@4",
        name="dht11@4",
        in_temp_input="3276700",
        in_humidityrelative_input="3304300",
    )
    sysfs.hwmon(0, "i2c-1/1-0048", name="lm75", temp1_input="-128000")
    sysfs.hwmon(1, "i2c-1/1-0049", name="lm75", temp1_input="127937")
    sysfs.zone(0, "iwlwifi_1", 2_000_000)
    sysfs.iio(1, "i2c-1/1-0076", name="bmp280", in_pressure_input="0")
    sysfs.iio(2, "i2c-1/1-0062", name="scd41", in_concentration_co2_input="0")
    assert failures(sysfs) == {
        "humidity:dht11-4": "3304.3 % is outside 0 to 100 %",
        "temperature:dht11-4": "3276.7 °C is outside -55 to 125 °C",
        "temperature:lm75:1-0048": "-128.0 °C is outside -55 to 125 °C",
        "temperature:lm75:1-0049": "127.937 °C is outside -55 to 125 °C",
        "temperature:iwlwifi_1": "2000.0 °C is outside -55 to 125 °C",
        "pressure:bmp280:1-0076": "0.0 hPa is outside 300 to 1250 hPa",
        "co2:scd41:1-0062": "0.0 ppm is outside 100 to 100000 ppm",
    }


def test_a_thermocouple_measures_an_oven(sysfs: SysfsTree) -> None:
    sysfs.iio(0, "spi0/spi0.1", name="max31855k", in_temp_input="900000", in_temp_i_input="-1")
    assert sensed(sysfs)["temperature:max31855k:spi0.1"] == (900.0, "°C")


def test_an_input_that_the_chip_calls_broken_is_no_reading(sysfs: SysfsTree) -> None:
    sysfs.hwmon(0, "i2c-1/1-004c", name="lm90", temp2_input="25000", temp2_fault="1")
    assert failures(sysfs) == {
        "temperature:lm90:1-004c:temp2": "the chip says that this sensor is broken"
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no number: it is empty"),
        ("\n", "no number: it is empty"),
        ("warm", "no number: 'warm'"),
        ("1_000", "no number: '1_000'"),
        ("٣", "no number: '٣'"),
        ("nan", "no number: 'nan'"),
        ("1 2", "no number: '1 2'"),
        ("9e999", "inf is no number"),
    ],
)
def test_a_file_without_a_number_says_what_it_has(sysfs: SysfsTree, text: str, reason: str) -> None:
    sysfs.iio(0, "i2c-1/1-0023", name="bh1750", in_illuminance_input=text)
    assert failures(sysfs) == {"illuminance:bh1750:1-0023": reason}


def test_a_scale_that_cannot_be_read_is_not_taken_for_one(sysfs: SysfsTree) -> None:
    chip = sysfs.iio(0, "i2c-1/1-005f", name="hts221", in_temp_raw="120")
    (chip / "in_temp_scale").mkdir()
    (probe,) = probes(sysfs.root)
    with pytest.raises(IsADirectoryError):
        probe.sense(FakeClock(0))


def test_print_says_what_is_there_and_not_sensed(sysfs: SysfsTree, once: Once) -> None:
    sysfs.zone(0, "cpu-thermal", 48312)
    sysfs.thermometer("26-000000000015")
    sysfs.thermometer()
    sysfs.write("bus/w1/devices/w1_bus_master1/name", "w1_bus_master1")
    sysfs.iio(
        0,
        "i2c-1/1-0048",
        name="ads1015",
        in_voltage0_raw="5",
        in_voltage0_scale="3",
        in_voltage0_sampling_frequency="128",
        **{"in_voltage0-voltage1_raw": "5"},
    )
    sysfs.iio(1, "i2c-1/1-0069", name="bmi160", in_accel_x_raw="4", in_accel_scale="1")
    sysfs.iio(2, "i2c-1/1-0076", name="bme280", in_temp_input="20000", in_temp_raw="9")
    sysfs.hwmon(0, "platform/board", name="board", energy1_input="5", temp1_input="20000")
    sysfs.hwmon(1, "w1_bus_master1/28-0316a2f2c3ff", name="w1_slave_temp", temp1_input="1")
    there = "26-000000000015, board energy1, ads1015 in_voltage0-voltage1, bmi160 in_accel_x"
    assert once("--print").said == [f"also there: {there}"]


def test_health_tells_of_disk_memory_load_and_uptime(once: Once) -> None:
    ran = once("--print", "--health=yes")
    told = dict(re.findall(r"^(\S+) +(\S+) \S+$", ran.out, re.MULTILINE))
    assert 0 <= float(told["health:disk-used"]) <= 100
    assert 0 < float(told["health:memory-used"]) < 100
    assert float(told["health:load"]) >= 0
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(float(told["health:uptime"]) - uptime_s) < 30


@pytest.mark.parametrize(
    ("text", "count"), [("no", 0), ("0", 0), ("False", 0), ("TRUE", 1), (" yes ", 1)]
)
def test_health_is_told_on_request(once: Once, text: str, count: int) -> None:
    assert once("--print", TMON_HEALTH=text).out.count("health:load") == count


def test_a_request_for_health_that_is_neither_yes_nor_no_is_told(once: Once) -> None:
    ran = once("--print", TMON_HEALTH="maybe")
    assert (ran.status, ran.said) == (2, ["TMON_HEALTH 'maybe' is neither yes nor no"])


def test_wifi_levels_are_read_with_and_without_their_sign() -> None:
    text = """Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   56.  -54.  -256        0      0      0      0     31        0
wlp2s0: 0000   70   202.  0           0      0      0      0     31        0
"""
    assert client.wifi_levels(text) == {"wlan0": -54.0, "wlp2s0": -54.0}
    assert client.wifi_levels("") == {}


def outcomes(sysfs: SysfsTree) -> dict[str, float | str]:
    """The value of each sensor, or why it has none."""
    told: dict[str, float | str] = dict(failures(sysfs))
    for probe in probes(sysfs.root):
        with suppress(client.BadReading):
            told[probe.sensor] = probe.sense(FakeClock(0)).value
    return told


DRIVERS: list[tuple[str, dict[str, str], dict[str, float | str]]] = [
    (
        "maxim_thermocouple",
        {"in_temp_raw": "3600", "in_temp_scale": "250"},
        {"temperature:maxim_thermocouple:1-0040": 900.0},
    ),
    (
        "max31865",
        {"in_temp_raw": "8827", "in_temp_scale": "31.25", "fault_ovuv": "0"},
        {"temperature:max31865:1-0040": 19.84375},
    ),
    (
        "max31865",
        {"in_temp_raw": "8827", "in_temp_scale": "31.25", "fault_ovuv": "1"},
        {"temperature:max31865:1-0040": "the chip says that this sensor is broken"},
    ),
    (
        "max31865",
        {"in_temp_raw": "0", "in_temp_scale": "31.25"},
        {"temperature:max31865:1-0040": "-256.0 °C is outside -200 to 850 °C"},
    ),
    (
        "sgp40",
        {"in_concentration_input": "92.3", "in_resistance_raw": "30123"},
        {"concentration:sgp40:1-0040": 92.3},
    ),
    (
        "sgp30",
        {"in_concentration_co2_input": "0.000412", "in_concentration_voc_input": "0.00000025"},
        {"co2:sgp30:1-0040": 412.0, "concentration:sgp30:1-0040:voc": 0.25},
    ),
    ("1-005a", {"in_concentration_co2_input": "0.000812"}, {"co2:1-005a:1-0040": 812.0}),
    (
        "sdp500",
        {"in_pressure_raw": "-1200", "in_pressure_scale": "0.5"},
        {"pressure:sdp500:1-0040": -6.0},
    ),
    (
        "adp810",
        {"in_pressure_raw": "100", "in_pressure_scale": "0.0001"},
        {"pressure:adp810:1-0040": 0.1},
    ),
    (
        "dlhl60d",
        {"in_pressure_raw": "-100", "in_pressure_scale": "0.001"},
        {"pressure:dlhl60d:1-0040": -1.0},
    ),
    ("mh-z19b", {"in_concentration_co2_raw": "812"}, {"co2:mh-z19b:1-0040": 812.0}),
    (
        "am2315",
        {"in_temp_raw": "-32718", "in_temp_scale": "100"},
        {"temperature:am2315:1-0040": -5.0},
    ),
    (
        "aht10",
        {"in_temp_input": "-50000", "in_humidityrelative_input": "0"},
        {
            "temperature:aht10:1-0040": "-50.0 °C is outside -40 to 125 °C",
            "humidity:aht10:1-0040": "0.0 % is outside 0.001 to 100 %",
        },
    ),
    ("hts221", {"in_humidityrelative_input": "119000"}, {"humidity:hts221:1-0040": 100.0}),
    ("hts221", {"in_humidityrelative_input": "-5900"}, {"humidity:hts221:1-0040": 0.0}),
    (
        "hts221",
        {"in_humidityrelative_input": "121000"},
        {"humidity:hts221:1-0040": "121.0 % is outside 0 to 100 %"},
    ),
    (
        "scd30",
        {
            "in_concentration_co2_raw": "812",
            "in_concentration_scale": "0.0001",
            "in_temp_raw": "2150",
            "scale": "10",
        },
        {"co2:scd30:1-0040": 812.0, "temperature:scd30:1-0040": 21.5},
    ),
]


@pytest.mark.parametrize(("model", "files", "expected"), DRIVERS)
def test_what_a_driver_gives_is_taken_for_what_it_is(
    sysfs: SysfsTree, model: str, files: dict[str, str], expected: dict[str, float | str]
) -> None:
    sysfs.iio(0, "i2c-1/1-0040", **{"name": model, **files})
    assert outcomes(sysfs) == expected


@pytest.mark.parametrize("kind", client.IIO)
def test_a_raw_value_without_a_scale_has_no_unit(sysfs: SysfsTree, kind: str) -> None:
    sysfs.iio(0, "i2c-1/1-0040", **{"name": "x", f"in_{kind}0_raw": "7", f"in_{kind}_offset": "1"})
    assert listed(sysfs.root) == [f"x in_{kind}0"]


def test_dew_on_a_chip_of_hwmon_is_all_of_the_humidity(sysfs: SysfsTree) -> None:
    sysfs.hwmon(0, "i2c-1/1-0040", name="sht21", humidity1_input="100700")
    assert outcomes(sysfs) == {"humidity:sht21:1-0040": 100.0}


@pytest.mark.parametrize("name", ["in_temp_scale", "in_temp_offset"])
def test_a_correction_that_has_gone_since_the_listing_is_not_left_out(
    sysfs: SysfsTree, name: str
) -> None:
    files = {"in_temp_raw": "120", "in_temp_scale": "50", "in_temp_offset": "300"}
    chip = sysfs.iio(0, "i2c-1/1-0040", **{"name": "hts221", **files})
    (probe,) = probes(sysfs.root)
    (chip / name).unlink()
    with pytest.raises(FileNotFoundError):
        probe.sense(FakeClock(0))


@pytest.mark.parametrize(("unit", "value"), [("K", -0.1), ("°F", -459.7), ("°C", -273.2)])
def test_no_command_measures_below_absolute_zero(unit: str, value: float) -> None:
    with pytest.raises(client.BadReading, match="below absolute zero"):
        client.command_probe(f"x:{unit}=echo {value}").sense(FakeClock(0))
