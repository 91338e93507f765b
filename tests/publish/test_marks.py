"""Notes, incidents and flagged periods as marks on charts, with and without scripts."""

import re
import time
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.publish.browsing import looks, scrolls_sideways, violations, visit
from tests.publish.published import HOSTILE, HOUR_MS, Serve, Site
from tmon.db.connect import open_database
from tmon.maintenance import names, notes

NOW_MS = int(time.time() * 1000)
SVG = "{http://www.w3.org/2000/svg}"


def build(folder: Path) -> Path:
    """Attic and garden, hourly for two days; notes of both, an open and a past incident."""
    path = folder / "tmon.db"
    with open_database(path, create=True) as db:
        for number, node in enumerate(("attic", "garden"), 1):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
            db.execute(
                "insert into sensors (id, node, name, unit) values (?, ?, 'old', '°C')",
                [number, node],
            )
            for hour in range(48):
                reading = [number, NOW_MS - hour * HOUR_MS, 20.0 + hour % 5]
                db.execute("insert into readings values (?, ?, ?)", reading)
        notes.add_note(db, "attic", "window replaced", NOW_MS - 5 * HOUR_MS, NOW_MS)
        notes.add_note(db, "attic/old", HOSTILE, NOW_MS - 8 * HOUR_MS, NOW_MS)
        notes.add_note(db, "garden/old", "watered", NOW_MS - 8 * HOUR_MS, NOW_MS)
        notes.add_note(db, "attic", "long ago", NOW_MS - 40 * HOUR_MS, NOW_MS)
        columns = "finding, severity, sensor, node, reason, from_ms, to_ms"
        sql = f"insert into incidents ({columns}) values ('T02', ?, ?, ?, ?, ?, ?)"
        db.execute(sql, ["critical", 1, None, "too warm", NOW_MS - 2 * HOUR_MS, None])
        ended_ms = NOW_MS - 30 * HOUR_MS
        db.execute(sql, ["warning", None, "attic", "silent", ended_ms - HOUR_MS, ended_ms])
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (1, ?, ?, 'by the stove', 0)",
            [NOW_MS - 12 * HOUR_MS, NOW_MS - 10 * HOUR_MS],
        )
        names.rename_sensor(db, "attic", "old", "temperature", NOW_MS)
    return path


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return serve(build(tmp_path_factory.mktemp("house")))


def told(page: str) -> list[str]:
    """The list below the charts, as people read it."""
    items = re.findall(r'<li id="\w+-\d+".*?</li>', page, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", one).split(": ", 1)[1] for one in items]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/node/attic?range=24h", ["too warm", "window replaced", "HOSTILE", "by the stove"]),
        (
            "/node/attic/temperature?embed",
            ["too warm", "window replaced", "HOSTILE", "by the stove"],
        ),
        ("/node/garden?range=24h", ["watered"]),
        ("/compare?s=garden/old&s=attic/temperature&range=24h", 5),
        ("/node/attic?range=7d", 6),
        ("/node/garden?from=2020-01-01&to=2020-01-02", []),
    ],
)
def test_a_list_tells_the_marks_of_the_shown_sensors_and_time(
    house: Site, path: str, expected: Any
) -> None:
    page = house.get(path).text
    found = told(page.replace("&lt;", "<").replace("&gt;", ">").replace(HOSTILE, "HOSTILE"))
    found = ["HOSTILE" if "gnp" in text else text for text in found]
    assert (len(found) if isinstance(expected, int) else found) == expected
    assert "<script>document" not in page


def test_each_mark_leads_to_its_line_which_leads_to_its_row(house: Site) -> None:
    page = house.get("/node/attic?range=7d").text
    marks = re.findall(r'<a href="#(\w+-\d+)" class="mark (\w+)"', page)
    lines = dict(re.findall(r'<li id="(\w+-\d+)" class="\w+"><a href="([^"]*)"', page))
    assert sorted(kind for _, kind in marks) == [
        *("critical", "flag", "note", "note", "note", "warning")
    ]
    assert {anchor for anchor, _ in marks} == lines.keys()
    for href in lines.values():
        assert house.get(href).status_code == 200


def test_the_data_and_the_picture_have_the_marks_too(house: Site) -> None:
    [chart] = house.get("/node/attic.json?range=24h").json()["charts"]
    assert [(one["kind"], one["about"], one["text"]) for one in chart["marks"]] == [
        ("critical", "temperature", "too warm"),
        ("note", "attic", "window replaced"),
        ("note", "temperature", HOSTILE),
    ]
    for path in ("/node/attic/temperature.svg", "/compare.svg?s=attic/temperature&s=garden/old"):
        root = ET.fromstring(house.get(path).text)
        titles = {title.text for title in root.iter(f"{SVG}title")}
        assert {"attic: window replaced", "by the stove"} <= titles
        assert any("window replaced" in (one.text or "") for one in root.iter(f"{SVG}tspan"))


def test_a_table_of_notes_links_to_their_nodes(house: Site) -> None:
    page = house.get("/tmon/notes").text
    assert 'href="/node/attic"' in page
    assert "<script>document" not in page


@pytest.mark.parametrize("by", ["click", "focus"])
def test_a_mark_tells_its_text(browser: Browser, house: Site, by: str) -> None:
    with visit(browser) as page:
        page.goto(f"{house.url}/node/attic?range=24h")
        page.wait_for_selector(".chart canvas")
        address = page.url
        mark = page.locator(".mark.note").first
        if by == "click":
            mark.locator(".target").click(force=True)
        else:
            mark.focus()
        expect(page.locator(".readout")).to_have_text("attic: window replaced")
        expect(page.locator(".told li.current")).to_contain_text("window replaced")
        assert page.url == address


