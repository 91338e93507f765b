"""The station that these tests check."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watch.watched import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    station = Watched(tmp_path)
    yield station
    station.db.close()
