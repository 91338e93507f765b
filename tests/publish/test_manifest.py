"""A phone can keep the station: its manifest and icons; on paper stands the content alone."""

import struct

import requests
from playwright.sync_api import Browser

from tests.publish.browsing import PHONE, visit
from tests.publish.published import Site


def test_a_phone_can_keep_the_station(browser: Browser, site: Site) -> None:
    with visit(browser, PHONE) as page:
        page.goto(site.url + "/")
        href = page.locator("link[rel=manifest]").get_attribute("href")
        errors = page.context.new_cdp_session(page).send("Page.getAppManifest")["errors"]
    assert errors == []
    answer = site.get(str(href))
    assert answer.headers["content-type"].startswith("application/manifest+json")
    manifest = answer.json()
    assert manifest["name"]
    assert site.get(manifest["start_url"]).status_code == 200
    for icon in manifest["icons"]:
        picture = site.get(icon["src"]).content
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert "{}x{}".format(*struct.unpack(">II", picture[16:24])) == icon["sizes"]


def test_the_manifest_is_in_the_language_of_the_browser(site: Site) -> None:
    path = site.url + "/manifest.webmanifest"
    answers = [
        requests.get(path, headers={"Accept-Language": wish}, timeout=60) for wish in ("de", "en")
    ]
    assert all("Accept-Language" in answer.headers["vary"] for answer in answers)
    german, english = (answer.json() for answer in answers)
    assert (german["lang"], english["lang"]) == ("de", "en")
    assert (german["name"], english["name"]) == ("Messwerte", "Sensor readings")
    assert german["description"].startswith("Temperaturen")
    assert [one["name"] for one in german["shortcuts"]] == [
        *("Vergleich", "Tabellen und Abfragen", "Abgewiesene Messwerte")
    ]
    for one, other in zip(german["shortcuts"], english["shortcuts"], strict=True):
        assert (one["url"], one["name"] != other["name"]) == (other["url"], True)
        assert site.get(one["url"]).status_code == 200


def test_on_paper_there_are_no_buttons(browser: Browser, site: Site) -> None:
    for path in ("/node/attic", "/tmon/readings", "/tmon/day", "/map", "/"):
        with visit(browser) as page:
            page.goto(site.url + path)
            page.wait_for_load_state("networkidle")
            page.emulate_media(media="print")
            assert page.locator("button:visible, input:visible, select:visible").count() == 0
            assert page.locator("h1:visible, .board:visible").count() > 0
