"""Scripts of other sites, in a real browser: what they may read, and what they may not."""

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.publish.browsing import visit
from tests.publish.published import Site, served

DATA = (
    "/tmon/latest.json?_shape=array",
    "/tmon/readings.csv",
    "/node/attic/temperature.svg",
    "/node/attic.json",
    "/incidents.atom",
    "/-/prometheus",
    "/datapackage.json",
    "/download/tmon.db",
)
FETCH = """async ([url, headers, method]) => {
  try {
    const answer = await fetch(url, {headers, method});
    const body = await answer.arrayBuffer();
    return [answer.status, body.byteLength, Object.fromEntries(answer.headers)];
  } catch (error) {
    return [0, 0, {error: String(error)}];
  }
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def other(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of another site."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "index.html").write_text("<!DOCTYPE html><title>another site</title>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
    yield page
    page.close()
    server.shutdown()
    server.server_close()


def fetch(
    page: Page, url: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, int, dict[str, str]]:
    """Status, bytes and the headers that the script sees."""
    status, size, seen = page.evaluate(FETCH, [url, headers or {}, method])
    return status, size, seen


@pytest.mark.parametrize("path", DATA)
def test_data_can_be_read(other: Page, offering: Site, path: str) -> None:
    status, size, _ = fetch(other, offering.url + path)
    assert status == 200
    assert size > 0
    assert fetch(other, offering.url + path, method="HEAD")[:2] == (200, 0)


def test_a_download_can_be_read_in_parts_and_resumed(other: Page, offering: Site) -> None:
    url = f"{offering.url}/download/tmon.db"
    _, whole, headers = fetch(other, url)
    etag = headers["etag"]
    assert headers["accept-ranges"] == "bytes"
    status, size, headers = fetch(other, url, {"Range": "bytes=100-199"})
    assert (status, size) == (206, 100)
    assert headers["content-range"] == f"bytes 100-199/{whole}"
    assert headers["etag"] == etag
    resumed = {"Range": f"bytes={whole - 10}-", "If-Range": etag}  # these ask before they read
    assert fetch(other, url, resumed)[:2] == (206, 10)
    assert fetch(other, url, {"If-None-Match": etag})[0] in {200, 304}
    assert fetch(other, url, {"Range": f"bytes={whole}-"})[0] == 416


def test_headers_that_grafana_and_others_add_do_no_harm(other: Page, offering: Site) -> None:
    added = {"X-Grafana-Device-Id": "1", "Content-Type": "application/json", "X-Any": "1"}
    assert fetch(other, offering.url + DATA[0], added)[0] == 200


def test_an_error_can_be_read_too(other: Page, offering: Site) -> None:
    assert fetch(other, f"{offering.url}/tmon/nowhere.json")[0] == 404


@pytest.mark.parametrize("path", ["/", "/tmon/readings", "/refused"])
def test_a_page_can_not(other: Page, offering: Site, path: str) -> None:
    assert "error" in fetch(other, offering.url + path)[2]


def test_nothing_but_reading_is_allowed(other: Page, offering: Site) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert "error" in fetch(other, offering.url + DATA[0], method=method)[2]


def test_one_setting_turns_it_off(other: Page, offering: Site) -> None:
    with served(offering.path, cors="no") as site:
        for headers in ({}, {"X-Any": "1"}):
            assert "error" in fetch(other, site.url + DATA[0], headers)[2]


def test_our_own_pages_read_as_before(browser: Browser, offering: Site) -> None:
    with visit(browser) as page:
        page.goto(offering.url + "/")
        assert fetch(page, offering.url + DATA[0])[0] == 200


def test_the_addresses_for_readers_answer(offering: Site) -> None:
    page = (Path(__file__).parents[2] / "docs/connect.md").read_text()
    paths = set(re.findall(r"https?://STATION(?::8001)?(/[^\s`\"]+)", page))
    assert len(paths) >= 6
    for path in paths:
        assert offering.get(path).status_code == 200, path
