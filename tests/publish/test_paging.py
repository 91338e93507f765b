"""Older readings are as near as the newest, one after the other, none twice."""

import re
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest

from tests.publish.published import Serve, Site, two_sensors
from tmon.db.connect import open_database

READINGS = "select measured_ms || ' ' || sensor from readings order by measured_ms desc, sensor"


def test_readings_open_newest_first(site: Site) -> None:
    rows = site.rows("/tmon/readings")
    assert [f"{row['measured_ms']} {row['sensor']}" for row in rows] == site.values(READINGS)[:50]


def test_next_leads_through_all_of_them(site: Site) -> None:
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        answer = site.get("/tmon/readings.json", _size="100", _shape="objects", **after).json()
        seen += [f"{row['measured_ms']} {row['sensor']}" for row in answer["rows"]]
        if not answer["next"]:
            break
        after = {"_next": answer["next"]}
    assert seen == site.values(READINGS)


def test_the_page_after_a_reading_is_found_in_the_index(site: Site) -> None:
    answer = site.get(
        "/tmon/readings.json", _next="1709251200000,1,1709251200000", _extra="query"
    ).json()
    query = answer["query"]
    plan = site.get(
        "/tmon/-/query.json", **query["params"], sql="explain query plan " + query["sql"]
    )
    assert "SEARCH readings USING INDEX readings_measured_ms" in plan.text


def test_an_earlier_page_counts_nothing(site: Site) -> None:
    page = site.get("/tmon/readings", _next="1709251200000,1,1709251200000")
    assert page.status_code == 200
    assert "_nocount=1" in page.text  # in the link to the page after it


def test_another_order_is_left_as_it_is(site: Site) -> None:
    answer = site.get("/tmon/readings.json", _sort="value", _size="5", _shape="objects").json()
    after = site.get("/tmon/readings.json", _sort="value", _size="5", _next=answer["next"]).json()
    values = [row["value"] for row in answer["rows"] + after["rows"]]
    assert values == site.values("select value from readings order by value")[:10]


def test_readings_of_the_same_instant_are_on_one_page_or_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    site = serve(two_sensors(tmp_path))
    first = site.get("/tmon/readings.json", _size="1", _shape="objects").json()
    second = site.get("/tmon/readings.json", _size="1", _shape="objects", _next=first["next"])
    rows = first["rows"] + second.json()["rows"]
    assert [(row["measured_ms"], row["sensor"]) for row in rows] == [(12_000, 1), (12_000, 2)]


@pytest.mark.parametrize("page", ["readings", "hourly", "nodes", "rejected", "latest", "daily"])
def test_a_page_that_never_was_is_told_in_a_sentence(site: Site, page: str) -> None:
    answer = site.get(f"/tmon/{page}.json", _next="x,y,z,z")
    assert answer.status_code == 400
    assert "There is no such page" in answer.json()["error"]


Page = tuple[list[str], dict[str, str]]  # its readings, and its links by their rel or text


def shown(site: Site, address: str) -> Page:
    """The readings of a page, as ``sensor,measured_ms``, and where it leads to."""
    text = site.get(address).text
    links = re.findall(r'<a href="([^"]+)"[^>]*>(← Later|Newest|Earlier →)</a>', text)
    addresses = {name.strip("← →"): unescape(href) for href, name in links}
    return re.findall(r'<tr data-row="([^"]+)"', text), {
        name: href.removeprefix(site.url) for name, href in addresses.items()
    }


def seven_sensors(folder: Path) -> Path:
    """Seven sensors, read at the same 20 instants; pages of five end amid them."""
    path = folder / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        for sensor in range(1, 8):
            db.execute(
                "insert into sensors (id, node, name) values (?, 'attic', ?)",
                (sensor, f"t{sensor}"),
            )
            for instant in range(20):
                db.execute(
                    "insert into readings (sensor, measured_ms, value) values (?, ?, 0)",
                    (sensor, instant * 1000),
                )
    return path


