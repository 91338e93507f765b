"""Readings from a clock that was ahead: no page takes them for the newest."""

import re
import time
from collections.abc import Iterator
from html import unescape

import pytest

from tests.publish.published import MARCH_MS, Site, fill, served
from tmon.db.connect import open_database

YEAR_2093_MS = 3_900_000_000_000
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All sensors have readings of 2093, one calibrated and one flagged; ``cellar`` no others."""
    path = tmp_path_factory.mktemp("ahead") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        sensor = "insert into sensors (id, node, name, unit) values (5, 'cellar', 'temp', '°C')"
        db.execute(sensor)
        db.execute("update nodes set last_received_ms = created_ms where name = 'cellar'")
        for number in range(1, 6):
            for minute in range(60):
                db.execute(
                    "insert into readings (sensor, measured_ms, value) values (?, ?, 77.25)",
                    [number, YEAR_2093_MS + minute * MINUTE_MS],
                )
        db.execute("insert into calibrations values (2, 0, 1, 0.5, null, 0)")
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (3, ?, ?, 'odd', 0)",
            [YEAR_2093_MS, YEAR_2093_MS + 1],
        )
    with served(path) as running:
        yield running


def link(page: str, end: str) -> str:
    """The address of a page's first link that ends so."""
    [address] = re.findall(rf'<a href="([^"]+)"{end}', page)[:1]
    return unescape(address)


def test_the_latest_are_of_now_and_silence_is_told(site: Site) -> None:
    for view in ("latest", "latest_clean"):
        rows = {row["sensor"]: row for row in site.rows(f"/tmon/{view}")}
        assert {*rows} == {1, 2, 3, 4}
        assert all(abs(rows[n]["measured_ms"] / 1000 - time.time()) < 60 for n in (2, 3, 4))
        assert [rows[n]["silent"] for n in (1, 2, 3, 4)] == [1, 0, 0, 0]
        assert rows[1]["measured_ms"] < MARCH_MS + 21 * 86_400_000
    assert site.values("select value from latest_clean where sensor = 2") == [21.4379 + 0.5]


@pytest.mark.parametrize(
    "page",
    [
        "/",
        "/?values=raw",
        "/?sort=silent",
        "/node/basement",
        "/node/basement?range=all",
        "/node/attic",
        "/node/cellar",
        "/node/cellar?range=all",
        "/node/attic/temperature",
        "/node/attic/temperature?range=all",
        "/node/basement.json?range=all",
        "/node/attic/temperature.svg?range=all",
        "/sitemap.xml",
        "/datapackage.json",
        "/incidents.atom",
        "/tmon/latest_readings.json",
        "/tmon/day.json",
        "/tmon/day.json?node=attic",
        "/tmon/year_by_day.json",
        "/tmon/year_by_day.json?node=attic",
        "/tmon/silent_nodes.json",
        "/tmon/coldest_and_hottest.json",
        "/tmon/gaps.json",
        "/tmon/gaps.json?node=attic",
    ],
)
def test_no_page_shows_them_as_the_newest(site: Site, page: str) -> None:
    answer = site.get(page)
    assert answer.status_code == 200
    assert not re.search(r"(?<!\d)2093-\d\d", answer.text)
    if page != "/tmon/coldest_and_hottest.json":  # there: the highest that ever was
        assert not re.search(r"\b39000\d{8}\b", answer.text)


def test_a_node_that_sent_nothing_else_is_still_on_home(site: Site) -> None:
    assert "/node/cellar" in site.get("/").text


def test_silent_nodes_are_those_that_are(site: Site) -> None:
    rows = site.rows("/tmon/silent_nodes")
    assert [row["node"] for row in rows if row["silent_sensors"]] == ["attic"]


def test_the_newest_of_the_table_are_behind_them(site: Site) -> None:
    first = site.get("/tmon/readings").text
    assert "2093-" in first
    assert "Later" not in first
    page = site.get(link(first, ">Newest<")).text
    assert "2093-" not in page
    assert time.strftime("%Y-%m-%d", time.gmtime(time.time() - 120)) in page
    assert "2093-" in site.get(link(page, ' rel="prev nofollow">')).text


def test_without_them_the_first_page_is_the_newest(site: Site) -> None:
    until = str(int(time.time() * 1000))
    assert "Newest" not in site.get("/tmon/readings", measured_ms__lte=until).text


def test_they_are_shown_to_who_asks_for_that_time(site: Site) -> None:
    page = site.get("/node/attic/temperature.json", **{"from": "2093-08-01", "to": "2093-08-03"})
    assert "77.25" in page.text
