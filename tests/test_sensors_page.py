"""What docs/sensors.md says is so, and its recipes do what they say."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from client import client
from tests.client.harness import FakeClock
from tests.station import Station

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "sensors.md").read_text()
STUBS = Path(__file__).parent / "recipes"
URL = "http://192.168.1.10:13117/readings"
TOKEN = "tmon_greenhouse.…"


def recipe(language: str, beginning: str) -> str:
    """The one block of that language with that beginning."""
    found = re.findall(rf"```{language}\n({re.escape(beginning)}.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    text: str = found[0]
    return text


def for_station(text: str, station: Station) -> str:
    """A recipe with the address and the token of a real server."""
    assert URL in text
    assert TOKEN in text
    return text.replace(URL, f"{station.url}/readings").replace(TOKEN, station.token())


def stored(station: Station) -> list[tuple[Any, ...]]:
    return station.query("SELECT name, value, unit FROM latest ORDER BY name")


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that commands find first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def command(name: str) -> client.Probe:
    return client.command_probe(recipe("command", name).strip())


def test_a_contact_at_a_gpio(programs: Path) -> None:
    program(programs, "gpioget", '#!/bin/sh\n[ "$*" = "gpiochip0 17" ] && echo 1\n')
    assert command("door:").sense(FakeClock(0)).value == 1


def test_pulses_at_a_gpio_are_counted(programs: Path) -> None:
    program(programs, "gpiomon", "#!/bin/sh\nprintf '.\\n.\\n.\\n'\nexec sleep 60\n")
    text = recipe("command", "pulses:").strip()
    assert "timeout 8 " in text
    probe = client.command_probe(text.replace("timeout 8 ", "timeout 0.5 "))
    assert probe.sense(FakeClock(0)).value == 3


def test_a_modbus_register(programs: Path) -> None:
    # As mbpoll 1.4.11 answers.
    program(
        programs, "mbpoll", "#!/bin/sh\nprintf -- '-- Polling slave 1...\\n[1]: \\t21.5\\n\\n'\n"
    )
    text = recipe("command", "boiler:").strip()
    assert "flock /dev/ttyUSB0 " in text
    probe = client.command_probe(text.replace("flock /dev/ttyUSB0", f"flock {programs}/port"))
    assert (probe.unit, probe.sense(FakeClock(0)).value) == ("°C", 21.5)


@pytest.mark.parametrize(
    ("quantity", "value"), [("temperature", -5.25), ("humidity", 61.5), ("battery", 87.0)]
)
def test_a_bluetooth_thermometer(programs: Path, quantity: str, value: float) -> None:
    program(programs, "read-ble", recipe("python", "#!/usr/bin/env python3\n"))
    text = recipe("command", "temperature:bedroom:").strip()
    here = text.replace(
        "/usr/local/bin/read-ble", f"PYTHONPATH={STUBS} {sys.executable} {programs}/read-ble"
    )
    probe = client.command_probe(re.sub(r"temperature$", quantity, here))
    assert probe.sense(FakeClock(0)).value == value


def test_micropython(station: Station, tmp_path: Path) -> None:
    """Run by CPython, beside stubs of what a board has. What waits is sent once."""
    text = recipe("python", "import ds18x20")
    assert len(text.splitlines()) <= 40
    ast.parse(text)
    program(tmp_path, "main.py", for_station(text, station))
    ran = subprocess.run(
        [sys.executable, STUBS / "board.py", tmp_path / "main.py"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "no Wi-Fi yet\nthe server is away\n", ran.stderr
    assert stored(station) == [("temperature:28-0316a2f2c3ff", 23.125, "°C")]
    assert station.count() == 3


def test_arduino(station: Station, tmp_path: Path) -> None:
    """Compiled with stubs of the libraries' headers; what it would send is sent."""
    text = recipe("cpp", "#include")
    assert len(text.splitlines()) <= 40
    program(tmp_path, "sketch.ino.cpp", f'#include "Arduino.h"\n{for_station(text, station)}')
    binary = tmp_path / "sketch"
    options = ("-std=gnu++11", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}", "-o", binary)
    subprocess.run(["g++", *options, tmp_path / "sketch.ino.cpp", STUBS / "sketch.cpp"], check=True)
    ran = subprocess.run([binary], check=True, capture_output=True, text=True, timeout=60)
    requests = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [request["answered"] for request in requests] == [503, 201, 201]
    assert requests[0]["body"] == requests[2]["body"]  # kept, with its time
    for request in requests[1:]:
        assert request["url"] == f"{station.url}/readings"
        answer = station.post(request["body"].encode(), headers=request["headers"])
        assert answer.json()["accepted"] == 1
    assert stored(station) == [("temperature", 23.1875, "°C")]


def test_esphome(station: Station) -> None:
    """What the YAML says it sends is what the server takes."""
    config = yaml.safe_load(recipe("yaml", "http_request:"))
    (action,) = config["sensor"][0]["on_value"]
    post = action["http_request.post"]
    assert post["url"] == URL
    assert post["request_headers"]["Authorization"] == f"Bearer {TOKEN}"
    fields = re.findall(r'^root\["(\w+)"\] = (.+);$', post["json"], re.MULTILINE)
    reading = {name: 21.5 if text == "x" else json.loads(text) for name, text in fields}
    assert station.post(json.dumps(reading).encode()).json()["accepted"] == 1
    assert stored(station) == [("temperature", 21.5, "°C")]


def test_every_unusual_limit_is_on_the_page() -> None:
    for kind, words in (
        (client.TEMPERATURE, "-55 °C | 125 °C"),
        (client.HUMIDITY, "0 % | 100 %"),
        (client.IIO["pressure"], "300 hPa | 1250 hPa"),
        (client.IIO["illuminance"], "0 lx | 200,000 lx"),
        (client.IIO["concentration_co2"], "100 ppm | 100,000 ppm"),
        (client.VOLTAGE, "-1000 | 1000 V"),
    ):
        assert words in PAGE
        numbers = tuple(float(n) for n in re.findall(r"-?\d+", words.replace(",", "")))
        assert numbers == tuple(map(float, kind.limits))


def test_every_quantity_is_on_the_page() -> None:
    kinds = {*client.HWMON.values(), *client.IIO.values()}
    quantities = {kind.quantity for kind in kinds} - {"concentration"}
    assert {name for name in quantities if f"`{name}:" not in PAGE} == set()
    for name, *_ in client.HEALTH_SENSORS:
        assert f"`health:{name}`" in PAGE
