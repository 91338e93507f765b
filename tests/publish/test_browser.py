"""A real browser: the values that SQL gives, where people look for them."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

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
        page.goto(site.url + "/tmon/-/query")
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
        page.get_by_text("Columns", exact=True).click()
        rows = page.locator("table.rows-and-columns").bounding_box()
        meaning = page.locator("dl.column-descriptions").bounding_box()
    assert rows is not None
    assert meaning is not None
    assert rows["y"] < meaning["y"]


def test_the_database_leads_to_every_query_and_table(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE) as page:
        page.goto(site.url + "/tmon")
        shown = page.locator("dl.contents dt a").all_inner_texts()
    assert shown[: len(QUERIES)] == [query["title"] for query in QUERIES.values()]
    tables = shown[len(QUERIES) :]
    assert tables[:7] == ["latest", "readings", "daily", "hourly", "sensors", "nodes", "rejected"]
    assert {"limits", "incidents", "events", "changes"} <= set(tables[7:])
    assert not [name for name in tables if name.endswith("_clean")]  # folded


def test_a_question_offers_the_nodes_and_a_date_field(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE) as page:
        page.goto(site.url + "/tmon/day")
        nodes = page.locator("#choices-node option").evaluate_all("all => all.map((o) => o.value)")
        page.get_by_label("Node").fill("attic")
        page.get_by_label("Day (UTC)").fill("2024-03-01")
        page.get_by_role("button", name="Show").click()
        assert set(page.locator("td.col-node").all_inner_texts()) == {"attic"}
        assert page.get_by_label("Day (UTC)").input_value() == "2024-03-01"
    assert [[name] for name in nodes] == [
        [name] for name in site.values("select name from nodes order by name")
    ]


def test_a_typo_keeps_the_query(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE, may_fail=True) as page:
        for sql in ("selec value from readings", "select valu from readings"):
            page.goto(f"{site.url}/tmon/-/query?sql={sql}")
            assert page.locator(".message-error").is_visible()
            shown = page.locator("textarea[name=sql]").first
            assert shown.input_value() == sql


def test_the_sql_page_begins_with_an_example_and_the_questions(
    browser: Browser, site: Site
) -> None:
    with visit(browser, DESK) as page:
        page.goto(site.url + "/tmon/-/query")
        questions = page.locator(".questions li a").all_inner_texts()
        page.get_by_role("button", name="Run SQL").click()
        assert page.locator(".message-error").count() == 0
        assert page.locator(".table-summary").is_visible()
    assert questions == [query["title"] for query in QUERIES.values()]


def test_refusals_and_downloads_are_in_the_visitors_zone(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE, timezone_id="Asia/Tokyo") as page:
        page.goto(site.url + "/refused")
        times = page.locator("main time")
        expect(page.locator("main [data-zone]").first).to_have_text("GMT+9")
        shown = times.first.inner_text()
        exact = str(times.first.get_attribute("datetime"))
    at = datetime.fromisoformat(exact).astimezone(timezone(timedelta(hours=9)))
    assert shown == f"{at:%Y-%m-%d %H:%M:%S}"


def test_times_are_in_the_visitors_zone_until_utc_is_asked_for(
    browser: Browser, site: Site
) -> None:
    march = "/tmon/readings/1,1709251200000"
    with visit(browser, DESK, timezone_id="Asia/Tokyo") as page:
        page.goto(site.url + march)
        expect(page.locator("h1")).to_contain_text("2024-03-01 09:00:00 GMT+9")
        expect(page.locator("td time")).to_have_text("2024-03-01 09:00:00")
        page.get_by_role("button", name="UTC").click()
        expect(page.locator("h1")).to_contain_text("2024-03-01 00:00:00 UTC")
        page.goto(site.url + march)
        expect(page.locator("td time")).to_have_text("2024-03-01 00:00:00")


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize(
    "path",
    [
        *("/tmon", "/tmon/readings", "/tmon/daily", "/tmon/nodes/attic", "/tmon/day"),
        *("/tmon/-/query", "/", "/?kiosk", "/?view=tiles", "/map", "/refused"),
        *("/node/basement", "/node/attic/temperature?range=all", "/compare"),
        "/compare?s=attic/temperature&s=basement/humidity&range=all&before=year",
        "/year/attic/temperature?year=2024",
    ],
)
def test_nothing_moves_while_a_page_loads(
    browser: Browser, site: Site, path: str, width: int
) -> None:
    with visit(browser, width) as page:
        page.add_init_script(
            "window.moved = 0;"
            "const add = (list) => list.getEntries().forEach((e) => { window.moved += e.value; });"
            "new PerformanceObserver(add).observe({type: 'layout-shift', buffered: true})"
        )
        page.goto(site.url + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.moved") <= 0.02


def test_a_nodes_row_leads_to_its_page(browser: Browser, site: Site) -> None:
    with visit(browser, DESK) as page:
        page.goto(site.url + "/tmon/nodes/attic")
        page.get_by_role("link", name="Its sensors and charts").click()
        page.wait_for_url("**/node/attic")


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