@pytest.fixture(scope="module")
def tied(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return serve(seven_sensors(tmp_path_factory.mktemp("tied")))


@pytest.mark.parametrize(
    ("query", "which"),
    [
        ("", "true"),
        ("&_size=7", "true"),
        ("&_size=max", "true"),
        ("&sensor=3&_size=1", "sensor = 3"),
        ("&sensor__exact=3&measured_ms__lt=15000&_size=1", "sensor = 3 and measured_ms < 15000"),
        ("&measured_ms__lte=15000&measured_ms__gte=2000", "measured_ms between 2000 and 15000"),
    ],
)
def test_ten_pages_earlier_and_back_skip_and_repeat_nothing(
    tied: Site, query: str, which: str
) -> None:
    expected = tied.values(
        f"select sensor || ',' || measured_ms from readings where {which}"
        " order by measured_ms desc, sensor"
    )
    address = f"/tmon/readings?_size=5{query}".replace("_size=5&_size", "_size")
    there = [shown(tied, address)]
    while len(there) <= 10 and "Earlier" in there[-1][1]:
        there.append(shown(tied, there[-1][1]["Earlier"]))
    rows = [row for page, _ in there for row in page]
    assert rows == expected[: len(rows)]
    back = [there[-1]]
    while "Later" in back[-1][1]:
        back.append(shown(tied, back[-1][1]["Later"]))
    assert [page for page, _ in back] == [page for page, _ in there[::-1]]
    for later, earlier in pairwise(there):
        assert set(later[0]).isdisjoint(earlier[0])


def test_the_newest_page_leads_only_to_earlier_ones(tied: Site) -> None:
    _, links = shown(tied, "/tmon/readings?_size=5")
    assert set(links) == {"Earlier"}


def test_every_page_leads_to_the_newest(tied: Site) -> None:
    newest, links = shown(tied, "/tmon/readings?_size=5")
    third = shown(tied, shown(tied, links["Earlier"])[1]["Earlier"])
    assert shown(tied, third[1]["Newest"])[0] == newest


def test_a_page_with_another_filter_leads_to_the_newest_alone(tied: Site) -> None:
    _, links = shown(tied, "/tmon/readings?_size=5&value__gte=0")
    _, links = shown(tied, links["Earlier"])
    assert set(links) == {"Newest", "Earlier"}


def test_readings_that_arrived_since_are_on_the_later_pages(serve: Serve, tmp_path: Path) -> None:
    site = serve(seven_sensors(tmp_path))
    first, links = shown(site, "/tmon/readings?_size=5")
    with open_database(site.path) as db:
        for instant in range(20_000, 27_000, 1000):
            db.execute("insert into readings values (1, ?, 0)", (instant,))
    _, links = shown(site, links["Earlier"])
    assert shown(site, links["Later"])[0] == first
    later = shown(site, shown(site, links["Later"])[1]["Later"])
    assert later[0] == ["1,24000", "1,23000", "1,22000", "1,21000", "1,20000"]


@pytest.mark.parametrize(
    ("narrowed", "index"),
    [
        ("", "USING COVERING INDEX readings_measured_ms (measured_ms>?)"),
        ("and sensor = 1", "USING PRIMARY KEY (sensor=? AND measured_ms>?)"),
    ],
)
def test_the_later_page_is_found_in_the_index(site: Site, narrowed: str, index: str) -> None:
    plan = site.ask(
        "explain query plan select measured_ms, sensor from readings where measured_ms >= 0"
        f" and (measured_ms > 0 or sensor <= 1) {narrowed}"
        " order by measured_ms, sensor desc limit 1 offset 50"
    ).json()["rows"]
    assert [row["detail"] for row in plan] == [f"SEARCH readings {index}"]


def test_another_order_keeps_datasettes_own_link(site: Site) -> None:
    text = site.get("/tmon/readings", _sort="value").text
    assert "Next page" in text
    assert "Earlier →" not in text


@pytest.mark.parametrize("size", ["max", "5000"])
def test_a_page_for_people_has_no_more_rows_than_they_read(
    serve: Serve, tmp_path: Path, size: str
) -> None:
    site = serve(two_sensors(tmp_path))
    page = site.get("/tmon/readings", _size=size).text
    assert page.count('<td class="col-value') == 1000
    assert "_next=" in page
    assert len(site.rows("/tmon/readings", _size=size)) > 1000
