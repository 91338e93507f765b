"""``/year``: a year of a sensor in one picture, its typical day and its records."""

import re
import struct
import time
import xml.etree.ElementTree as ET
import zlib
from base64 import b64decode
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.publish.browsing import PHONE, looks, scrolls_sideways, violations, visit
from tests.publish.published import HOUR_MS, Serve, Site
from tmon.core.time import DAY_MS
from tmon.db.connect import open_database
from tmon.pages.heat import PALETTE, Scale
from tmon.pages.queries import query_threads

YEAR_MS = 1_704_067_200_000  # 2024, of 366 days
SVG = "{http://www.w3.org/2000/svg}"
PAGES = (
    "/year/attic/temperature",
    "/year/attic/temperature?unit=F",
    "/year/attic/temperature?year=2020",
)


def value(hour: int) -> float:
    """Warmer by day number, and at noon; the last day of February is the coldest."""
    day, of_day = divmod(hour, 24)
    return -20.0 if day == 59 else day / 10 + (5 if of_day == 12 else 0)


@pytest.fixture(scope="module")
def leap(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Every hour of 2024, but for the tenth of January; and a sensor of few readings."""
    path = tmp_path_factory.mktemp("year") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        for sensor, name in ((1, "temperature"), (2, "once"), (3, "never")):
            db.execute(
                "insert into sensors (id, node, name, unit) values (?, 'attic', ?, '°C')",
                [sensor, name],
            )
        rows = [(1, YEAR_MS + hour * HOUR_MS, value(hour)) for hour in range(366 * 24)]
        rows = [row for number, row in enumerate(rows) if number // 24 != 9]
        db.conn.executemany(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
            [*rows, (2, YEAR_MS, 21.0)],
        )
        db.conn.commit()
    return serve(path)


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def pixels(picture: ET.Element) -> list[bytes]:
    """The rows of the heat map, as numbers of shades."""
    [image, *_] = [one for one in picture.iter(f"{SVG}image") if one.get("height") == "24"]
    data = b64decode((image.get("href") or "").partition(",")[2])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    [length] = struct.unpack(">I", data[start - 4 : start])
    lines = zlib.decompress(data[start + 4 : start + 4 + length])
    assert (width, height, len(lines)) == (366, 24, 367 * 24)
    return [lines[row * 367 + 1 : (row + 1) * 367] for row in range(24)]


def test_each_hour_has_the_colour_of_its_mean(leap: Site) -> None:
    answer = leap.get("/year/attic/temperature.svg?year=2024")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    rows = pixels(ET.fromstring(answer.text))
    assert {row[9] for row in rows} == {0}  # no readings: transparent
    assert rows[0][59] == rows[12][59] == 1  # the coldest day
    assert rows[12][100] > rows[0][100] > rows[0][50]
    assert rows[12][365] == 255


def test_a_colour_is_lighter_the_greater_the_value() -> None:
    light = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in PALETTE[1:]]
    assert light == sorted(light)
    assert Scale(0, 10).shade(-99) == 1
    assert Scale(0, 10).shade(99) == 255
    assert Scale(5, 5).colour(5) == Scale(0, 2).colour(1)


def test_each_day_of_the_calendar_leads_to_its_chart(leap: Site) -> None:
    html = leap.get("/year/attic/temperature?year=2024&values=raw").text
    links = re.findall(r'<a href="(/node/[^"]*)"><title>([^<]*)</title>', html)
    assert len(links) == 2 * 365  # heat map and calendar, without the tenth of January
    href, label = next(one for one in links if "29 Feb" in one[1])
    assert label.startswith("29 Feb 2024: \N{MINUS SIGN}20.0\N{NO-BREAK SPACE}°C, -20.0 to -20.0")
    shown = leap.get(unescape(href).replace("?", ".json?", 1)).json()
    assert shown["from_ms"] == YEAR_MS + 59 * DAY_MS
    assert shown["to_ms"] == YEAR_MS + 60 * DAY_MS
    assert shown["values"] == "raw"


def test_records_are_those_that_sql_gives(leap: Site) -> None:
    text = text_of(leap.get("/year/attic/temperature?year=2024&below=-10&above=30").text)
    assert "Coldest reading \N{MINUS SIGN}20.0 °C 2024-02-29" in text
    assert "Warmest reading 41.5 °C 2024-12-31" in text
    assert "Longest below \N{MINUS SIGN}10.0 °C 1 d 2024-02-29 00:00" in text
    hours = leap.values(
        "select count(*) from readings where sensor = 1 and value > 30"
        f" and measured_ms >= {YEAR_MS + 301 * DAY_MS}"
    )
    assert f"Longest above 30.0 °C {hours[0] // 24} d" in text


def test_the_typical_day_is_warmest_at_noon(leap: Site) -> None:
    html = leap.get("/year/attic/temperature?year=2024").text
    figure = html[html.index("Median of each hour") :]
    [line] = re.findall(r'class="line c0" d="M([^"]*)"', figure)
    heights = [int(point.split(",")[1]) for point in line.split("L")]
    assert len(heights) == 24
    assert heights.index(min(heights)) == 12


def test_the_unit_is_the_visitors(leap: Site) -> None:
    assert (
        "\N{MINUS SIGN}4.0\N{NO-BREAK SPACE}°F" in leap.get("/year/attic/temperature?unit=F").text
    )


@pytest.mark.parametrize(
    ("page", "status", "told"),
    [
        ("/year/attic/temperature?year=2020", 200, "No readings in 2020."),
        ("/year/attic/never", 200, "No readings in"),
        ("/year/attic/once", 200, "A typical day needs five days of readings."),
        ("/year/attic/temperature?year=9999", 200, "No readings in 9999."),
        ("/year/attic/temperature?year=24", 400, "year must be a year of four digits"),
        ("/year/attic/temperature?year=0000", 400, "year must be a year of four digits"),
        ("/year/attic/temperature?above=warm", 400, "above must be a number, such as 21.5"),
        ("/year/attic/temperature?below=%3Cscript%3E", 400, "below must be a number"),
        ("/year/attic/nothing", 404, "there is no sensor attic/nothing"),
        ("/year/%3Cscript%3E/t", 404, "there is no sensor &lt;script&gt;/t"),
        ("/year/attic/nothing.svg", 404, "there is no sensor attic/nothing"),
        ("/year/attic/temperature.svg?year=2020", 200, "no readings"),
        ("/year/attic/once.svg", 200, "2024"),
    ],
)
def test_what_is_missing_or_wrong_is_told(leap: Site, page: str, status: int, told: str) -> None:
    answer = leap.get(page)
    assert answer.status_code == status
    assert told in answer.text
    assert "Traceback" not in answer.text


def test_a_year_that_takes_too_long_is_told(leap: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_threads(leap.datasette), "limit_ms", 0.001)
    answer = leap.get("/year/attic/temperature")
    assert answer.status_code == 400
    assert "more readings than can be read in time" in answer.text


def test_a_sensors_page_leads_to_its_year_and_a_year_to_its_neighbours(leap: Site) -> None:
    assert 'href="/year/attic/temperature"' in leap.get("/node/attic").text
    assert 'href="/year/attic/temperature?year=2024"' in leap.get(PAGES[2]).text


def test_the_page_is_light(leap: Site) -> None:
    """Not a benchmark: 8,784 squares would be half a megabyte."""
    began_s = time.process_time()  # the server's threads are in this process
    answers = [leap.get("/year/attic/temperature?year=2024") for _ in range(5)]
    assert time.process_time() - began_s < 5
    assert {len(answer.content) < 200_000 for answer in answers} == {True}
    assert "<script src" not in answers[0].text


@pytest.mark.parametrize(("path", "width", "scheme"), looks(PAGES))
def test_a_page_keeps_nobody_out(
    browser: Browser, leap: Site, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(leap.url + path)
        assert not scrolls_sideways(page)
        assert violations(page) == []


def test_a_click_on_a_day_opens_it_without_scripts(browser: Browser, leap: Site) -> None:
    with visit(browser, PHONE, java_script_enabled=False) as page:
        page.goto(f"{leap.url}/year/attic/temperature?year=2024")
        page.locator(".calendar a").nth(40).click()
        assert "/node/attic/temperature?from=2024-02-11&to=2024-02-12" in page.url


@pytest.mark.parametrize("newest", [60, 330])
def test_on_a_phone_the_newest_days_are_in_sight(
    browser: Browser, serve: Serve, tmp_path: Path, newest: int
) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        db.execute("insert into sensors (id, node, name, unit) values (1, 'attic', 't', '°C')")
        for day in range(newest):
            db.execute("insert into readings values (1, ?, 20)", [YEAR_MS + day * DAY_MS])
    with visit(browser, PHONE) as page:
        page.goto(serve(path).url + "/year/attic/t")
        for drawing in (".heat", ".calendar"):
            box = page.locator(f"{drawing} a rect").last.bounding_box()
            assert box
            assert 0 <= box["x"] <= PHONE - box["width"]
        assert page.locator("nav[aria-label=Years]").count() == 0  # of one year there are no others
