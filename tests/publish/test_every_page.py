"""Datasette's own pages look like ours, in light and dark, and keep nobody out."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from tests.publish.browsing import (
    PHONE,
    looks,
    scrolls_sideways,
    violations,
    visit,
)
from tests.publish.published import MARCH_MS, Site

DARK = 64  # of 255, the most that any colour of a dark background has
SQL = """select node, 'text' as text, 1.5 as half, null as none, measured_at -- a comment
from latest where value is not null and node = :node or true /* or more */ order by "node\""""

PAGES = (
    "/-/",
    "/tmon",
    "/tmon/readings",
    "/tmon/readings?sensor=1&_facet=sensor&_size=5",
    f"/tmon/readings?_next={MARCH_MS + 100 * 3_600_000},1,{MARCH_MS + 100 * 3_600_000}",
    f"/tmon/readings/1,{MARCH_MS}",
    "/tmon/readings#chart",
    "/tmon/latest",
    "/tmon/daily",
    "/tmon/nodes",
    "/tmon/nodes/attic",
    "/tmon/rejected",
    "/tmon/day",
    "/tmon/silent_nodes?_show_sql=1",
    "/tmon/silent_nodes",
    f"/tmon/-/query?sql={quote(SQL)}",
    "/tmon/-/query?sql=select+1+where+0",
    "/tmon/-/query",
    "/tmon/-/queries",
    "/tmon/-/schema",
    "/map",
    "/-/versions",
)
WRONG = (
    "/tmon/nowhere",
    "/tmon/readings?_sort=nothing",
    "/tmon/-/query?sql=select+nothing",
    "/tmon/-/query?sql=delete+from+nodes",
)


@pytest.mark.parametrize(("path", "width", "scheme"), looks(PAGES + WRONG))
def test_a_page_keeps_nobody_out(
    browser: Browser, site: Site, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, may_fail=path in WRONG, color_scheme=scheme) as page:
        page.goto(site.url + path)
        if "#chart" in path:
            page.wait_for_selector(".chart canvas")
        assert not scrolls_sideways(page)
        assert violations(page) == []
        if scheme == "dark":
            assert shining(page) == []


def shining(page: Page) -> list[str]:
    """What has a light background; a button in the colour of links has dark text on it."""
    seen = page.evaluate("""
        [...document.querySelectorAll("body, body *")]
        .filter((one) => one.checkVisibility() && one.type !== "submit")
        .map((one) => [one.outerHTML.slice(0, 80), getComputedStyle(one)])
        .map(([html, style]) => [html, style.backgroundColor, style.backgroundImage])
    """)
    return [html for html, colour, image in seen if is_light(colour) or image != "none"]


def is_light(colour: str) -> bool:
    red, green, blue, *alpha = (float(part) for part in re.findall(r"[\d.]+", colour))
    return alpha != [0] and max(red, green, blue) > DARK


@pytest.mark.parametrize("path", ["/tmon/readings", "/tmon/day", "/tmon", "/node/attic"])
def test_every_page_has_the_same_top_and_foot(browser: Browser, site: Site, path: str) -> None:
    with visit(browser) as page:
        page.goto(site.url + path)
        assert page.locator("header.masthead nav a").count() > 0
        assert page.locator("main").count() == 1
        assert page.locator("h1").count() == 1
        assert page.locator("footer.foot").count() == 1
        assert (
            page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 249)"
        )


def test_without_scripts_readings_can_be_walked(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE, java_script_enabled=False) as page:
        page.goto(site.url + "/tmon/readings")
        first = page.locator("tbody tr").first.inner_text()
        page.get_by_role("link", name="Earlier").first.click()
        assert page.locator("tbody tr").first.inner_text() != first
        page.get_by_role("link", name="Later").last.click()
        assert page.locator("tbody tr").first.inner_text() == first
        assert page.get_by_role("button", name="Chart").count() == 0


def test_a_dialog_is_dark_in_the_dark(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE, color_scheme="dark") as page:
        page.goto(site.url + "/tmon/readings")
        page.get_by_text("Filter and sort").last.click()
        for button in ("Choose columns", "Column actions"):
            page.get_by_role("button", name=button).click()
            page.wait_for_selector("dialog[open]")
            page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
            assert [one for one in violations(page) if "color-contrast" in one] == []
            page.keyboard.press("Escape")
