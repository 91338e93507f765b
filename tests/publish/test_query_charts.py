"""The rows of a page as a chart: what SQL gives, and where its address says."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.publish.browsing import DESK, PHONE, visit
from tests.publish.published import HOUR_MS, MARCH_MS, Site
from tests.station import wait_for

ATTIC = "from readings where sensor = 1 order by measured_ms"
PLACES = f"""
    select measured_ms, case value > 15 when 1 then 'warm' else 'cold' end as side, value {ATTIC}
"""


def query(site: Site, sql: str, chart: str = "") -> str:
    return f"{site.url}/tmon/-/query?sql={quote(sql)}{chart}"


def keep_drawings(page: Page) -> None:
    """Have the page remember what uPlot is given to draw."""
    page.add_init_script("""
        window.drawings = [];
        Object.defineProperty(window, "uPlot", {
          get: () => window.kept,
          set: (real) => {
            window.kept = class extends real {
              constructor(...given) { super(...given); window.drawings.push(this); }
            };
            Object.assign(window.kept, real);
          },
        });
    """)


def drawings(page: Page) -> list[list[list[Any]]]:
    """Of each chart on the page, its times and its lines' values."""
    page.wait_for_selector(".chart canvas")
    told = page.evaluate("""
        JSON.stringify(window.drawings.filter((one) => one.root.isConnected).map((one) => one.data))
    """)
    found: list[list[list[Any]]] = json.loads(told)
    return found


def legend(page: Page) -> list[str]:
    return page.locator(".chart .key").all_inner_texts()


