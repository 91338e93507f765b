"""A screen on a wall: it shows all sensors in turn, and goes on after a lost network."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.publish.browsing import PAGE_MS, violations, visit
from tests.publish.published import Serve, Site, served
from tests.publish.test_home_browser import make, measure
from tmon.db.connect import open_database

TURN_MS = 15_500  # by then the page has gone on
STATIC = Path(__file__).parents[2] / "plugins" / "static"
SCREENS = [(800, 480), (1920, 1080)]


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three areas of thirty sensors."""
    path = tmp_path_factory.mktemp("kiosk") / "tmon.db"
    make(path, {f"node-{number:02}": [*"abcdef"] for number in range(15)})
    with open_database(path) as db:
        db.execute("update nodes set area = 'floor ' || (rowid % 3)")
    return serve(path)


@pytest.fixture(scope="module")
def thousand(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("thousand") / "tmon.db"
    return serve(make(path, {f"node-{number:02}": [*"abcdefghij"] for number in range(100)}))


def shown(page: Page) -> list[str]:
    """The names of the sensors on the screen."""
    return page.locator("li[data-sensor]:visible .name").all_inner_texts()


def next_turn(page: Page) -> None:
    with page.expect_response(re.compile("kiosk")):
        page.clock.fast_forward(TURN_MS)


def overflows(page: Page) -> bool:
    """Whether something that is shown is beyond the screen."""
    return bool(
        page.evaluate(
            """[...document.querySelectorAll("li[data-sensor]:not([hidden]), .chart:not([hidden])")]
            .some((one) => { const at = one.getBoundingClientRect();
                return at.bottom > innerHeight + 1 || at.right > innerWidth + 1; })"""
        )
    )


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_every_sensor_has_its_turn(browser: Browser, house: Site, width: int, height: int) -> None:
    with visit(browser) as page:
        page.set_viewport_size({"width": width, "height": height})
        page.clock.install()
        page.goto(house.url + "/?kiosk")
        turns = page.locator(".turn")
        expect(turns).to_have_text(re.compile("^1 of"))
        seen, count = shown(page), int(turns.inner_text().split()[-1])
        for number in range(2, count + 1):
            assert not overflows(page)
            next_turn(page)
            expect(turns).to_have_text(f"{number} of {count}")
            seen += shown(page)
        next_turn(page)
        expect(turns).to_have_text(f"1 of {count}")
        assert page.locator("button:visible, input:visible, nav:visible").count() == 0
    assert len(seen) == 90
    assert sorted(seen) == sorted({*seen})


def test_a_thousand_sensors_come_in_parts(browser: Browser, thousand: Site) -> None:
    with visit(browser) as page:
        page.set_viewport_size({"width": 1920, "height": 1080})
        page.clock.install()
        page.goto(thousand.url + "/?kiosk")
        assert page.locator("*").count() <= 3500
        seen = {*shown(page)}
        while "node-16" not in " ".join(seen):  # the second part begins with it
            before = shown(page)
            next_turn(page)
            expect(page.locator("li[data-sensor]:visible .name").first).not_to_have_text(before[0])
            seen |= {*shown(page)}
        assert len(seen) >= 160


def test_it_recovers_when_the_server_was_away(browser: Browser, tmp_path: Path) -> None:
    path = make(tmp_path / "tmon.db", {"basement": ["temperature"]})
    line = "p.asof"
    with visit(browser, may_fail=True) as page:
        page.clock.install()
        with served(path) as first:
            port = int(first.url.rsplit(":", 1)[1])
            page.goto(first.url + "/?kiosk")
            expect(page.locator(line)).to_contain_text("as of")
        page.clock.fast_forward(TURN_MS)
        expect(page.locator(line)).to_have_text(
            re.compile(r"no connection since \d\d:\d\d"), timeout=PAGE_MS
        )
        assert shown(page) == ["basement temperature"]
        with served(path, port=port) as again:
            measure(again, 37.5)
            page.clock.fast_forward(TURN_MS)
            expect(page.locator(".now data")).to_have_text("37.5", timeout=PAGE_MS)
            expect(page.locator(line)).to_contain_text("as of")


def test_a_broken_answer_counts_as_no_connection(browser: Browser, site: Site) -> None:
    with visit(browser, may_fail=True) as page:
        page.clock.install()
        page.goto(site.url + "/?kiosk")
        tiles = shown(page)
        page.route("**/*kiosk*", lambda route: route.fulfill(body="<h1>Café Wi-Fi</h1>"))
        page.clock.fast_forward(TURN_MS)
        expect(page.locator("p.asof")).to_contain_text("no connection since")
        assert tiles
        assert len(shown(page)) > 0


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_compared_charts_fit_or_take_turns(
    browser: Browser, site: Site, width: int, height: int
) -> None:
    sensors = "&".join(f"s=basement/{name}" for name in ("temperature", "humidity", "load"))
    with visit(browser) as page:
        page.set_viewport_size({"width": width, "height": height})
        page.clock.install()
        page.goto(f"{site.url}/compare?{sensors}&title=Cellar&kiosk")
        expect(page.locator("h1")).to_have_text("Cellar")
        keys = page.locator(".chart:visible .key")
        expect(keys.first).to_be_visible()
        seen = keys.all_inner_texts()
        while len(seen) < 3:
            assert not overflows(page)
            next_turn(page)
            expect(keys.first).not_to_have_text(re.compile("|".join(map(re.escape, seen))))
            seen += keys.all_inner_texts()
        assert not overflows(page)
        assert seen == ["basement temperature", "basement humidity", "basement load"]


def test_favourites_can_be_a_wall_in_fahrenheit(site: Site) -> None:
    page = site.get("/?kiosk&s=basement/temperature&unit=F").text
    assert page.count("<li data-sensor") == 1
    assert "°F" in page
    assert "No sensor of this address" in site.get("/?kiosk&s=no/such").text


def test_the_empty_station_says_so(empty: Site) -> None:
    assert "No readings yet" in empty.get("/?kiosk").text


def test_home_and_compare_lead_to_it_and_it_leads_back(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        for path in ("/?values=raw", "/compare?s=basement/load&title=Load"):
            page.goto(site.url + path)
            page.locator("a[href*=kiosk]").click()
            expect(page.locator("main.kiosk")).to_be_visible()
            assert violations(page) == []
            assert page.title() != "hit"
            page.locator("h1 a").click()
            expect(page.locator("nav[aria-label=Main]")).to_be_visible()


def test_it_has_the_dark_colours_of_all_pages() -> None:
    dark = re.search(r"dark\) \{\s*:root \{(.*?)\}", (STATIC / "tmon.css").read_text(), re.DOTALL)
    kiosk = (STATIC / "kiosk.css").read_text()
    assert dark is not None
    for colour in re.findall(r"--\w+: #\w+;", dark[1]):
        assert colour in kiosk


def test_old_readings_age_while_nobody_answers(browser: Browser, tmp_path: Path) -> None:
    path = make(tmp_path / "tmon.db", {"basement": ["temperature"]})
    with visit(browser, may_fail=True) as page:
        page.clock.install(time=time.time())
        with served(path) as first:
            page.goto(first.url + "/?kiosk")
        page.clock.fast_forward(10 * 60_000)
        expect(page.locator("li .age")).to_have_text(re.compile(r"1\d min ago"))


def test_compared_charts_are_in_the_viewers_zone(browser: Browser, site: Site) -> None:
    span = "from=2024-03-14T00:00Z&to=2024-03-15T00:00Z"
    address = f"{site.url}/compare?s=attic/temperature&{span}&kiosk"
    with visit(browser, timezone_id="Asia/Kolkata") as page:
        ticks = page.locator(".drawing .tick.time")
        page.goto(address)
        expect(page.locator(".chart .zone")).to_have_text("GMT+5:30")
        expect(ticks).to_have_text(["06:00", "12:00", "18:00", "15 Mar"])
        place = ticks.nth(0).get_attribute("x")
        assert place is not None
        assert float(place.removesuffix("%")) == pytest.approx(100 * 0.5 / 24)
        assert page.locator(".drawing .grid.time").count() == 4
        page.goto(address + "&utc=1")
        expect(page.locator(".chart .zone")).to_have_text("UTC")
        expect(ticks.first).to_have_text("14 Mar")
