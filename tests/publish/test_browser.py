"""A real browser: the values that SQL gives, where people look for them."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.publish.browsing import DESK, PHONE, visit
from tests.publish.published import Serve, Site
from tests.publish.test_queries import QUERIES
from tmon.db.connect import open_database


def test_readings_show_what_sql_gives_newest_first(browser: Browser, site: Site) -> None:
    shown = site.values("""
        select label || '|' || replace(substr(measured_at, 1, 19), 'T', ' ') || '|'
            || coalesce(printf('%.1f', value) || char(160) || unit, value)
        from readings join sensors on sensors.id = sensor order by measured_ms desc limit 50
    """)
    with visit(browser, PHONE) as page:
        page.goto(site.url + "/tmon/readings")
        page.evaluate("document.querySelectorAll('a.only').forEach(link => link.remove())")
        rows = page.locator("tbody tr").all()
        cells = [row.locator("td:visible").all_inner_texts() for row in rows]
    assert ["|".join(texts) for texts in cells] == shown


def test_the_sql_editor_works_under_the_content_security_policy(
    browser: Browser, site: Site
) -> None:
    with visit(browser, DESK) as page:
        page.goto(site.url + "/tmon")
        page.locator(".cm-content").fill("select count(*) as n from readings")
        page.get_by_role("button", name="Format SQL").click()
        page.get_by_role("button", name="Run SQL").click()
        count = page.locator("td.col-n").inner_text()
    assert [int(count)] == site.values("select count(*) from readings")


def test_a_sensor_leads_to_its_page_and_to_its_readings(browser: Browser, site: Site) -> None:
    with visit(browser, DESK) as page:
        page.goto(site.url + "/tmon/readings")
        page.get_by_role("link", name="basement temperature", exact=True).first.click()
        page.wait_for_url("**/node/basement/temperature")
        page.go_back()
        page.get_by_role("link", name="only basement temperature").first.click()
        page.wait_for_url("**/tmon/readings?sensor=2")
        assert set(page.locator("td.col-sensor").all_inner_texts()) == {"basement temperature"}


def test_the_rows_come_before_what_their_columns_mean(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE) as page:
        page.goto(site.url + "/tmon/nodes")
        rows = page.locator("table.rows-and-columns").bounding_box()
        meaning = page.locator("dl.column-descriptions").bounding_box()
    assert rows is not None
    assert meaning is not None
    assert rows["y"] < meaning["y"]


def test_the_database_leads_to_every_query_and_table(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE) as page:
        page.goto(site.url + "/tmon")
        shown = page.locator("dl.contents dt a").all_inner_texts()
    assert shown[:7] == ["latest", "readings", "daily", "hourly", "sensors", "nodes", "rejected"]
    assert {"limits", "incidents", "events", "changes"} <= set(shown[7:])
    assert shown[-len(QUERIES) :] == [query["title"] for query in QUERIES.values()]


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
    with visit(browser, width) as shown:
        shown.goto(f"{site.url}/tmon/{page}")
        reason = shown.locator("td.col-reason").bounding_box()
        assert reason is not None
        assert reason["x"] + reason["width"] <= width
        cut = "[...document.querySelectorAll('td')].filter(td => td.scrollWidth > td.clientWidth)"
        assert shown.evaluate(f"{cut}.length") == 0
