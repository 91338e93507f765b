"""A device for each test."""

import itertools

import pytest

from tests.station import Station
from tests.wires.devices import Device

_numbers = itertools.count(1)


@pytest.fixture
def device(shared: Station) -> Device:
    """A device with a node and a key of its own, at a station that a module's tests share."""
    return Device(shared, f"device-{next(_numbers)}")
