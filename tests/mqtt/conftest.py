"""A broker for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mqtt.broker import Broker, free_port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    running = Broker(folder, free_port())
    yield running
    running.end()
