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
from tmon.importer import demo
from tmon.pages import cells

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


MOVED = """new Promise((told) =>
    new PerformanceObserver((list) =>
        told(list.getEntries().reduce((sum, one) => sum + one.value, 0)))
        .observe({ type: "layout-shift", buffered: true }) || setTimeout(() => told(0), 500))"""
MOST_MOVED = 0.02  # an age in words moves its row's text a little as it grows


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_moves_when_the_scripts_run(
    browser: Browser, stations: dict[str, Site], width: int
) -> None:
    with visit(browser, width) as page:
        page.goto(stations["dozen"].url)
        assert page.evaluate(MOVED) <= MOST_MOVED


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
        page.clock.run_for(30_000)
        expect(door.locator("time")).to_have_text(re.compile(r"(4[2-9]|5\d) s ago"))


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


@pytest.fixture(scope="module")
def houses(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """The demo; and 40 sensors of many kinds, with limits, incidents, gaps, an archive."""
    folder = tmp_path_factory.mktemp("houses")
    now_ms = int(time.time() * 1000)
    with open_database(folder / "demo.db", create=True) as db:
        demo.add(db, Path(__file__).parents[2] / "data/ambient_temperature.csv", now_ms, 0)
    make_mixed(folder / "mixed.db", now_ms)
    return {"demo": serve(folder / "demo.db"), "mixed": serve(folder / "mixed.db")}


UNITS = ("°C", "%", "hPa", "ppm", "µg/m³", "mm/h", "W", None)


def make_mixed(path: Path, now_ms: int) -> None:
    nodes = ("barn-a", "barn-b", "barn-c", "a_very_long_name_of_a_node", "kitchen")
    with open_database(path, create=True) as db, db.atomic():
        for node in nodes:
            db.execute(
                "insert into nodes (name, uid, description, created_ms) values (?, ?, ?, 0)",
                (node, node, HOSTILE),
            )
            for place, unit in enumerate(UNITS):
                db.execute(
                    "insert into sensors (node, name, unit, imported, quantity)"
                    " values (?, ?, ?, ?, ?)",
                    (node, f"sensor_number_{place}", unit, place == 5, "switch" * (unit is None)),
                )
        for minutes in range(0, 26 * 60, 20):
            if not 300 < minutes < 600:
                db.execute(
                    "insert into readings select id, ? - iif(imported, 4000 * 86400000, 0)"
                    " - iif(id = 9, 9 * 3600000, 0), iif(unit is null, id % 2, 12345.678 / id)"
                    " from sensors where coalesce(unit, '') <> '%' or 12345.678 / id < 100",
                    [now_ms - minutes * 60_000],
                )
        db.execute("insert into limits (sensor, above, created_ms) values (1, 4, 0), (9, 1, 0)")
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (3, ?, ?, 'x', 0)",
            [now_ms - 2 * HOUR_MS, now_ms - HOUR_MS],
        )
        db.execute(
            "insert into incidents (finding, severity, subject, reason, from_ms)"
            " values ('T11', 'warning', 'backup', ?, ?)",
            [HOSTILE, now_ms - 3 * 24 * HOUR_MS],
        )


PLACES = ("demo", "mixed", "mixed?view=tiles", "mixed?pick=1", "mixed?s=kitchen/sensor_number_0")


@pytest.mark.parametrize(("place", "width", "scheme"), looks(PLACES))
def test_a_house_keeps_nobody_out(
    browser: Browser, houses: dict[str, Site], place: str, width: int, scheme: Any
) -> None:
    name, _, query = place.partition("?")
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(f"{houses[name].url}/?{query}")
        assert page.evaluate(MOVED) <= MOST_MOVED
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert page.title() != "hit"
        assert page.evaluate(CUT_OFF) == []


