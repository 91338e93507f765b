"""Commands that print a number: how they are written, and how they fail."""

from __future__ import annotations

import time

import pytest

from client import client
from tests.client.harness import FakeClock, Once
from tmon.core import units


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
    assert time.monotonic() - began < 50


@pytest.mark.parametrize("unit", ["W", "m/s", "µSv/h", "x" * 32])
def test_a_unit_that_tmon_does_not_know_is_taken(unit: str) -> None:
    assert client.command_probe(f"x:{unit}=echo 1").unit == unit


@pytest.mark.parametrize("unit", ["x" * 33, "m / s", "a b", "\x07", "m\u2028s"])
def test_what_can_be_no_unit_is_refused(unit: str) -> None:
    with pytest.raises(ValueError, match="is no unit"):
        client.command_probe(f"x:{unit}=echo 1")


def test_print_says_which_unit_tmon_does_not_know(once: Once) -> None:
    ran = once("--print", "--command", "temperature:fridge=echo 4", "--command", "oven:°C=echo 2")
    assert ran.out == "temperature         4.0 fridge\noven                2.0 °C\n"
    assert ran.said == ["temperature: fridge: not a unit tmon knows"]


def test_the_units_that_the_server_knows_are_known() -> None:
    assert set(units.UNITS) <= client.KNOWN_UNITS


def test_two_commands_of_one_name_are_refused(once: Once) -> None:
    ran = once("--print", TMON_COMMANDS="a:1=echo 1\na:V=echo 2")
    assert (ran.status, ran.said) == (2, ["2 commands are called 'a': give each its own name"])


def test_a_command_that_prints_for_ever_is_ended() -> None:
    with pytest.raises(client.BadReading, match="printed more than 65536 bytes"):
        client.command_value("yes")


def test_what_a_command_says_beside_its_number_does_not_matter() -> None:
    assert client.command_value("echo careful >&2; echo 7") == 7


def test_commands_run_one_after_the_other(once: Once, tmp_path: object) -> None:
    script = f"mkdir {tmp_path}/port && echo 1 && sleep 0.1 && rmdir {tmp_path}/port"
    commands = [flag for name in "abc" for flag in ("--command", f"{name}={script}")]
    assert once("--print", *commands).out.count("1.0") == 3