def test_without_scripts_a_mark_leads_to_its_line(browser: Browser, house: Site) -> None:
    with visit(browser, java_script_enabled=False) as page:
        page.goto(f"{house.url}/node/attic?range=24h")
        page.locator(".mark.note .target").first.click(force=True)
        expect(page.locator(".told li:target")).to_contain_text("window replaced")


def test_marks_stand_where_their_time_is_on_the_drawn_chart(browser: Browser, house: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{house.url}/node/attic?range=24h")
        page.wait_for_selector(".chart canvas")
        over = page.locator(".u-over").bounding_box()
        stem = page.locator(".mark.note .stem").first.bounding_box()
        assert over
        assert stem
        share = (stem["x"] + stem["width"] / 2 - over["x"]) / over["width"]
        view = page.evaluate("fetch('/node/attic.json?range=24h').then((answer) => answer.json())")
        at_ms = NOW_MS - 5 * HOUR_MS
        expected = (at_ms - view["from_ms"]) / (view["to_ms"] - view["from_ms"])
        assert share == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("path", "width", "scheme"),
    looks(("/node/attic?range=7d", "/compare?s=garden/old&s=attic/temperature", "/tmon/notes")),
)
def test_pages_with_marks_keep_nobody_out(
    browser: Browser, house: Site, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(house.url + path)
        if page.query_selector(".charts"):
            page.wait_for_selector(".chart canvas")
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert page.title() != "hit"


REFRESH_MS, RELOAD_MS = 11_000, 71_000  # by then the page has asked for readings, or for marks too


@pytest.mark.parametrize("path", ["/node/attic", "/compare?s=attic/temperature&s=garden/old"])
@pytest.mark.parametrize("span", ["range=24h", "from=2020-01-01"])
def test_new_marks_appear_on_an_open_page(
    browser: Browser, serve: Serve, tmp_path: Path, path: str, span: str
) -> None:
    house = serve(build(tmp_path))
    with visit(browser, may_fail=True) as page:
        page.clock.install()
        page.goto(f"{house.url}{path}{'&' if '?' in path else '?'}{span}")
        expect(page.locator(".told li.note")).not_to_have_count(0)
        page.wait_for_selector(".chart canvas")
        page.locator(".told summary").click()
        was_open = page.locator(".told").get_attribute("open") is not None
        with open_database(house.path) as db:
            notes.add_note(db, "attic", HOSTILE + "smoke", NOW_MS - HOUR_MS, NOW_MS)
            db.execute(
                "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
                " values (1, ?, ?, 'in the sun', 0)",
                [NOW_MS - 4 * HOUR_MS, NOW_MS - 3 * HOUR_MS],
            )
            db.execute("update incidents set to_ms = ? where to_ms is null", [NOW_MS])
            db.execute(
                "insert into incidents (finding, severity, node, reason, from_ms)"
                " values ('T01', 'critical', 'attic', 'fire', ?)",
                [NOW_MS - HOUR_MS],
            )
        page.context.set_offline(True)
        page.clock.run_for(RELOAD_MS)  # nothing comes, and nothing is lost
        page.context.set_offline(False)
        page.clock.run_for(REFRESH_MS)
        expect(page.locator(".told li.critical", has_text="fire")).to_have_count(1)
        for text in ("smoke", "in the sun"):
            expect(page.locator(".told li", has_text=text)).to_have_count(1)
        expect(page.locator(".told .silent", has_text="now")).to_have_count(1)
        expect(page.locator(".mark.critical")).to_have_count(2)
        assert (page.locator(".told").get_attribute("open") is not None) == was_open
        if path.startswith("/node"):
            expect(page.locator(".periods tbody tr", has_text="fire")).to_have_count(1)
        expect(page.locator(".chart canvas")).to_have_count(1)
        assert page.title() != "hit"


def test_the_focus_stays_where_marks_are_replaced(
    browser: Browser, serve: Serve, tmp_path: Path
) -> None:
    house = serve(build(tmp_path))
    with visit(browser) as page:
        page.clock.install()
        page.goto(f"{house.url}/node/attic?range=24h")
        page.wait_for_selector(".chart canvas")
        line = page.locator(".told li", has_text="window replaced").get_by_role("link")
        line.focus()
        with open_database(house.path) as db:
            notes.add_note(db, "attic", "smoke", NOW_MS - HOUR_MS, NOW_MS)
        page.clock.run_for(RELOAD_MS)
        expect(page.locator(".told li", has_text="smoke")).to_have_count(1)
        expect(line).to_be_focused()


@pytest.mark.parametrize("width", [390, 600])
def test_the_suggested_frame_has_room_for_what_is_embedded(
    browser: Browser, house: Site, width: int
) -> None:
    sensors = "s=attic/temperature&s=garden/old"
    html = unescape(house.get(f"/compare?{sensors}&range=7d").text)
    [(src, height)] = re.findall(r'<iframe src="([^"]+)".*? height="(\d+)"', html)
    with visit(browser, width) as page:
        page.goto(src)
        page.wait_for_selector(".chart canvas")
        assert page.locator(".told li").count() == 7
        assert page.evaluate("document.body.scrollHeight") <= int(height)
