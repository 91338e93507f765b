"""The home page in a real browser: at all widths, filtered at once, and fresh without a reload."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.publish.browsing import (
    DESK,
    PHONE,
    looks,
    scrolls_sideways,
    violations,
    visit,
)
from tests.publish.published import HOSTILE, HOUR_MS, Serve, Site
from tmon.db.connect import open_database

FRESH_MS, ANEW_MS = 16_000, 330_000  # by then the page has asked for what is new, or for all


def make(path: Path, nodes: dict[str, list[str]]) -> Path:
    """A station with a reading of 20 °C from each sensor, two hours ago and now."""
    now_ms = int(time.time() * 1000)
    with open_database(path, create=True) as db:
        for node, sensors in nodes.items():
            db.execute(
                "insert into nodes (name, uid, description, created_ms) values (?, ?, ?, 0)",
                (node, node, HOSTILE),
            )
            for name in sensors:
                db.execute(
                    "insert into sensors (node, name, unit) values (?, ?, '°C')", (node, name)
                )
        for ago_ms in (2 * HOUR_MS, 1000):
            db.execute("insert into readings select id, ?, 20 from sensors", (now_ms - ago_ms,))
    return path


def measure(site: Site, value: float, *, sensor: int = 1, ago_ms: int = 0) -> None:
    with open_database(site.path) as db:
        now_ms = int(time.time() * 1000)
        db.execute("insert into readings values (?, ?, ?)", (sensor, now_ms - ago_ms, value))


@pytest.fixture(scope="module")
def stations(
    serve: Serve, site: Site, empty: Site, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Site]:
    folder = tmp_path_factory.mktemp("stations")
    long = {"n" * 64: ["s" * 64, "W" * 64]}
    dozen = {f"node-{number}": ["a", "b", "c"] for number in range(4)}
    thousand = {f"node-{number}": [*"abcdefghij"] for number in range(100)}
    made = {"one": {"basement": ["temperature"]}, "long": long, "dozen": dozen, "many": thousand}
    served = {name: serve(make(folder / f"{name}.db", nodes)) for name, nodes in made.items()}
    return {"filled": site, "empty": empty, **served}


@pytest.mark.parametrize(
    ("name", "width", "scheme"), looks(["filled", "empty", "one", "long", "dozen"])
)
def test_it_keeps_nobody_out(
    browser: Browser, stations: dict[str, Site], name: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(stations[name].url)
        expect(page.locator("h1")).to_have_count(1)
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert page.title() != "hit"


def test_a_thousand_sensors_fit_a_phone(browser: Browser, stations: dict[str, Site]) -> None:
    with visit(browser, PHONE) as page:
        page.goto(stations["many"].url)
        assert page.locator("li[data-sensor]").count() == 160
        assert page.locator("*").count() <= 3000
        page.locator(".more a").scroll_into_view_if_needed()
        expect(page.locator("li[data-sensor]")).to_have_count(320)
        page.locator(".more a").scroll_into_view_if_needed()
        expect(page.locator("li[data-sensor]")).to_have_count(480)
        assert not scrolls_sideways(page)


@pytest.mark.soak
def test_a_thousand_sensors_keep_nobody_out(browser: Browser, stations: dict[str, Site]) -> None:
    with visit(browser, PHONE) as page:
        page.goto(stations["many"].url)
        assert violations(page) == []


MOVED = """new Promise((told) => new PerformanceObserver((list) => told(list.getEntries().length))
    .observe({ type: "layout-shift", buffered: true }) || setTimeout(() => told(0), 500))"""


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_moves_when_the_scripts_run(
    browser: Browser, stations: dict[str, Site], width: int
) -> None:
    with visit(browser, width) as page:
        page.goto(stations["dozen"].url)
        assert page.evaluate(MOVED) == 0


def lines(page: Page) -> list[str]:
    return page.locator("li[data-sensor]:visible .name").all_inner_texts()


def test_the_filter_works_at_once_and_is_in_the_address(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        page.goto(site.url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_role("searchbox").fill("BASE hum")
        assert lines(page) == ["humidity"]
        assert page.locator(".nodes > section:visible").count() == 1
        assert page.url == f"{site.url}/?q=BASE+hum"
        page.get_by_role("searchbox").fill("nowhere")
        expect(page.get_by_role("status")).to_have_text("No sensor matches “nowhere”.")
        assert [url for url in asked if "/static/" not in url] == []
        page.get_by_role("searchbox").fill("")
        assert len(lines(page)) == 4


def test_a_filter_in_the_address_can_be_taken_back(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{site.url}/?q=humidity")
        assert lines(page) == ["humidity"]
        page.get_by_role("searchbox").fill("")
        expect(page.locator("li[data-sensor]")).to_have_count(4)
        assert page.url == f"{site.url}/"


def test_without_scripts_all_is_there_and_the_filter_is_a_form(
    browser: Browser, site: Site
) -> None:
    with visit(browser, PHONE, java_script_enabled=False) as page:
        page.goto(f"{site.url}/?unit=F")
        expect(page.locator("li[data-sensor]")).to_have_count(4)
        page.get_by_role("searchbox").fill("basement temp")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("li[data-sensor]")).to_have_count(1)
        assert lines(page) == ["temperature"]
        assert "70.6" in page.locator("li .now").inner_text()  # the unit goes on
        page.get_by_role("link", name="temperature").click()
        assert page.url == f"{site.url}/node/basement/temperature"


def test_fahrenheit_and_utc_are_remembered(browser: Browser, site: Site) -> None:
    with visit(browser, timezone_id="America/New_York") as page:
        page.goto(site.url)
        line = page.locator("li", has=page.locator("a[href='/node/basement/temperature']"))
        expect(line.locator(".now")).to_contain_text("21.4")
        assert page.locator(".asof [data-zone]").inner_text() != "UTC"
        page.get_by_role("button", name="°F").click()
        page.get_by_role("button", name="UTC").click()
        expect(page.locator(".asof [data-zone]")).to_have_text("UTC")
        assert page.url == f"{site.url}/?unit=F&utc=1"
        page.goto(site.url)
        expect(line.locator(".now data")).to_have_text("70.6")
        expect(line.locator(".unit")).to_have_text("°F")
        expect(line.locator("svg")).to_have_attribute("aria-label", "24 hours: low 70.6, high 70.6")
        expect(page.get_by_role("button", name="°F")).to_have_attribute("aria-pressed", "true")


@pytest.fixture
def cellar(serve: Serve, tmp_path: Path) -> Site:
    return serve(make(tmp_path / "tmon.db", {"cellar": ["door", "wall"]}))


def test_a_new_value_appears_and_its_age_goes_on(browser: Browser, cellar: Site) -> None:
    with visit(browser) as page:
        page.clock.install()
        page.goto(cellar.url)
        door = page.locator("li[data-sensor='1']")
        measure(cellar, 23.456)
        page.clock.run_for(FRESH_MS)
        expect(door.locator(".now data")).to_have_text("23.5")
        expect(door.locator("time")).to_have_text(re.compile(r"(1[2-9]|2\d) s ago"))
        expect(page.locator("li[data-sensor='2'] .now data")).to_have_text("20.0")
        page.clock.run_for(60_000)
        expect(door.locator("time")).to_have_text("1 min ago")


def test_what_fell_silent_or_is_new_appears(browser: Browser, cellar: Site) -> None:
    with visit(browser) as page:
        page.clock.install()
        page.goto(cellar.url)
        expect(page.locator("h1")).to_have_text("2 sensors, none silent")
        with open_database(cellar.path) as db:
            db.execute("update readings set measured_ms = measured_ms - 36000000 where sensor = 2")
            db.execute("insert into sensors (node, name) values ('cellar', 'floor')")
        measure(cellar, 5, sensor=3)
        page.locator(".name a", has_text="door").focus()
        page.clock.run_for(ANEW_MS)
        expect(page.locator("h1")).to_have_text("3 sensors, 1 silent")
        expect(page.locator("li[data-sensor='2'] .age")).to_contain_text("silent")
        expect(page.locator(".name a", has_text="door")).to_be_focused()


def test_the_first_reading_takes_the_place_of_what_to_do(
    browser: Browser, serve: Serve, tmp_path: Path
) -> None:
    site = serve(make(tmp_path / "tmon.db", {"cellar": []}))
    with visit(browser) as page:
        page.clock.install()
        page.goto(site.url)
        expect(page.locator("h1")).to_have_text("No readings yet")
        expect(page.get_by_role("searchbox")).to_be_hidden()
        with open_database(site.path) as db:
            db.execute("insert into sensors (node, name, unit) values ('cellar', 'door', '°C')")
        measure(site, 7)
        page.clock.run_for(FRESH_MS)
        expect(page.locator("h1")).to_have_text("1 sensor, none silent")
        expect(page.get_by_role("searchbox")).to_be_visible()


def test_a_lost_connection_is_told(browser: Browser, cellar: Site) -> None:
    with visit(browser, may_fail=True) as page:
        page.clock.install()
        page.goto(cellar.url)
        page.context.set_offline(True)
        page.clock.run_for(FRESH_MS)
        expect(page.locator(".asof")).to_contain_text("no connection since")
        page.context.set_offline(False)
        page.clock.run_for(FRESH_MS)
        expect(page.locator(".asof")).to_contain_text("as of")
