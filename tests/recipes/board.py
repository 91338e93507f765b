"""Runs a MicroPython program under CPython for three rounds, with what a board has besides.

Wi-Fi and the server are away in the first round. Of the two thermometers, one has lost its power.
"""

from __future__ import annotations

import runpy
import sys
import time
from types import ModuleType
from typing import Any

import requests


class Rom(bytes):
    """A chip's number. MicroPython has no slices with a step."""

    def __getitem__(self, index: Any) -> Any:
        assert not isinstance(index, slice) or index.step is None
        return super().__getitem__(index)


ROM = Rom.fromhex("28ffc3f2a2160300")


class Board:
    """Counts the rounds, and shows a clock that they move."""

    rounds = 0
    began = int(time.time()) - 600

    def sleep(self, seconds: float) -> None:
        if seconds == 60:
            self.rounds += 1
        if self.rounds == 3:
            sys.exit()

    def sleep_ms(self, ms: int) -> None:
        assert ms >= 750  # what a conversion takes

    def time(self) -> int:
        return self.began + 60 * self.rounds

    def post(self, url: str, **options: Any) -> requests.Response:
        assert isinstance(options["data"], bytes)  # of text, the length would be in characters
        if not self.rounds:
            raise OSError("the server is away")
        return requests.request("POST", url, **options)


class Wlan:
    """A Wi-Fi that is there from the second round on."""

    def isconnected(self) -> bool:
        return board.rounds > 1

    def active(self, on: bool) -> None:
        assert on

    def connect(self, name: str, password: str) -> None:
        if not board.rounds:
            raise OSError(f"no Wi-Fi yet for {name}, {password}".partition(" for")[0])


class Thermometers:
    """Two on one wire."""

    def convert_temp(self) -> None:
        pass

    def scan(self) -> list[bytes]:
        return [ROM, Rom.fromhex("2800000000000000")]

    def read_temp(self, rom: bytes) -> float:
        return 23.125 if rom == ROM else 85.0


def module(name: str, **contents: Any) -> None:
    made = ModuleType(name)
    vars(made).update(contents)
    sys.modules[name] = made


board = Board()
module("machine", Pin=lambda number: number)
module("onewire", OneWire=lambda pin: pin)
module("ds18x20", DS18X20=lambda _: Thermometers())
module("network", STA_IF=0, WLAN=lambda _: Wlan())
module("ntptime", settime=lambda: None)
module("requests", post=board.post)
module("time", gmtime=time.gmtime, time=board.time, sleep=board.sleep, sleep_ms=board.sleep_ms)
runpy.run_path(sys.argv[1])