def test_a_querys_chart_shows_what_sql_gives(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        keep_drawings(page)
        page.goto(query(site, f"select measured_ms, value, value * 2 as twice {ATTIC}"))
        page.get_by_role("button", name="Chart").click()
        [[times, values]] = drawings(page)
        points = dict(zip(times, values, strict=True))
        assert page.url.endswith("#chart=value")
        assert legend(page) == ["value"]
    known = json.loads(
        site.values(f"select json_group_object(measured_ms, value) from (select * {ATTIC})")[0]
    )
    assert {str(time): value for time, value in points.items() if value is not None} == known


def test_a_week_without_readings_is_a_gap(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        keep_drawings(page)
        page.goto(query(site, f"select measured_at, value {ATTIC}", "#chart=value"))
        [[times, values]] = drawings(page)
    gaps = [time for time, value in zip(times, values, strict=True) if value is None]
    assert len(gaps) == 1
    assert MARCH_MS + 5 * 24 * HOUR_MS < gaps[0] < MARCH_MS + 12 * 24 * HOUR_MS


def test_the_cursor_tells_the_value_under_it(browser: Browser, site: Site) -> None:
    with visit(browser, timezone_id="Asia/Kathmandu") as page:
        page.goto(query(site, f"select measured_ms, value {ATTIC} limit 3", "#chart=value"))
        plot = page.locator(".chart .u-over")
        box = plot.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        expect(page.locator(".chart .readout")).to_have_text("2024-03-01 06:45:00  10.5")
        expect(page.get_by_role("status")).to_contain_text("GMT+5:45")


def test_an_open_chart_follows_the_visitors_choices(browser: Browser, site: Site) -> None:
    with visit(browser, timezone_id="Asia/Kathmandu") as page:
        page.goto(f"{site.url}/tmon/readings?sensor=1#chart=value")
        expect(page.locator(".chart .unit")).to_have_text("°C")
        page.get_by_role("button", name="°F").click()
        expect(page.locator(".chart .unit")).to_have_text("°F")
        expect(page.locator("td.col-value").first).to_contain_text("°F")
        page.get_by_role("button", name="UTC").click()
        expect(page.get_by_role("status")).to_contain_text("Times are UTC.")
        page.get_by_role("button", name="°F").click()
        expect(page.locator(".chart .unit")).to_have_text("°C")


def test_the_cursor_is_moved_by_keys(browser: Browser, site: Site) -> None:
    with visit(browser, timezone_id="UTC") as page:
        page.goto(query(site, f"select measured_ms, value {ATTIC} limit 3"))
        page.get_by_role("button", name="Chart").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(".chart canvas")
        page.locator(".chart .plot").focus()
        readout = page.locator(".chart .readout")
        for key, told in (
            ("ArrowRight", "2024-03-01 01:00:00  10.5"),
            ("ArrowRight", "2024-03-01 02:00:00  11"),
            ("ArrowLeft", "2024-03-01 01:00:00  10.5"),
        ):
            page.keyboard.press(key)
            expect(readout).to_have_text(told)


def test_texts_tell_lines_apart(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        keep_drawings(page)
        page.goto(query(site, PLACES, "#chart=value"))
        [[_, cold, warm]] = drawings(page)
        assert legend(page) == ["cold", "warm"]
    assert sorted(value for value in cold + warm if value is not None) == sorted(
        site.values(f"select value {ATTIC}")
    )
    assert max(value for value in cold if value is not None) <= 15  # see PLACES


def test_each_unit_has_its_chart_and_each_sensor_its_name(browser: Browser, site: Site) -> None:
    sql = "select sensor, measured_ms, value from readings where sensor > 1 order by measured_ms"
    with visit(browser) as page:
        page.goto(query(site, sql, "#chart=value"))
        page.wait_for_selector(".chart canvas")
        assert legend(page) == ["basement load", "basement humidity", "basement temperature"]
        assert page.locator(".chart .unit").all_inner_texts() == ["", "%", "°C"]


def test_what_is_chosen_is_in_the_address_and_opened_from_there(
    browser: Browser, site: Site
) -> None:
    with visit(browser, PHONE, color_scheme="dark") as page:
        page.goto(query(site, f"select measured_ms, value, sensor * 7 as seven {ATTIC}"))
        page.get_by_role("button", name="Chart").click()
        page.get_by_label("of").select_option("seven")
        page.wait_for_url("**#chart=seven")
        expect(page.locator(".chart .key")).to_have_text("seven")
        address = page.url
    with visit(browser, PHONE) as page:
        keep_drawings(page)
        page.goto(address)
        [[_, values]] = drawings(page)
        assert {value for value in values if value is not None} == {7}
        page.get_by_role("button", name="Chart").click()
        expect(page.locator(".chart")).to_have_count(0)
        assert "#" not in page.url


def test_a_drag_zooms_and_a_double_click_leads_back(browser: Browser, site: Site) -> None:
    with visit(browser) as page:
        keep_drawings(page)
        page.goto(query(site, f"select measured_ms, value {ATTIC}", "#chart=value"))
        page.wait_for_selector(".chart canvas")
        span = "drawings.at(-1).scales.x.max - drawings.at(-1).scales.x.min"
        whole = page.evaluate(span)
        box = page.locator(".chart .u-over").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
        page.mouse.up()
        wait_for(lambda: page.evaluate("drawings.length") == 2)
        assert page.evaluate(span) == pytest.approx(whole / 4, rel=0.02)
        page.locator(".chart .u-over").dblclick()
        wait_for(lambda: page.evaluate("drawings.length") == 3)
        assert page.evaluate(span) == whole


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/tmon/readings?sensor=1", ["value"]),
        ("/tmon/daily?sensor=1", ["mean", "min", "max"]),
        ("/tmon/hourly?sensor=1", ["min", "max"]),
        ("/tmon/day?node=basement", ["load", "humidity", "temperature"]),
    ],
)
def test_tables_and_stored_queries_are_charted(
    browser: Browser, site: Site, path: str, lines: list[str]
) -> None:
    with visit(browser, DESK) as page:
        page.goto(site.url + path)
        page.get_by_role("button", name="Chart").click()
        page.wait_for_selector(".chart canvas")
        assert sorted(legend(page)) == sorted(lines)


def test_more_lines_and_rows_than_can_be_told_apart_are_cut_and_said_so(
    browser: Browser, site: Site
) -> None:
    many = """
        with recursive counted (n) as (select 0 union all select n + 1 from counted limit 3000)
        select 'p' || (n % 12) as place, 1709251200000 + n * 1000 as measured_ms, n from counted
    """
    with visit(browser) as page:
        keep_drawings(page)
        page.goto(query(site, many, "#chart=n"))
        [[times, *lines]] = drawings(page)
        assert len(lines) == 8  # colours
        assert len(times) <= 2000
        expect(page.get_by_role("status")).to_contain_text("8 of 12 lines. The first 2,000 rows.")


@pytest.mark.parametrize(
    "page",
    [
        "/tmon/-/query?sql=select+value+from+readings+limit+5",
        "/tmon/-/query?sql=select+measured_ms,+'text'+as+text+from+readings+limit+5",
        "/tmon/-/query?sql=select+1+as+n,+measured_ms+from+readings+where+0",
        "/tmon/latest",
        "/tmon/nodes",
        "/tmon/rejected",
        f"/tmon/readings/1,{MARCH_MS}",
    ],
)
def test_without_a_time_and_numbers_there_is_no_button(
    browser: Browser, site: Site, page: str
) -> None:
    with visit(browser) as shown:
        shown.goto(site.url + page)
        expect(shown.get_by_role("button", name="Chart")).to_have_count(0)


def test_hostile_names_come_out_inert(browser: Browser, site: Site) -> None:
    sql = "select measured_ms, (sensor % 2) || (select description from nodes) as s, value"
    with visit(browser) as page:
        page.goto(query(site, f"{sql} from readings", "#chart=value"))
        page.wait_for_selector(".chart canvas")
        assert page.title() != "hit"
        assert page.locator(".chart .key bdi script").count() == 0
        assert "<script>" in page.locator(".chart .key bdi").first.inner_text()
