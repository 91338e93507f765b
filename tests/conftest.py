"""Fixtures that all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.station import Station, station_in_thread

# How long an example takes tells of the machine's other work; tests have their own timeout.
settings.register_profile("tmon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tmon")

# No test asks a station that happens to run on this machine: these ports are nobody's.
os.environ |= {"TMON_PORT": "0", "TMON_DATASETTE_PORT": "0"}


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    """A station of the test's own."""
    with station_in_thread(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station for many small cases, each with a node of its own."""
    with station_in_thread(tmp_path_factory.mktemp("shared")) as running:
        yield running
