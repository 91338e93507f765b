"""axe-core finds nothing on any page, in any look, of a house with something of everything."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.publish.browsing import LOOKS, scrolls_sideways, violations, visit
from tests.publish.published import HOSTILE, HOUR_MS, Serve, Site
from tests.publish.test_questions import NOW_MS, build
from tmon.db.connect import open_database
from tmon.maintenance import notes

CELLARS = "s=wine-cellar/temperature&s=coal-cellar/temperature"
PAGES = (
    *("/", "/?view=tiles", "/?pick=1", "/?sort=worst", "/?q=nothing", "/?kiosk"),
    *("/node/kitchen", "/node/kitchen?range=7d&rate=day", "/node/kitchen/freezer?values=raw"),
    *("/node/bedroom/window", "/node/kitchen/meter_total?rate=day", "/node/nowhere"),
    *("/node/wine-cellar/temperature?before=year", "/node/attic?from=2020-01-01&to=2020-02-01"),
    *("/node/kitchen?embed", "/node/kitchen?range=9d", "/compare", f"/compare?{CELLARS}"),
    *(f"/compare?{CELLARS}&before=week&title=Cellars", f"/compare?{CELLARS}&embed"),
    *(f"/compare?{CELLARS}&kiosk", "/compare?s=no/such", "/year/wine-cellar/temperature"),
    *("/year/wine-cellar/temperature?year=2000", "/year/bedroom/window", "/map", "/refused"),
    *("/download", "/tmon", "/tmon/readings", "/tmon/readings?sensor=1#chart", "/tmon/nowhere"),
    *("/tmon/sensors", "/tmon/nodes/kitchen", "/tmon/latest", "/tmon/daily", "/tmon/notes"),
    *("/tmon/incidents", "/tmon/limits", "/tmon/flags", "/tmon/rejected", "/tmon/changes"),
    *("/tmon/silent_nodes", "/tmon/day", "/tmon/-/query?sql=select+1", "/tmon/-/query?sql=select"),
    *("/tmon/-/query", "/tmon/-/schema", "/-/", "/-/versions", "/nowhere"),
)


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path: Path = build(tmp_path_factory.mktemp("axe") / "tmon.db")
    with open_database(path) as db:
        for about in ("kitchen", "kitchen/freezer"):
            notes.add_note(db, about, HOSTILE, NOW_MS - HOUR_MS, NOW_MS)
        db.execute("update nodes set latitude = 50.1, longitude = 8.2 where name = 'kitchen'")
        db.execute(
            "insert into sensors (node, name, unit) values ('kitchen', 'meter_total', 'kWh')"
        )
        [(meter,)] = db.execute("select id from sensors where name = 'meter_total'").fetchall()
        for hour in range(60):
            reading = [meter, NOW_MS - hour * HOUR_MS, 1000.0 - hour]
            db.execute("insert into readings values (?, ?, ?)", reading)
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms) values (5, ?, ?, ?, 0)",
            [NOW_MS - HOUR_MS, NOW_MS - HOUR_MS // 2, HOSTILE],
        )
        db.execute(
            "insert into incidents (finding, severity, sensor, reason, from_ms)"
            " values ('T02', 'critical', 5, ?, ?)",
            [HOSTILE, NOW_MS - HOUR_MS],
        )
        db.execute(
            "insert into rejected (received_ms, node, sensor, measured, value, code, reason)"
            " values (?, 'kitchen', 'freezer', 'soon', ?, 'implausible_time', 'too late')",
            [NOW_MS, HOSTILE],
        )
    return serve(path)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing_on_any_page(
    browser: Browser, house: Site, width: int, scheme: str, language: str
) -> None:
    found: dict[str, list[str]] = {}
    with visit(browser, width, may_fail=True, color_scheme=scheme, locale=language) as page:
        for path in PAGES:
            page.goto("about:blank")
            page.goto(house.url + path)
            if page.query_selector(".charts[data-url]") and "kiosk" not in path:
                page.wait_for_selector(".chart canvas")
            for one in page.query_selector_all("details"):
                one.evaluate("(details) => { details.open = true; }")
            wrong = violations(page) + ["scrolls sideways"] * scrolls_sideways(page)
            if wrong:
                found[path] = wrong
            assert page.title() != "hit"
    assert found == {}
