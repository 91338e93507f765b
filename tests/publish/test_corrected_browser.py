"""Corrected values in a real browser: shades, limits, the switch, and what arrives meanwhile."""

import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.publish.browsing import looks, scrolls_sideways, violations, visit
from tests.publish.corrected import BAD_FROM_MS, BAD_TO_MS, build
from tests.publish.published import HOSTILE, Serve, Site
from tmon.db.connect import open_database

PAGES = (
    "/",
    "/node/lab?range=7d",
    "/node/lab/flagged?range=24h",
    "/node/lab/plain",
    "/node/lab/calibrated?embed",
    "/tmon/incidents?to_ms__isnull=1",
)


@pytest.fixture(scope="module")
def lab(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return serve(build(tmp_path_factory.mktemp("lab")))


@pytest.mark.parametrize(("path", "width", "scheme"), looks(PAGES))
def test_a_page_has_no_errors_scrolls_not_sideways_and_keeps_nobody_out(
    browser: Browser, lab: Site, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(lab.url + path)
        if page.query_selector(".charts"):
            page.wait_for_selector(".chart canvas")
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert page.title() != "hit"


def point_at(page: Page, instant_ms: int) -> str:
    """What the chart tells under an instant."""
    over = page.locator(".u-over")
    box = over.bounding_box()
    assert box
    view = page.evaluate("fetch(document.querySelector('.charts').dataset.url).then(a => a.json())")
    share = (instant_ms - view["from_ms"]) / (view["to_ms"] - view["from_ms"])
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + 50)
    return page.locator(".readout").inner_text()


def test_a_flagged_period_tells_why_under_the_cursor_and_raw_values_where_asked(
    browser: Browser, lab: Site
) -> None:
    middle_ms = (BAD_FROM_MS + BAD_TO_MS) // 2
    with visit(browser) as page:
        page.goto(f"{lab.url}/node/lab/flagged?utc=1")
        page.wait_for_selector(".chart canvas")
        assert point_at(page, middle_ms) == f"flagged: {HOSTILE}"
        assert "°C" in point_at(page, BAD_FROM_MS - 3_600_000)
        page.get_by_role("link", name="Show raw values").click()
        page.wait_for_url("**values=raw*")
        expect(page.get_by_role("link", name="Show clean values")).to_be_visible()
        told = point_at(page, middle_ms)
        assert "°C" in told
        assert told.endswith(f"flagged: {HOSTILE}")


def pixels(page: Page, width: str, height: str) -> list[int]:
    """The colour (RGBA) of the canvas at a share of the chart's inside."""
    found: list[int] = page.evaluate(
        f"""() => {{
            const canvas = document.querySelector(".chart canvas");
            const [over, all] = [document.querySelector(".u-over"), canvas].map((one) =>
                one.getBoundingClientRect());
            const x = over.left - all.left + over.width * {width};
            const y = over.top - all.top + over.height * {height};
            const ratio = devicePixelRatio;
            return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data];
        }}"""
    )
    return found


def test_the_chart_is_drawn_with_its_lines_its_shade_and_its_limit(
    browser: Browser, lab: Site
) -> None:
    with visit(browser, may_fail=True) as page:  # Chromium warns of reading pixels back
        page.goto(f"{lab.url}/node/lab/flagged?utc=1")
        page.wait_for_selector(".chart canvas")
        assert pixels(page, "(24 - 4.5) / 24", "0.02")[3] > 0  # between 6 and 3 hours ago
        assert pixels(page, "(24 - 9.03) / 24", "0.02")[3] == 0
        page.goto(f"{lab.url}/node/lab/plain?utc=1")
        page.wait_for_selector(".chart canvas")
        reddish = page.evaluate(
            """() => {
                const canvas = document.querySelector(".chart canvas");
                const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                let [red, blue] = [0, 0];
                for (let place = 0; place < all.data.length; place += 4) {
                    const [r, , b, a] = all.data.slice(place, place + 4);
                    if (a > 100 && r > 120 && b < 80) red += 1;
                    if (a > 100 && b > 120 && r < 80) blue += 1;
                }
                return [red, blue];
            }"""
        )
        assert min(reddish) > 100  # the limit, and the line


def test_a_gap_of_one_line_stays_one_beside_another_line(browser: Browser, lab: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{lab.url}/node/lab/plain")
        columns = """async () => (await import("/static/chart.js")).columns([
            {points: [[0, 1], [10, 1], [20, 1], [30, 1]], gap_ms: 15},
            {points: [[0, 2], [30, 2]], gap_ms: 15},
        ], 0, (value) => value)"""
        found = page.evaluate(columns)
        assert found == [[0, 10, 15, 20, 30], [1, 1, None, 1, 1], [2, None, None, None, 2]]


def test_a_value_between_two_gaps_is_a_dot(browser: Browser, lab: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{lab.url}/node/lab/plain")
        alone = "async (values) => (await import('/static/chart.js')).alone(values)"
        found = [
            page.evaluate(alone, [7, None, 7, None, 7, 7, None, 7]),
            page.evaluate(
                alone.replace(".alone(values)", ".alone([...values, undefined, 7])"), [7]
            ),
            page.evaluate(alone, [7]),
            page.evaluate(alone, [None, None]),
        ]
        assert found == [[0, 2, 7], [], [0], []]


def test_what_arrives_meanwhile_is_shown_calibrated(
    browser: Browser, serve: Serve, tmp_path: Any
) -> None:
    site = serve(build(tmp_path))
    with visit(browser) as page:
        page.clock.install()
        home = browser.new_page()
        home.clock.install()
        page.goto(f"{site.url}/node/lab/calibrated")
        page.wait_for_selector(".chart canvas")
        home.goto(site.url)
        with open_database(site.path) as db:
            at_ms = int(time.time() * 1000)  # long after this module began
            db.execute("insert into readings values (1, ?, 15)", [at_ms])
            db.execute("insert into readings values (2, ?, 99)", [at_ms])
        page.clock.run_for(11_000)
        expect(page.locator("[data-now='1']")).to_contain_text("30.0")  # 15 * -2 + 60
        home.clock.run_for(16_000)
        row = home.locator("li[data-sensor='1'] data").first
        expect(row).to_have_text("30.0")
        flagged = home.locator("li[data-sensor='2'] data").first
        assert flagged.inner_text().startswith("20.")
        home.close()
