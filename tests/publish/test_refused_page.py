"""The pages ``/refused`` and ``/try``, for people whose readings don't arrive."""

import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from tests.publish.browsing import looks, scrolls_sideways, violations, visit
from tests.publish.published import HOSTILE, Serve, Site
from tests.station import Station, station_in_process
from tests.test_docs import refusal_codes
from tests.wires.devices import Device
from tests.wires.test_devices import Home
from tests.wires.test_wires import ECOWITT
from tmon.core.advice import ADVICE
from tmon.db.connect import open_database


class Both(NamedTuple):
    """A station with ingest and pages."""

    station: Station
    site: Site


@pytest.fixture(scope="module")
def both(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with station_in_process(tmp_path_factory.mktemp("refusing")) as station:
        yield Both(station, serve(station.path))


@pytest.fixture(scope="module")
def refused(both: Both) -> Both:
    """What ``attic`` and the gateway ``hall`` sent was refused for five reasons."""
    attic, hall = Device(both.station, "attic"), Home(both.station)
    for _ in range(3):
        attic.post("/k/KEY/readings", '[{"value": "x"}, {"sensor": "b", "value": 1e99}]')
    attic.post("/k/KEY/readings", f'[{{"value": 1, "{HOSTILE}": 1, "password": "KEY"}}]')
    attic.post("/k/KEY", "{" + HOSTILE)
    attic.post("/write?p=KEY", "temperature " + "value" * 100)
    hall.post("/k/KEY", "a=1")
    hall.post("/k/KEY/shed", "temperature=1")
    hall.run("device", "adopt", "shed", "shed")
    hall.post("/k/KEY/shed", "temperature=x")
    return both


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_each_kind_is_shown_once_with_its_reason_and_what_to_do(refused: Both) -> None:
    page = refused.site.get("/refused").text
    text = words(page)
    assert text.count("value must be a number, not 'x'") == 1  # shed's
    assert text.count("value must be a number") == 2
    assert "3 times, last at 2" in text
    assert "Send a number." in text
    assert "temperature = x" in text
    assert "value 1e+99 is beyond 1e+30" in text
    assert "shed by the gateway hall" in text
    assert "Gateway hall once" not in text
    assert "doesn't say which device" in text
    assert "<script>document" not in page
    assert "&lt;script&gt;" in page
    assert "<code>tmon key get NODE</code>" not in page
    for secret in (Device(refused.station, "attic").key, Home(refused.station).key):
        assert secret not in page


def test_a_node_or_a_gateway_can_be_chosen(refused: Both) -> None:
    of_shed = words(refused.site.get("/refused", node="shed").text)
    assert ("shed by the gateway hall" in of_shed, "attic" in of_shed) == (True, False)
    of_hall = words(refused.site.get("/refused", node="hall").text)
    assert ("shed by the gateway hall" in of_hall, "Gateway hall" in of_hall) == (True, True)
    of_nobody = refused.site.get("/refused", node=HOSTILE)
    assert of_nobody.status_code == 200
    assert "<script>document" not in of_nobody.text
    assert "Nothing of" in words(of_nobody.text)
    assert "?node=attic" in refused.site.get("/refused", node="attic").text


def test_the_empty_page_says_so(empty: Site) -> None:
    assert "Nothing was refused." in words(empty.get("/refused").text)


def test_pages_lead_to_it(site: Site, empty: Site) -> None:
    assert '/refused"' in empty.get("/").text
    assert '/refused"' in site.get("/tmon/readings").text
    assert '/refused?node=basement"' in site.get("/node/basement").text


def test_every_code_has_its_advice() -> None:
    assert refusal_codes() - ADVICE.keys() == set()


def test_one_noisy_sensor_hides_nobody(refused: Both) -> None:
    insert = "insert into rejected (received_ms, node, code, reason) values (0, ?, 'conflict', ?)"
    with open_database(refused.station.path) as db:
        db.conn.executemany(insert, [("noisy", str(number)) for number in range(5000)])
    text = words(refused.site.get("/refused").text)
    assert text.index("noisy 4999") < text.index("attic")
    assert "5,000 times" in text


@pytest.mark.parametrize(("path", "width", "scheme"), looks(["/refused", "/refused?node=attic"]))
def test_it_keeps_nobody_out(
    browser: Browser, refused: Both, path: str, width: int, scheme: Any
) -> None:
    with visit(browser, width, color_scheme=scheme, java_script_enabled=False) as page:
        page.goto(refused.site.url + path)
        page.get_by_role("searchbox").fill("shed")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("heading", name="shed")).to_be_visible()
        expect(page.get_by_role("heading", name="attic")).to_have_count(0)
    with visit(browser, width, color_scheme=scheme) as page:
        page.goto(refused.site.url + path)
        assert not scrolls_sideways(page)
        assert violations(page) == []
        assert page.title() != "hit"


@pytest.mark.parametrize(
    ("text", "width", "scheme"), looks([ECOWITT, "m value=1\nm value=x", f"?{HOSTILE}=1", "{"])
)
def test_a_request_is_tried_with_and_without_scripts(
    browser: Browser, both: Both, text: str, width: int, scheme: Any
) -> None:
    for scripts in (True, False):
        with visit(
            browser, width, may_fail=True, color_scheme=scheme, java_script_enabled=scripts
        ) as page:
            page.goto(f"{both.station.url}/try")
            page.get_by_role("textbox").fill(text)
            page.get_by_role("button", name="Try it").click()
            while page.get_by_text("others try something too").count():  # another test was faster
                page.get_by_role("button", name="Try it").click()
            expect(page.get_by_text("Read as")).to_be_visible()
            assert not scrolls_sideways(page)
            assert not scripts or violations(page) == []
