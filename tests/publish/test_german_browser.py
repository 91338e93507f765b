"""Pages in German in a real browser: long words fit a phone, and scripts speak German too."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from scripts import sample_stations
from tests.publish.browsing import PHONE, scrolls_sideways, violations, visit
from tests.publish.published import Serve, Site
from tests.publish.walking import english_words

COMPARED = "/compare?s=roof/temperature&s=garden/temperature&before=week&range=7d"
PAGES = (
    *("/", "/?kiosk", "/node/freezer?range=7d", "/node/store-b/temperature?range=7d", "/compare"),
    *(COMPARED, f"{COMPARED}&kiosk", "/year/roof/temperature", "/map", "/refused", "/tmon"),
    *("/tmon/readings", "/tmon/day?node=roof", "/tmon/-/query", "/node/nobody"),
)


@pytest.fixture(scope="module")
def mixed(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("mixed") / "tmon.db"
    sample_stations.mixed(path)
    return serve(path)


@contextmanager
def german(browser: Browser, width: int = PHONE, **how: Any) -> Iterator[Page]:
    zone = {"locale": "de-DE", "timezone_id": "Europe/Berlin"}
    with visit(browser, width, **{**zone, **how}) as page:
        yield page


@pytest.mark.parametrize("path", PAGES)
def test_german_fits_a_phone_and_keeps_nobody_out(browser: Browser, mixed: Site, path: str) -> None:
    with german(browser, may_fail=path == "/node/nobody") as page:
        page.goto(mixed.url + path)
        page.wait_for_load_state("networkidle")
        assert not scrolls_sideways(page)
        assert violations(page) == []
        if not path.startswith("/tmon"):  # there, Datasette's own scripts add English words
            assert english_words(page.content()) == []


def test_scripts_and_the_server_write_the_same(browser: Browser, mixed: Site) -> None:
    """What a script shows again, such as an age, doesn't turn English."""
    with german(browser) as page:
        page.goto(mixed.url + "/")
        row = page.locator("li[data-sensor]").filter(has_text="humidity").first
        expect(row.locator("time")).to_have_text(re.compile(r"^vor \d+ (s|min)$"))
        page.get_by_role("button", name="°F").click()
        label = page.locator("li[data-unit='°C'] svg.day").first
        expect(label).to_have_attribute("aria-label", re.compile("^24 Stunden: tiefster Wert"))
        page.get_by_role("searchbox").fill("xyz")
        expect(page.locator("#sifted")).to_have_text("Kein Sensor passt zu „xyz“.")


def test_a_lost_connection_is_told_in_german(browser: Browser, mixed: Site) -> None:
    with german(browser, may_fail=True) as page:
        page.goto(mixed.url + "/")
        page.context.set_offline(True)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator(".heard")).to_have_text("keine Verbindung seit")


def test_months_and_zones_are_german(browser: Browser, mixed: Site) -> None:
    with german(browser) as page:
        page.goto(mixed.url + "/")
        since = page.locator(".attention li.silent time")
        expect(since).to_have_text(re.compile(r"^\d+\. [A-Z][a-zä]{2} \d\d:\d\d$"))
        expect(page.locator(".asof [data-zone]")).to_have_text(re.compile("^(MEZ|MESZ)$"))


def test_charts_speak_german(browser: Browser, mixed: Site) -> None:
    with german(browser) as page:
        page.goto(mixed.url + COMPARED)
        page.wait_for_selector(".chart canvas")
        page.locator(".chart .u-over").hover()
        readout = page.locator(".chart .readout")
        expect(readout).to_have_text(re.compile("eine Woche zuvor .*°C"))
        expect(page.locator(".key.before").first).to_have_text(re.compile("eine Woche zuvor$"))
        page.get_by_role("button", name="Link kopieren").click()
        expect(page.locator("[data-share=link]")).to_have_text(
            re.compile("^(Kopiert|Oben kopieren)$")
        )
        assert english_words(page.content()) == []


def test_the_chart_of_a_query_speaks_german(browser: Browser, mixed: Site) -> None:
    with german(browser) as page:
        page.goto(mixed.url + "/tmon/readings?sensor=1")
        page.get_by_role("button", name="Diagramm").click()
        page.wait_for_selector(".chart canvas")
        expect(page.locator(".chart-here .note")).to_have_text(
            re.compile(r"^Die ersten 2\u202f000 Zeilen. Zeiten sind (MEZ|MESZ)\.$")
        )
        plot = page.locator(".chart-here .plot")
        expect(plot).to_have_attribute("aria-label", re.compile("mit den Pfeiltasten"))
