"""Times without a zone: the node's, where the owner has set it; else the time of arrival."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.station import Station, holds_within_a_second, station_in_thread, tmon
from tests.wires.devices import Device
from tmon.db import nodes
from tmon.db.connect import open_database

NOW = datetime(2026, 10, 25, 1, 40, tzinfo=UTC)  # 02:40 in Berlin, for the second time that day


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture(scope="module")
def in_autumn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("autumn")
    with station_in_thread(folder, wall_clock=lambda: ms(NOW.isoformat())) as station:
        yield station


def device_in(station: Station, node: str, zone: str | None) -> Device:
    device = Device(station, node)
    if zone is not None:
        with open_database(station.path) as db:
            nodes.describe(db, node, {"timezone": zone})
    return device


# Each: the zone, what is sent, when it is stored, and what the answer says.
TIMES = {
    "none set": (None, "2026-03-01T12:00:00", NOW.isoformat(), "tmon node set"),
    "what isn't a zone any more": ("", "2026-03-01 12:00", NOW.isoformat(), "tmon node set"),
    "winter": ("Europe/Berlin", "2026-03-01T12:00:00", "2026-03-01T11:00:00Z", "1 stored\n"),
    "summer": ("Europe/Berlin", "2026-7-1 12:00:00", "2026-07-01T10:00:00Z", "1 stored\n"),
    "an offset": ("-07:00", "2026-03-01 12:00:00", "2026-03-01T19:00:00Z", "1 stored\n"),
    "its own": ("Europe/Berlin", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", "1 stored\n"),
    "unix": ("Europe/Berlin", "1772366400", "2026-03-01T12:00:00Z", "1 stored\n"),
    "skipped": ("Europe/Berlin", "2026-03-29T02:30:00", NOW.isoformat(), "skipped"),
    "first year": ("Europe/Berlin", "0001-01-01T00:00:00", NOW.isoformat(), "impossible"),
    "twice, second": ("Europe/Berlin", "2026-10-25T02:39:00", "2026-10-25T01:39:00Z", "twice"),
    "twice, first": ("Europe/Berlin", "2026-10-25T02:55:00", "2026-10-25T00:55:00Z", "twice"),
    "twice, ahead": ("Europe/Berlin", "2026-10-25T02:45:00", "2026-10-25T01:45:00Z", "twice"),
}


@pytest.mark.parametrize("case", TIMES)
def test_a_time_without_a_zone(in_autumn: Station, case: str) -> None:
    zone, sent, stored, told = TIMES[case]
    device = device_in(in_autumn, case.replace(" ", "-").replace(",", "").replace("'", ""), zone)
    answer = device.get(f"/k/KEY?temperature=21.5&time={sent}")
    assert answer.status_code == 200
    assert told in answer.text
    assert device.rows() == {"temperature": [(ms(stored), 21.5, "°C")]}


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("/k/KEY/data/report/?tempf=50&dateutc=2026-03-01+12:00:00", "2026-03-01T12:00:00Z"),
        ("/k/KEY?temperature=10&dateutc=2026-03-01+12:00:00", "2026-03-01T12:00:00Z"),
        ("/update?api_key=KEY&field1=1&created_at=2026-03-01+12:00:00", "2026-03-01T12:00:00Z"),
        (
            "/update?api_key=KEY&field1=1&created_at=2026-03-01+12:00:00&timezone=Asia/Tokyo",
            "2026-03-01T03:00:00Z",
        ),
        (
            "/update?api_key=KEY&field1=1&created_at=2026-03-01+12:00:00&timezone=Nowhere",
            "2026-03-01T12:00:00Z",
        ),
        ("/input/post?apikey=KEY&csv=1&time=2026-03-01+12:00:00", "2026-03-01T11:00:00Z"),
    ],
)
def test_a_wire_may_say_the_zone(shared: Station, path: str, stored: str) -> None:
    device = device_in(shared, f"zoned-{hash(path) % 10**9}", "Europe/Berlin")
    assert device.get(path).status_code == 200
    assert [row[0] for [row] in device.rows().values()] == [ms(stored)]


def test_the_owner_sets_the_zone_while_it_runs(station: Station) -> None:
    device, folder = Device(station, "plug"), station.path.parent
    path = "/k/KEY?temperature=1&time=2026-03-01T12:00:00"
    assert "tmon node set" in device.get(path).text
    assert tmon(folder, "node", "set", "plug", "--timezone", "Europe/Berlin").returncode == 0
    assert '"Europe/Berlin"' in tmon(folder, "node", "list", "--json").stdout
    holds_within_a_second(lambda: "tmon node set" not in device.get(path).text)
    assert ms("2026-03-01T11:00:00Z") in [row[0] for row in device.rows()["temperature"]]


def test_a_zone_that_is_none_is_refused(tmp_path: Path) -> None:
    assert tmon(tmp_path, "token", "get", "plug").returncode == 0
    ran = tmon(tmp_path, "node", "set", "plug", "--timezone", "Berlin")
    assert ran.returncode == 1
    assert "'Berlin'" in ran.stderr
    assert "Europe/Berlin" in ran.stderr