# Texts of rows that are wider than their place, or wrapped though they are numbers.
CUT_OFF = """[...document.querySelectorAll("li[data-sensor] :is(.now data, .unit, .range, time)")]
    .filter((one) => one.getClientRects().length > 1
        || one.getBoundingClientRect().right > one.closest("li").getBoundingClientRect().right + 1)
    .map((one) => one.textContent)"""


def test_a_folded_group_is_remembered_in_the_address(
    browser: Browser, houses: dict[str, Site]
) -> None:
    with visit(browser) as page:
        page.goto(houses["mixed"].url)
        page.locator("summary", has_text="barn").click()
        expect(page).to_have_url(re.compile(r"\?closed=barn$"))
        page.reload()
        expect(page.locator(".group section")).to_have_count(0)
        page.locator("summary", has_text="barn").click()
        expect(page.locator(".group section")).to_have_count(3)
        assert page.url == f"{houses['mixed'].url}/"


def test_a_folded_group_opens_without_scripts(browser: Browser, houses: dict[str, Site]) -> None:
    with visit(browser, java_script_enabled=False) as page:
        page.goto(f"{houses['mixed'].url}/?closed=barn")
        page.locator("summary", has_text="barn").click()
        page.get_by_role("link", name="Show barn").click()
        expect(page.locator(".group section")).to_have_count(3)


@pytest.mark.parametrize("scripts", [True, False])
def test_favourites_are_ticked_and_kept(
    browser: Browser, houses: dict[str, Site], scripts: bool
) -> None:
    with visit(browser, java_script_enabled=scripts) as page:
        page.goto(houses["mixed"].url)
        page.get_by_role("link", name="Choose favourites").click()
        for name in ("kitchen sensor_number_2", "barn-a sensor_number_0"):
            page.get_by_role("checkbox", name=name, exact=True).check()
        page.get_by_role("button", name="Show as favourites").click()
        expect(page.locator(".favourites .name")).to_have_text(
            ["kitchen sensor_number_2", "barn-a sensor_number_0"]
        )
        assert "s=kitchen%2Fsensor_number_2" in page.url
        page.get_by_role("link", name="Compare them").click()
        assert page.url.startswith(f"{houses['mixed'].url}/compare?s=kitchen/sensor_number_2")
        expect(page.locator(".chart")).to_have_count(2)


def test_a_crossed_limit_leads_to_its_chart(browser: Browser, houses: dict[str, Site]) -> None:
    with visit(browser) as page:
        page.goto(houses["mixed"].url)
        page.locator(".attention").get_by_role("link", name="barn-a sensor_number_0").click()
        assert "/node/barn-a/sensor_number_0" in page.url
        expect(page.locator("canvas").first).to_be_visible()


def test_times_of_what_needs_attention_are_the_viewers(
    browser: Browser, houses: dict[str, Site]
) -> None:
    with visit(browser, timezone_id="Asia/Kolkata") as page:
        page.goto(f"{houses['mixed'].url}/")
        since = page.locator(".attention li", has_text="backup").locator("time")
        there = since.inner_text()
        until = page.locator(".is-archive time").first.inner_text()
        page.get_by_role("button", name="UTC").click()
        expect(since).not_to_have_text(there)
        assert re.fullmatch(r"\d+ [A-Z][a-z]+ \d\d:\d\d", there)
        assert re.fullmatch(r"[A-Z][a-z]+ \d{4}", until)


def test_numbers_are_rounded_alike_by_scripts_and_server(
    browser: Browser, houses: dict[str, Site]
) -> None:
    with visit(browser) as page:
        page.goto(houses["mixed"].url)
        texts = page.locator("li[data-sensor] data").all_inner_texts()
        for choice in (True, False):
            page.get_by_role("button", name="°F").click()
            expect(page.get_by_role("button", name="°F")).to_have_attribute(
                "aria-pressed", str(choice).lower()
            )
        assert page.locator("li[data-sensor] data").all_inner_texts() == texts
        script = "import('/static/format.js').then((one) => one.DECIMALS)"
        assert page.evaluate(script) == cells.DECIMALS
