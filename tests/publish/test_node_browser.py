"""A node's page in a real browser: values, zoom, choices, and what arrives meanwhile."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.publish.browsing import (
    PHONE,
    TABLET,
    looks,
    scrolls_sideways,
    violations,
    visit,
)
from tests.publish.published import HOSTILE, HOUR_MS, MARCH_MS, Serve, Site
from tests.station import Process, answers, tmon, wait_for
from tmon.db.connect import open_database

DATA = Path(__file__).parents[2] / "data" / "ambient_temperature.csv"
FRESH_MS = 11_000  # by then the page has asked for what is new
PAGES = (
    "/node/attic",
    "/node/basement",
    "/node/basement?range=7d&unit=F&utc=1",
    "/node/basement/temperature?embed",
    "/node/cellar",
    "/node/nobody",
    "/node/attic?range=9d",
)


@pytest.fixture(scope="module")
def office(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The real data: hourly, in °F, with gaps of up to seven days."""
    folder = tmp_path_factory.mktemp("office")
    flags = ("--node", "office", "--time", "timestamp", "--value", "value=temperature:°F")
    imported = tmon(folder, "import", str(DATA), *flags)
    assert imported.returncode == 0, imported.stderr
    return serve(folder / "tmon.db")


@pytest.fixture(scope="module")
def hostile(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Names, units and values at their longest, and strangers' texts wherever there can be some."""
    path, now_ms = tmp_path_factory.mktemp("hostile") / "tmon.db", int(time.time() * 1000)
    node, readings = "n" * 64, [(now_ms - place * 600_000, 1e6 * place) for place in range(50)]
    with open_database(path, create=True) as db:
        db.execute(
            "insert into nodes (name, uid, created_ms, description) values (?, 'u', 0, ?)",
            [node, HOSTILE * 3],
        )
        for name, unit in (("s" * 64, "u" * 32), ("W" * 64, None)):
            db.table("sensors").insert({"node": node, "name": name, "unit": unit})
        for sensor in (1, 2):
            db.conn.executemany(
                f"insert into readings (sensor, measured_ms, value) values ({sensor}, ?, ?)",
                readings,
            )
        db.table("rejected").insert(
            {
                **dict.fromkeys(("sensor", "measured", "value", "code", "reason"), HOSTILE * 3),
                "received_ms": now_ms,
                "node": node,
            }
        )
    return serve(path)


def plot(page: Page) -> Any:
    """Where the lines are: x, y, width and height."""
    box = page.locator(".u-over").first.bounding_box()
    assert box
    return box


def zoom(page: Page) -> None:
    """Drag over the second quarter of the first chart."""
    box = plot(page)
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=5)
    page.mouse.up()


def drawn(page: Page) -> None:
    page.wait_for_selector(".chart canvas")


@pytest.mark.parametrize("width", [PHONE, TABLET])
def test_the_longest_names_and_hostile_texts_fit(
    browser: Browser, hostile: Site, width: int
) -> None:
    for page_of in ("n" * 64, f"{'n' * 64}/{'s' * 64}"):
        with visit(browser, width) as page:
            page.goto(f"{hostile.url}/node/{page_of}")
            page.wait_for_selector(".chart canvas")
            assert not scrolls_sideways(page)
            assert "hit" not in page.title()


@pytest.mark.parametrize(("path", "width", "scheme"), looks(PAGES))
def test_a_page_has_no_errors_scrolls_not_sideways_and_keeps_nobody_out(
    browser: Browser, site: Site, path: str, width: int, scheme: Any
) -> None:
    # A page that isn't there is an error on the console too, as it should be.
    expected = "nobody" in path or "9d" in path
    with visit(browser, width, color_scheme=scheme, may_fail=expected) as page:
        page.goto(site.url + path)
        if page.query_selector(".chart"):
            drawn(page)
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert page.title() != "hit"


