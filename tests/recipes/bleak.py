"""A stand-in for bleak. It hears another device, a message that is cut short, and the right one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

UUID = "0000181a-0000-1000-8000-00805f9b34fb"
# MAC, -5.25 °C, 61.5 %, 2955 mV, 87 %, a counter and flags, as ATC_MiThermometer's format says.
MESSAGE = bytes.fromhex("010000 38c1a4 f3fd 0618 8b0b 57 2a 04")


class BleakScanner:
    """Calls back for each message that it hears."""

    def __init__(self, heard: Callable[[SimpleNamespace, SimpleNamespace], None]) -> None:
        self._heard = heard

    async def __aenter__(self) -> None:
        for address, data in (
            ("A4:C1:38:00:00:02", bytes(15)),
            ("A4:C1:38:00:00:01", MESSAGE[:8]),
            ("A4:C1:38:00:00:01", MESSAGE),
            ("A4:C1:38:00:00:01", MESSAGE),
        ):
            self._heard(
                SimpleNamespace(address=address), SimpleNamespace(service_data={UUID: data})
            )

    async def __aexit__(self, *_: object) -> None:
        pass
