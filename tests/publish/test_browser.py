"""A real browser, on a phone and at a desk: no errors, no sideways scrolling, the right values."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ingest.schema import open_database
from tests.publish.published import Serve, Site
from tests.publish.test_queries import QUERIES

ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
PHONE, DESK = 390, 1440

PAGES = (
    "/",
    "/tmon",
    "/tmon/readings",
    "/tmon/readings?_facet=sensor",
    "/tmon/latest",
    "/tmon/nodes",
    "/tmon/rejected",
    "/tmon/sensors/1",
    "/tmon/readings/1,1709251200000",
    "/tmon/daily",
    "/tmon/day",
    "/tmon/coldest_and_hottest",
    "/tmon/-/query?sql=select+*+from+latest",
    "/tmon/-/query?sql=select+nothing",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=ARGS.split()
        )
        yield chromium
        chromium.close()


@contextmanager
def _page(browser: Browser, width: int) -> Iterator[Page]:
    """A page that has no errors and asks no foreign host, or the test fails."""
    page = browser.new_page(viewport={"width": width, "height": 844})
    troubles: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: troubles.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"{page.url}: {error}"))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    yield page
    assert troubles == []
    assert len(hosts) == 1
    page.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_page_has_errors_or_scrolls_sideways(browser: Browser, site: Site, width: int) -> None:
    with _page(browser, width) as page:
        for path in PAGES:
            page.goto(site.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.title() != "hit"  # what the hostile texts would make of it


def test_readings_show_what_sql_gives_newest_first(browser: Browser, site: Site) -> None:
    shown = site.values("""
        select label || '|' || replace(substr(measured_at, 1, 19), 'T', ' ') || '|'
            || coalesce(printf('%.1f', value) || char(160) || unit, value)
        from readings join sensors on sensors.id = sensor order by measured_ms desc limit 50
    """)
    with _page(browser, PHONE) as page:
        page.goto(site.url + "/tmon/readings")
        rows = page.locator("tbody tr").all()
        cells = [row.locator("td:visible").all_inner_texts() for row in rows]
    assert ["|".join(texts) for texts in cells] == shown


def test_the_sql_editor_works_under_the_content_security_policy(
    browser: Browser, site: Site
) -> None:
    with _page(browser, DESK) as page:
        page.goto(site.url + "/tmon")
        page.locator(".cm-content").fill("select count(*) as n from readings")
        page.get_by_role("button", name="Format SQL").click()
        page.get_by_role("button", name="Run SQL").click()
        count = page.locator("td.col-n").inner_text()
    assert [int(count)] == site.values("select count(*) from readings")


def test_a_sensors_label_leads_to_its_readings(browser: Browser, site: Site) -> None:
    with _page(browser, DESK) as page:
        page.goto(site.url + "/tmon/latest")
        page.get_by_role("link", name="attic temperature").click()
        page.wait_for_url("**/tmon/readings?sensor=1")
        assert set(page.locator("td.col-sensor").all_inner_texts()) == {"attic temperature"}


def test_the_rows_come_before_what_their_columns_mean(browser: Browser, site: Site) -> None:
    with _page(browser, PHONE) as page:
        page.goto(site.url + "/tmon/nodes")
        rows = page.locator("table.rows-and-columns").bounding_box()
        meaning = page.locator("dl.column-descriptions").bounding_box()
    assert rows is not None
    assert meaning is not None
    assert rows["y"] < meaning["y"]


def test_home_leads_to_every_question_and_table(browser: Browser, site: Site) -> None:
    with _page(browser, PHONE) as page:
        page.goto(site.url + "/")
        shown = page.locator("dl.contents dt a").all_inner_texts()
    assert shown[:7] == ["latest", "readings", "daily", "hourly", "sensors", "nodes", "rejected"]
    assert shown[7:] == [query["title"] for query in QUERIES.values()]  # as in datasette.yml


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("page", ["rejected", "rejected_lately"])
def test_the_reason_stays_in_sight_beside_a_long_name(
    browser: Browser, serve: Serve, tmp_path: Path, page: str, width: int
) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute(
            "insert into rejected (received_ms, node, sensor, measured, value, code, reason)"
            " values (0, 'attic', ?, '2026-11-22T12:00:00Z', '21.5', 'bad_name', 'too long')",
            ("n" * 200,),
        )
    site = serve(path)
    with _page(browser, width) as shown:
        shown.goto(f"{site.url}/tmon/{page}")
        reason = shown.locator("td.col-reason").bounding_box()
        assert reason is not None
        assert reason["x"] + reason["width"] <= width
        cut = "[...document.querySelectorAll('td')].filter(td => td.scrollWidth > td.clientWidth)"
        assert shown.evaluate(f"{cut}.length") == 0