def test_the_cursor_tells_the_values_that_sql_gives(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{site.url}/node/attic?from=2024-03-01&to=2024-03-02&utc=1")
        drawn(page)
        box = plot(page)
        hour = 14
        page.mouse.move(box["x"] + box["width"] * hour / 24, box["y"] + 50)
        told = page.locator(".readout").inner_text()
        [value] = site.values(
            "select value from readings where sensor = 1"
            f" and measured_ms = {MARCH_MS + hour * HOUR_MS}"
        )
        assert told == f"2024-03-01 14:00:00  {value:.1f}\N{NO-BREAK SPACE}°C"


def test_dragging_zooms_in_the_address_too_and_double_click_goes_back(
    browser: Browser, site: Site
) -> None:
    with visit(browser) as page:
        page.goto(f"{site.url}/node/attic?from=2024-03-01&to=2024-03-05&utc=1")
        drawn(page)
        before = page.url
        zoom(page)
        page.wait_for_url("**from=2024-03-0*T*")
        expect(page.locator("h2").first).to_contain_text("2024-03-02")
        page.locator(".u-over").dblclick()
        page.wait_for_url(before)


def test_a_zoom_is_one_step_back_however_many_charts_follow(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{site.url}/node/basement")  # three charts
        drawn(page)
        before, length = page.url, page.evaluate("history.length")
        zoom(page)
        page.wait_for_url("**from=*")
        drawn(page)
        assert page.evaluate("history.length") == length + 1
        zoomed = page.url
        page.go_back()
        page.wait_for_url(before)
        expect(page.locator("h2").first).to_have_text("The last 24 hours")
        page.go_forward()
        page.wait_for_url(zoomed)
        expect(page.locator("h2").first).to_contain_text(" to ")


def test_heading_axis_and_tables_are_in_one_zone(browser: Browser, site: Site) -> None:
    address = f"{site.url}/node/attic?from=2024-03-01T23:00Z&to=2024-03-05T12:00Z"
    with visit(browser, timezone_id="Europe/Berlin") as page:
        page.goto(address)
        drawn(page)
        heading = page.locator("h2").first
        expect(heading).to_have_text("2024-03-02 00:00 to 2024-03-05 13:00 CET")
        expect(page.locator(".chart .zone")).to_have_text("CET")
        expect(page.locator(".facts")).to_contain_text("2024-03-01 01:00:00 CET")
        page.get_by_role("button", name="UTC").click()
        expect(heading).to_have_text("2024-03-01 23:00 to 2024-03-05 12:00 UTC")
        expect(page.locator(".chart .zone")).to_have_text("UTC")
        page.goto(f"{site.url}/node/attic?from=2024-03-01&to=2024-04-20&utc=0")
        expect(page.locator(".chart .zone")).to_have_text("CET/CEST")
    with visit(browser, java_script_enabled=False, timezone_id="Europe/Berlin") as page:
        page.goto(address)
        heading = page.locator("h2").first
        expect(heading).to_have_text("2024-03-01 23:00 to 2024-03-05 12:00 UTC")
        expect(page.locator(".chart .zone")).to_have_text("UTC")
        expect(page.locator(".facts")).to_contain_text("2024-03-01 00:00:00 UTC")


def test_an_address_that_was_copied_shows_the_same_picture(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        page.goto(f"{site.url}/node/basement")
        drawn(page)
        page.get_by_role("link", name="7 d").click()
        page.wait_for_url("**range=7d**")
        page.get_by_role("button", name="°F").click()
        page.get_by_role("button", name="UTC").click()
        shared, shown = page.url, page.locator("table.numbers").first.inner_text()
    with visit(browser, timezone_id="Asia/Tokyo") as page:
        page.goto(shared)
        drawn(page)
        assert "70.6\N{NO-BREAK SPACE}°F" in shown
        assert page.locator(".ranges [aria-current]").inner_text() == "7 d"
        assert page.get_by_role("button", name="UTC").get_attribute("aria-pressed") == "true"
        assert "70.6\N{NO-BREAK SPACE}°F" in page.locator("table.numbers").first.inner_text()


def test_what_was_chosen_is_remembered_and_told_by_the_address(
    browser: Browser, site: Site
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/node/basement")
    drawn(page)
    page.get_by_role("button", name="°F").click()
    page.goto(f"{site.url}/node/attic")
    page.wait_for_url("**unit=F**")
    drawn(page)
    assert page.locator(".unit").inner_text() == "°F"
    page.get_by_role("button", name="°F").click()
    assert page.locator(".unit").inner_text() == "°C"
    context.close()


def test_times_are_in_the_viewers_zone_or_in_utc(browser: Browser, site: Site) -> None:
    with visit(browser, timezone_id="Asia/Tokyo") as page:
        page.goto(f"{site.url}/node/basement")
        drawn(page)
        heard = page.locator(".facts time")
        local = heard.inner_text()
        page.get_by_role("button", name="UTC").click()
        assert heard.inner_text() != local
        assert (
            heard.inner_text().replace(" ", "T") + "Z"
            == (heard.get_attribute("datetime") or "")
            .replace(".000", "")
            .split(".")[0]
            .removesuffix("Z")
            + "Z"
        )


def test_a_reading_that_is_sent_meanwhile_appears_at_the_right_edge(
    browser: Browser, tmp_path: Path
) -> None:
    station = Process(tmp_path, "serve", "--port", "0", "--datasette-port", "0")
    try:
        urls = station.addresses(2)
        token = tmon(tmp_path, "token", "get", "cellar").stdout.strip()

        def send(value: float) -> None:
            headers = {"Authorization": f"Bearer {token}"}
            reading = {"sensor": "load", "value": value}
            sent = requests.post(
                f"{urls['ingest']}/readings", json=reading, headers=headers, timeout=60
            )
            assert sent.status_code == 201

        send(0.25)
        wait_for(lambda: answers(f"{urls['datasette']}/node/cellar"))
        with visit(browser) as page:
            page.clock.install()
            page.goto(f"{urls['datasette']}/node/cellar/load")
            drawn(page)
            expect(page.locator("[data-now]")).to_contain_text("0.25")
            send(7.5)
            with page.expect_response("**/load.json*"):
                page.clock.run_for(FRESH_MS)
            expect(page.locator("[data-now]")).to_contain_text("7.5")

            def told_at_the_edge() -> str:
                box = plot(page)
                page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
                page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 50)
                return page.locator(".readout").inner_text()

            wait_for(lambda: told_at_the_edge().endswith("  7.5"))  # when it is drawn
    finally:
        station.kill()


def test_a_gap_of_seven_days_is_a_gap_with_scripts_and_without(
    browser: Browser, office: Site
) -> None:
    span = "from=2014-03-30&to=2014-04-20"
    with visit(browser, java_script_enabled=False) as page:
        page.goto(f"{office.url}/node/office?{span}")
        assert page.locator(".drawing .line").count() == 2
    with visit(browser) as page:
        page.goto(f"{office.url}/node/office?{span}&utc=1")
        drawn(page)
        box = plot(page)
        painted = page.evaluate(
            """([canvas]) => {
                const [wide, high] = [canvas.width, canvas.height];
                const { data } = canvas.getContext("2d").getImageData(0, 0, wide, high);
                const blue = (i) => data[i + 3] > 60 && data[i + 2] > data[i] + 60;
                return [...Array(wide).keys()].map((x) =>
                    [...Array(high).keys()].some((y) => blue(4 * (y * wide + x))));
            }""",
            [page.locator(".chart canvas").element_handle()],
        )
        inside = painted[round(len(painted) * 0.08) : -20]
        longest = max(len(run) for run in "".join("x" if one else " " for one in inside).split("x"))
        assert longest > box["width"] * 5 / 21
        assert sum(inside) > box["width"] * 8 / 21


def test_without_scripts_a_page_has_all_that_it_tells(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE, java_script_enabled=False) as page:
        page.goto(f"{site.url}/node/attic")
        assert page.locator(".drawing .line").count() == 2
        page.get_by_role("link", name="1 y").click()
        assert "range=1y" in page.url
        page.get_by_role("link", name="Wider").click()
        assert "from=" in page.url
        page.locator("summary", has_text="The chart as a table").click()
        assert page.locator("details caption").inner_text().startswith("4-weekly means")


def test_a_year_is_drawn_soon_after_the_click(browser: Browser, office: Site) -> None:
    """Not a benchmark (that is `make bench`'s): seconds would be felt."""
    with visit(browser) as page:
        opened_s = time.monotonic()
        page.goto(f"{office.url}/node/office?from=2014-05-01&to=2014-05-28")
        drawn(page)
        began_s = time.monotonic()
        of_a_month_s = began_s - opened_s  # by this machine, at this moment
        page.get_by_role("link", name="all").click()
        expect(page.locator("h2").first).to_have_text("All readings")
        drawn(page)
        assert time.monotonic() - began_s < max(3, 5 * of_a_month_s)


def test_no_more_points_are_sent_than_a_chart_can_show(browser: Browser, office: Site) -> None:
    with visit(browser) as page:
        answers: list[Any] = []
        page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - playwright marks it
        page.goto(f"{office.url}/node/office?range=all")
        drawn(page)
        [answer] = [answer for answer in answers if "/node/office.json" in answer.url]
        points = sum(
            len(one["points"])
            for chart in json.loads(answer.text())["charts"]
            for one in chart["lines"]
        )
        assert 300 < points <= 2000
