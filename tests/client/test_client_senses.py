"""What the client finds under /sys, and what it makes of it."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import client
from tests.client.harness import GOOD, FakeClock, Once, SysfsTree, scratchpad

POWER_ON = "50 05 4b 46 7f ff 0c 10 1c"
TRUE_85 = "50 05 4b 46 7f ff 10 10 9b"


@pytest.fixture
def sysfs(tmp_path: Path) -> SysfsTree:
    return SysfsTree(tmp_path)


def sensed(sysfs: SysfsTree) -> dict[str, tuple[float, str | None]]:
    clock = FakeClock(0)
    readings = [probe.sense(clock) for probe in client.probes(sysfs.root)]
    assert all(re.fullmatch(client.SENSOR_NAME, reading.sensor) for reading in readings)
    return {reading.sensor: (reading.value, reading.unit) for reading in readings}


@pytest.mark.parametrize("family", ["10", "22", "28", "3b", "42"])
def test_a_thermometer_on_the_1wire_bus_is_read(sysfs: SysfsTree, family: str) -> None:
    sysfs.thermometer(f"{family}-0316a2f2c3ff")
    assert sensed(sysfs) == {f"temperature:{family}-0316a2f2c3ff": (23.125, "°C")}


def test_another_1wire_chip_is_no_thermometer(sysfs: SysfsTree) -> None:
    sysfs.thermometer("01-0316a2f2c3ff")
    assert sensed(sysfs) == {}


@pytest.mark.parametrize(
    ("raw", "thousandths", "celsius"),
    [
        (GOOD, 23125, 23.125),
        (TRUE_85, 85000, 85.0),
        ("5e ff 4b 46 7f ff 02 10 d6", -10125, -10.125),
        ("00 00 4b 46 7f ff 10 10 52", 0, 0.0),
    ],
)
def test_a_measured_temperature_passes(raw: str, thousandths: int, celsius: float) -> None:
    assert client.scratchpad_celsius(scratchpad(raw, thousandths)) == celsius


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (scratchpad(GOOD, 23125, crc="NO"), "CRC"),
        (scratchpad(POWER_ON, 85000), "power-on"),
        (scratchpad("aa 00 4b 46 ff ff 0c 10 87", 85000), "power-on"),  # a DS18S20's
        (scratchpad("10 f8 4b 46 7f ff 10 10 00", -127000), "-127"),
        (scratchpad(" ".join(["00"] * 9), 0), "no chip"),
        (scratchpad(" ".join(["ff"] * 9), -62), "no chip"),
        ("", "CRC"),
        (f"{GOOD} : crc=57 YES\n", "CRC"),
    ],
)
def test_what_is_no_measurement_never_passes(text: str, reason: str) -> None:
    with pytest.raises(client.BadReading, match=reason):
        client.scratchpad_celsius(text)


@given(st.text())
def test_any_text_is_a_temperature_or_a_bad_reading(text: str) -> None:
    with suppress(client.BadReading):
        assert isinstance(client.scratchpad_celsius(text), float)


def flaky(answers: list[str]) -> client.Probe:
    return client.Probe("t", "°C", "a chip", lambda: client.scratchpad_celsius(answers.pop(0)))


def test_a_failed_crc_is_read_again_three_times() -> None:
    bad, good = scratchpad(GOOD, 23125, crc="NO"), scratchpad(GOOD, 23125)
    assert flaky([bad, bad, bad, good]).sense(FakeClock(0)).value == 23.125


def test_a_crc_that_goes_on_failing_is_no_reading() -> None:
    answers = [scratchpad(GOOD, 23125, crc="NO")] * 5
    with pytest.raises(client.BadReading):
        flaky(answers).sense(FakeClock(0))
    assert len(answers) == 1


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
        "temperature:nvme": (30.0, "°C"),
        "temperature:nvme:2": (40.0, "°C"),
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
    (probe,) = client.probes(sysfs.root)
    with pytest.raises(client.BadReading, match="absolute zero"):
        probe.sense(FakeClock(0))


@given(st.lists(st.text(), max_size=4))
def test_any_chip_and_label_make_a_name_that_the_server_takes(parts: list[str]) -> None:
    name = client.sensor_name("temperature", *parts) + ":999"
    assert re.fullmatch(client.SENSOR_NAME, name)


def test_a_command_prints_a_number() -> None:
    probe = client.command_probe("load:1=echo ' 0.52 '")
    reading = probe.sense(FakeClock(7))
    assert (reading.sensor, reading.unit, reading.value) == ("load", "1", 0.52)
    assert reading.instant.wall_ms == 7


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("door=cat door", "door", None),
        ("door:=cat door", "door", None),
        ("temperature:freezer:°C=x", "temperature:freezer", "°C"),
        ("a:%=test a = a; echo 1", "a", "%"),
    ],
)
def test_a_commands_unit_is_behind_its_last_colon(text: str, name: str, unit: str | None) -> None:
    probe = client.command_probe(text)
    assert (probe.sensor, probe.unit) == (name, unit)


@pytest.mark.parametrize("text", ["", "load", "load:1=", "=echo 1", "a b=echo 1", "../x=echo 1"])
def test_what_is_no_command_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="name:unit=shell command"):
        client.command_probe(text)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo warm", "no number"),
        ("echo 1 2", "no number"),
        ("true", "no number"),
        ("echo nan", "no number"),
        ("echo inf", "no number"),
        ("echo gone >&2; exit 3", "exit status 3: gone"),
    ],
)
def test_a_commands_failure_is_told(command: str, reason: str) -> None:
    with pytest.raises(client.BadReading, match=reason):
        client.command_probe(f"x={command}").sense(FakeClock(0))


def test_a_hanging_command_is_ended_with_its_children() -> None:
    began = time.monotonic()
    with pytest.raises(client.BadReading, match="longer than"):
        client.command_value("sleep 60 | cat", timeout_s=0.2)
    assert time.monotonic() - began < 5


def test_a_sensor_that_fails_does_not_stop_the_others(sysfs: SysfsTree, once: Once) -> None:
    sysfs.thermometer("28-000000000001", scratchpad(POWER_ON, 85000))
    sysfs.zone(0, "cpu-thermal", 48312)
    ran = once("--print", TMON_SYSFS=str(sysfs.root))
    assert ran.status == 0
    assert ran.out == "temperature:cpu-thermal      48.312 °C\n"
    assert "28-000000000001/w1_slave: 85.0 °C is the value after power-on" in ran.err
