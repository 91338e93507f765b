"""Temperatures from a 1-Wire thermometer's scratchpad, and what is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import client
from tests.client.harness import GOOD, FakeClock, Once, SysfsTree, probes, scratchpad

POWER_ON = "50 05 4b 46 7f ff 0c 10 1c"
TRUE_85 = "50 05 4b 46 7f ff 10 10 9b"
CLONE_85 = "50 05 55 00 7f ff ff ff 63"
DS18S20 = "32 00 4b 46 ff ff 0c 10 18"
OVEN = "40 38 00 19 f0 ff ff ff 00"  # a MAX31850 at 900 °C, its other end at 25


@pytest.mark.parametrize(
    ("family", "raw", "celsius"),
    [
        *((family, GOOD, 23.125) for family in ("22", "28", "3b", "42")),
        ("10", DS18S20, 25.0),
        ("3b", OVEN, 900.0),
    ],
)
def test_a_thermometer_on_the_1wire_bus_is_read(
    sysfs: SysfsTree, family: str, raw: str, celsius: float
) -> None:
    sysfs.thermometer(f"{family}-0316a2f2c3ff", scratchpad(raw, 1))
    (probe,) = probes(sysfs.root)
    assert probe.sensor == f"temperature:{family}-0316a2f2c3ff"
    assert probe.sense(FakeClock(0)).value == celsius


def test_another_1wire_chip_is_no_thermometer(sysfs: SysfsTree) -> None:
    sysfs.thermometer("01-0316a2f2c3ff")
    assert list(probes(sysfs.root)) == []


@pytest.mark.parametrize(
    ("family", "raw", "thousandths", "celsius"),
    [
        ("28", GOOD, 23125, 23.125),
        ("28", TRUE_85, 85000, 85.0),
        ("28", "5e ff 4b 46 7f ff 02 10 d6", -10125, -10.125),
        ("28", "5e ff 4b 46 7f ff 0c 10 1e", 4085875, -10.125),  # a kernel's fault: bytes are right
        ("28", "00 00 4b 46 7f ff 10 10 52", 0, 0.0),
        ("28", "ff ff 4b 46 7f ff 0c 10 aa", -62, -0.0625),
        ("28", "d0 07 4b 46 7f ff 10 10 00", 125000, 125.0),
        ("28", "90 fc 4b 46 7f ff 10 10 00", -55000, -55.0),
        ("28", "72 01 4b 46 ff ff 0e 10 00", 23171, 23.171875),  # GX20MH01: 14 bits
        ("28", "8e fe 4b 46 80 ff 0e 10 00", -23125, -23.125),
        ("10", "32 00 4b 46 ff ff 0c 10 18", 25000, 25.0),
        ("10", "32 00 4b 46 ff ff 04 10 00", 25500, 25.5),
        ("10", "ce ff 4b 46 ff ff 0c 10 00", -25000, -25.0),
        ("10", "aa 00 4b 46 ff ff 04 10 00", 85500, 85.5),
        ("3b", "50 05 00 19 f0 ff ff ff 00", 85000, 85.0),  # a thermocouple may measure it
        ("3b", "60 f0 00 19 f3 ff ff ff 00", -250000, -250.0),
    ],
)
def test_a_measured_temperature_passes_by_its_bytes(
    family: str, raw: str, thousandths: int, celsius: float
) -> None:
    assert client.scratchpad_celsius(scratchpad(raw, thousandths), family) == celsius


def test_the_first_line_has_all_that_is_needed() -> None:
    assert client.scratchpad_celsius(f"{GOOD} : crc=57 YES\n{GOOD}\n") == 23.125


@pytest.mark.parametrize(
    ("family", "text", "reason"),
    [
        ("28", scratchpad(GOOD, 23125, crc="NO"), "the CRC failed"),
        ("28", scratchpad(POWER_ON, 85000), "power-on"),
        ("28", scratchpad(CLONE_85, 85000), "power-on"),
        ("10", scratchpad("aa 00 4b 46 ff ff 0c 10 87", 85000), "power-on"),
        ("10", scratchpad("32 00 4b 46 ff ff 0c 00 00", 25000), "byte 7"),
        ("28", scratchpad("10 f8 4b 46 7f ff 10 10 00", -127000), "-127.0 °C is outside -55 to"),
        ("28", scratchpad("ff 07 4b 46 7f ff 01 10 aa", 127937), "127.9375 °C is outside"),
        ("28", scratchpad("21 f9 4b 46 7f ff 0c 10 aa", -109937), "-109.9375 °C is outside"),
        ("10", scratchpad("ff 00 4b 46 ff ff 0c 10 aa", 127000), "127.0 °C is outside"),
        ("22", scratchpad("d1 07 4b 46 7f ff 0f 10 aa", 125062), "125.0625 °C is outside"),
        ("3b", scratchpad("01 00 01 19 f0 ff ff ff 00", 0), "thermocouple"),
        ("3b", scratchpad("f0 7f 00 19 f0 ff ff ff 00", 0), "2047.0 °C is outside -270 to 1800"),
        ("28", scratchpad(" ".join(["00"] * 9), 0), "no chip answered"),
        ("28", scratchpad(" ".join(["ff"] * 9), -62), "no chip answered"),
        ("28", scratchpad(" ".join(["ff"] * 9), -62, crc="NO"), "no chip answered"),
        ("28", "", "empty: the kernel got no valid answer"),
        ("28", "23125", "no scratchpad: '23125'"),
        ("28", f"{GOOD[:-3]} : crc=57 YES\n", "no scratchpad"),
    ],
)
def test_what_is_no_measurement_never_passes_and_says_why(
    family: str, text: str, reason: str
) -> None:
    with pytest.raises(client.BadReading, match=reason):
        client.scratchpad_celsius(text, family)


@given(st.text(), st.sampled_from(["10", "28", "3b"]))
def test_any_text_is_a_temperature_or_a_bad_reading(text: str, family: str) -> None:
    with suppress(client.BadReading):
        client.scratchpad_celsius(text, family)


@given(st.binary(min_size=9, max_size=9), st.sampled_from(["10", "22", "28", "3b", "42"]))
def test_any_bytes_are_a_temperature_that_the_chip_can_measure(raw: bytes, family: str) -> None:
    with suppress(client.BadReading):
        celsius = client.scratchpad_celsius(scratchpad(raw.hex(" "), 0), family)
        assert -55 <= celsius <= 125 or (family == "3b" and -270 <= celsius <= 1800)


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


def test_a_sensor_that_fails_does_not_stop_the_others(sysfs: SysfsTree, once: Once) -> None:
    sysfs.thermometer("28-000000000001", scratchpad(POWER_ON, 85000))
    sysfs.zone(0, "cpu-thermal", 48312)
    ran = once("--print", TMON_SYSFS=str(sysfs.root))
    assert ran.status == 0
    assert ran.out == "temperature:cpu-thermal      48.312 °C\n"
    assert "28-000000000001/w1_slave: 85.0 °C is the value after power-on" in ran.err
