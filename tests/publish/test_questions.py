"""What people ask first is answered in at most three clicks from home."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.publish.browsing import PHONE, scrolls_sideways, violations, visit
from tests.publish.published import HOUR_MS, Serve, Site
from tmon.core.time import DAY_MS
from tmon.db.connect import open_database

NOW_MS = int(time.time() * 1000)
OPENED_MS = NOW_MS - 5 * HOUR_MS
CLOSED_MS = OPENED_MS + 3 * HOUR_MS + 20 * 60_000
MOST_CLICKS = 3
SENSORS = {
    1: ("wine-cellar", "temperature", "°C", None),
    2: ("coal-cellar", "temperature", "°C", None),
    3: ("attic", "temperature", "°C", None),
    4: ("bedroom", "window", None, "switch"),
    5: ("kitchen", "freezer", "°C", None),
    6: ("kitchen", "door", None, None),
}


def build(path: Path) -> Path:
    """A house: two cellars, of which one was warmer a year ago; a window; a thawing freezer."""
    with open_database(path, create=True) as db:
        for node in dict.fromkeys(node for node, *_ in SENSORS.values()):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
        db.conn.executemany(
            "insert into sensors (id, node, name, unit, quantity) values (?, ?, ?, ?, ?)",
            [(number, *sensor) for number, sensor in SENSORS.items()],
        )
        hours = [hour for hour in range(370 * 24) if hour < 30 or hour > 360 * 24]
        readings = [
            (sensor, NOW_MS - hour * HOUR_MS, value)
            for hour in hours
            for sensor, value in ((1, 12.5 if hour < 30 else 14.5), (2, 11.0), (3, 18.0))
        ]
        readings += [(5, NOW_MS - minute * 60_000, -9.0) for minute in range(0, 120, 5)]
        changes = [(NOW_MS - 3 * DAY_MS, 0), (OPENED_MS, 1), (CLOSED_MS, 0)]
        readings += [(sensor, at_ms, float(value)) for sensor in (4, 6) for at_ms, value in changes]
        db.conn.executemany("insert into readings values (?, ?, ?)", readings)
        db.execute("insert into limits values (5, null, -15, 0, 0, 0)")
        db.conn.commit()
    return path


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return serve(build(tmp_path_factory.mktemp("house") / "tmon.db"))


class Walk:
    """A visitor who begins at home and clicks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1

    def link(self, node: str, sensor: str) -> Locator:
        """A sensor's link on home."""
        section = self.page.locator("section", has=self.page.get_by_role("heading", name=node))
        return section.get_by_role("link", name=sensor, exact=True)


@pytest.fixture(params=[1440, PHONE])
def walk(browser: Browser, house: Site, request: pytest.FixtureRequest) -> Iterator[Walk]:
    with visit(browser, request.param, timezone_id="Europe/Berlin") as page:
        page.goto(house.url)
        walk = Walk(page)
        yield walk
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert walk.clicks <= MOST_CLICKS


def test_what_is_wrong_right_now(walk: Walk) -> None:
    item = walk.page.locator(".attention li", has_text="kitchen freezer")
    expect(item).to_contain_text("-9.0 °C, above its limit of -15 °C")
    assert walk.clicks == 0


def test_was_last_night_colder_than_the_year_before(walk: Walk) -> None:
    walk.click(walk.link("wine-cellar", "temperature"))
    walk.click(walk.page.get_by_role("link", name="year before"))
    expect(walk.page.locator(".key.before")).to_have_text("a year before")
    now, then = walk.page.locator("table.stacked tbody tr").all()
    expect(now).to_contain_text("12.5 °C")
    expect(then).to_contain_text("a year before")
    expect(then).to_contain_text("14.5 °C")
    assert walk.clicks == 2


def test_both_cellars_over_each_other(walk: Walk) -> None:
    walk.click(walk.link("wine-cellar", "temperature"))
    similar = walk.page.locator("#compare").get_by_role("link")
    expect(similar).to_have_text(
        ["coal-cellar temperature", "attic temperature", "kitchen freezer"]
    )
    walk.click(similar.first)
    expect(walk.page.locator(".chart .key")).to_have_text(
        ["wine-cellar temperature", "coal-cellar temperature"]
    )
    assert walk.clicks == 2


@pytest.mark.parametrize(("node", "sensor"), [("bedroom", "window"), ("kitchen", "door")])
def test_when_was_the_window_open(walk: Walk, node: str, sensor: str) -> None:
    walk.click(walk.link(node, sensor))
    expect(walk.page.get_by_role("heading", name=f"When {sensor} was on")).to_be_visible()
    told = walk.page.get_by_role("region", name=f"When {sensor} was on").locator("tbody tr")
    berlin = walk.page.evaluate(
        "(all) => all.map((ms) => new Date(ms).toTimeString().slice(0, 5))", [OPENED_MS, CLOSED_MS]
    )
    expect(told).to_have_text(re.compile(f"{berlin[0]}.*{berlin[1]}", re.DOTALL))
    expect(told).to_contain_text("3 h 20 min")
    expect(walk.page.get_by_role("row", name=f"{sensor} off")).to_contain_text("on 3 h 20 min")
    assert walk.clicks == 1


def test_a_new_sensor_fills_its_chart(walk: Walk) -> None:
    """Its history is of two hours: of a day, it would be a line at the edge."""
    walk.click(walk.link("kitchen", "freezer"))
    expect(walk.page.locator("[aria-current=true]")).to_have_text("all")
    expect(walk.page.locator("[data-share=png]")).to_be_visible()
    assert walk.clicks == 1
