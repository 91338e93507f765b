"""``/compare``: sensors of several nodes over each other, at an address to share."""

import re
import xml.etree.ElementTree as ET
from html import unescape
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.publish.browsing import PHONE, looks, scrolls_sideways, violations, visit
from tests.publish.published import HOSTILE, HOUR_MS, MARCH_MS, Serve, Site
from tmon.core.time import DAY_MS
from tmon.db.connect import open_database
from tmon.maintenance import names
from tmon.pages.compare import MAX_COMPARED, MAX_OFFERED

TWO = "s=attic/temperature&s=garden/temperature"
MARCH = "from=2024-03-15&to=2024-03-20"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Attic and garden with two sensors each, every hour of March 2024; and 130 idle sensors."""
    path = tmp_path_factory.mktemp("house") / "tmon.db"
    with open_database(path, create=True) as db:
        for node in ("attic", "garden", "shed"):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
        rows = [(node, name) for node in ("attic", "garden") for name in ("temperature", "w")]
        rows += [("shed", f"t{number}") for number in range(130)]
        for number, (node, name) in enumerate(rows, 1):
            unit = "W" if name == "w" else "°C"
            db.execute(
                "insert into sensors (id, node, name, unit) values (?, ?, ?, ?)",
                [number, node, name, unit],
            )
        db.conn.executemany(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
            [
                (sensor, MARCH_MS + hour * HOUR_MS, float(100 * sensor + hour // 24))
                for sensor in (1, 2, 3, 4)
                for hour in range(31 * 24)
            ],
        )
        db.conn.commit()
        names.rename_sensor(db, "garden", "w", "power", 1)
    return serve(path)


def data(site: Site, query: str) -> Any:
    answer = site.get(f"/compare.json?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_sensors_of_one_unit_share_a_chart_across_nodes(house: Site) -> None:
    found = data(house, f"{TWO}&s=attic/w&{MARCH}")
    drawn = [(chart["unit"], [one["name"] for one in chart["lines"]]) for chart in found["charts"]]
    assert drawn == [("°C", ["attic temperature", "garden temperature"]), ("W", ["attic w"])]
    expected = house.values(
        "select value from readings where sensor = 3"
        f" and measured_ms >= {MARCH_MS + 14 * DAY_MS} and measured_ms < {MARCH_MS + 19 * DAY_MS}"
    )
    points = found["charts"][0]["lines"][1]["points"]
    assert [value for _, value, *_ in points] == expected


@pytest.mark.parametrize(("before", "days"), [("day", 1), ("week", 7)])
def test_the_same_before_is_moved_onto_the_span(house: Site, before: str, days: int) -> None:
    found = data(house, f"{TWO}&{MARCH}&before={before}")
    assert [one["before"] for one in found["charts"][0]["lines"]] == [
        *(None, None),
        *(f"a {before} before",) * 2,
    ]
    now, _, then, _ = found["charts"][0]["lines"]
    assert [at for at, *_ in then["points"]] == [at for at, *_ in now["points"]]
    assert all(
        earlier == later - days
        for (_, earlier, *_), (_, later, *_) in zip(then["points"], now["points"], strict=True)
    )


def test_every_chart_can_show_the_same_before(house: Site) -> None:
    for page in ("/node/attic", "/node/attic/temperature"):
        found = house.get(f"{page}.json?{MARCH}&before=week").json()
        assert found["charts"][0]["lines"][-1]["before"] == "a week before"
        html = house.get(f"{page}?{MARCH}&before=week").text
        assert "a week before" in html
        assert 'class="line c0 before"' in html


def test_both_spans_together_have_as_many_points_as_one_may(house: Site) -> None:
    found = data(house, f"{TWO}&from=2024-03-08&to=2024-04-01&before=week")
    assert sum(len(one["points"]) for one in found["charts"][0]["lines"]) <= 2000


def test_a_former_name_and_a_name_twice_are_one_line(house: Site) -> None:
    found = data(house, "s=garden/w&s=garden/power&s=garden/power")
    assert [one["name"] for one in found["charts"][0]["lines"]] == ["garden power"]


def test_the_title_is_text(house: Site) -> None:
    answer = house.get("/compare", s="attic/temperature", title=HOSTILE)
    assert "<script>document" not in answer.text
    assert unescape(answer.text).count(HOSTILE) >= 2  # heading and field
    picture = house.get("/compare.svg", s="attic/temperature", title=HOSTILE)
    assert HOSTILE in {text.text for text in ET.fromstring(picture.text).iter(f"{SVG}tspan")}


def test_the_picture_has_a_panel_for_each_unit(house: Site) -> None:
    answer = house.get(f"/compare.svg?{TWO}&s=attic/w&{MARCH}&before=week")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    root = ET.fromstring(answer.text)
    assert len(root.findall(f"{SVG}svg")) == 2
    classes = [path.get("class") for path in root.iter(f"{SVG}path")]
    assert [one for one in classes if one and one.startswith("line")] == [
        *("line c0 before", "line c1 before", "line c0", "line c1"),
        *("line c0 before", "line c0"),
    ]
    keys = [one.text for one in root.iter(f"{SVG}tspan") if (one.get("class") or "")[:3] == "key"]
    assert keys[0] == "\N{EM DASH} attic temperature"
    assert keys[2] == "\N{EM DASH} attic temperature, a week before"


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("s=attic/nothing", 404, "s: there is no sensor attic/nothing"),
        ("s=%3Cscript%3E", 404, "s: there is no sensor &lt;script&gt;"),
        ("s=/", 404, "s: there is no sensor /."),
        ("&".join(f"s=shed/t{n}" for n in range(MAX_COMPARED + 1)), 400, "s: at most 16 sensors"),
        (f"{TWO}&title={'t' * 201}", 400, "title must be no longer than 200 characters"),
        (f"{TWO}&before=month", 400, "before must be day, week, year"),
        (f"{TWO}&range=9d", 400, "range must be 24h"),
        (f"{TWO}&values=x", 400, "values must be clean or raw"),
    ],
)
def test_bad_input_is_told_by_its_field_with_a_way_on(
    house: Site, query: str, status: int, told: str
) -> None:
    answer = house.get(f"/compare?{query}")
    assert answer.status_code == status
    assert told in answer.text
    assert "Traceback" not in answer.text
    if "values" not in query:
        assert re.search(r'<ul class="ways">\s*<li><a href="/', answer.text)
        as_json = house.get(f"/compare.json?{query}")
        assert (as_json.status_code, as_json.json()["status"]) == (status, status)


def test_a_picture_needs_a_sensor(house: Site) -> None:
    assert "s: name at least one sensor" in house.get("/compare.svg").text
    assert house.get("/compare.json").status_code == 400


def test_only_the_charts_alone_may_be_framed(house: Site) -> None:
    page, framed = house.get(f"/compare?{TWO}"), house.get(f"/compare?{TWO}&embed")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors *" in framed.headers["content-security-policy"]
    assert "masthead" not in framed.text
    [src] = re.findall(r'iframe src="([^"]+)"', unescape(page.text))
    assert src.startswith(f"{house.url}/compare?{TWO}&")


def test_more_sensors_than_can_be_ticked_are_typed(house: Site) -> None:
    html = house.get("/compare").text
    assert html.count('type="checkbox"') == MAX_OFFERED
    assert html.count("<option") == 134
    chosen = house.get("/compare?s=shed/t99").text
    assert 'value="shed/t99" checked' in chosen


def test_a_busy_machine_shows_hours(house: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from tmon.pages.queries import query_threads  # noqa: PLC0415

    monkeypatch.setattr(query_threads(house.datasette), "limit_ms", 0.001)
    assert "hourly" in house.get(f"/compare.json?{TWO}&{MARCH}").text


PAGES = ("/compare", f"/compare?{TWO}&s=attic/w&{MARCH}&before=week", f"/compare?{TWO}&embed")


@pytest.mark.parametrize(("path", "width", "scheme"), looks(PAGES))
def test_a_page_keeps_nobody_out(
    browser: Browser, house: Site, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(house.url + path)
        if page.query_selector(".chart"):
            page.wait_for_selector(".chart canvas")
        for one in page.locator("details").all():
            one.evaluate("one => one.open = true")
        assert not scrolls_sideways(page)
        assert violations(page) == []


def test_ticked_sensors_are_compared_without_scripts(browser: Browser, house: Site) -> None:
    with visit(browser, PHONE, java_script_enabled=False) as page:
        page.goto(f"{house.url}/node/attic?{MARCH}")
        for one in ("temperature", "w"):
            page.get_by_label(f"Compare {one}").check()
        page.get_by_role("button", name="Compare").click()
        assert "s=attic" in page.url
        assert "from=2024-03-15" in page.url
        assert page.locator(".drawing .line").count() == 2
        page.locator("summary", has_text="Choose sensors").click()
        page.locator("fieldset", has_text="garden").get_by_label("temperature").check()
        page.get_by_role("textbox", name="Title").fill("Over each other")
        page.get_by_role("button", name="Show").click()
        assert page.locator("h1").inner_text() == "Over each other"
        assert page.locator(".drawing .line").count() == 3
        assert "from=2024-03-15" in page.url


def test_the_cursor_tells_both_spans(browser: Browser, house: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{house.url}/compare?{TWO}&{MARCH}&before=week&utc=1")
        page.wait_for_selector(".chart canvas")
        box = page.locator(".u-over").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
        expect(page.locator(".readout")).to_have_text(
            re.compile(
                r"attic temperature 116.0.°C, garden temperature 316.0.°C, "
                r"attic temperature, a week before 109.0.°C, "
                r"garden temperature, a week before 309.0.°C"
            )
        )


def test_a_line_is_switched_off_by_its_name_and_stays_off(browser: Browser, house: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{house.url}/compare?{TWO}&{MARCH}&utc=1")
        page.wait_for_selector(".chart canvas")
        garden = page.get_by_role("button", name="garden temperature")
        garden.press("Enter")
        expect(garden).to_have_attribute("aria-pressed", "false")
        page.get_by_role("link", name="Wider").click()
        page.wait_for_url("**from=2024-03-12*")
        page.wait_for_selector(".chart canvas")
        expect(garden).to_have_attribute("aria-pressed", "false")
        assert violations(page) == []
        garden.click()
        expect(garden).to_have_attribute("aria-pressed", "true")


def test_dates_are_typed_in_the_zone_that_is_shown(browser: Browser, house: Site) -> None:
    with visit(browser, timezone_id="Europe/Berlin") as page:
        page.goto(f"{house.url}/compare?{TWO}&{MARCH}")
        page.wait_for_selector(".chart canvas")
        page.locator("summary", has_text="Dates").click()
        expect(page.locator(".dates [name=from]")).to_have_value("2024-03-15T01:00")
        page.locator(".dates [name=from]").fill("2024-03-16T00:00")
        page.locator(".dates").get_by_role("button").click()
        page.wait_for_url("**from=2024-03-15T23*")
        assert "s=attic" in page.url
    with visit(browser, java_script_enabled=False) as page:
        page.goto(f"{house.url}/compare?{TWO}&range=all")
        page.locator("summary", has_text="Dates").click()
        page.locator(".dates [name=from]").fill("2024-03-16T00:00")
        page.locator(".dates").get_by_role("button").click()
        expect(page.locator("h2").first).to_contain_text("2024-03-16 00:00 to 2024-03-31 23:00")
