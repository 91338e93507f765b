"""The sitemap has the pages, and robots.txt keeps crawlers from what has no end."""

import re
from pathlib import Path
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree as ET

from tests.publish.published import Serve, Site
from tmon.db.connect import open_database

SITEMAP = {"map": "http://www.sitemaps.org/schemas/sitemap/0.9"}


def locations(site: Site, page: str) -> list[str]:
    answer = site.get(page)
    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    found = ET.fromstring(answer.content).iterfind("./*/map:loc", SITEMAP)
    return [str(location.text) for location in found]


def test_the_sitemap_has_all_pages_and_all_exist(site: Site) -> None:
    listed = locations(site, "/sitemap.xml")
    nodes = [f"{site.url}/node/{name}" for name in site.values("select name from nodes")]
    tables = [f"{site.url}/tmon/{name}" for name in ("readings", "hourly", "daily", "latest")]
    assert {f"{site.url}/", *nodes, *tables} <= set(listed)
    assert not any("_sqlite_migrations" in url for url in listed)
    for url in listed:
        assert site.get(url.removeprefix(site.url)).status_code == 200, url


def test_the_sitemap_tells_when_a_node_was_last_heard(site: Site) -> None:
    text = site.get("/sitemap.xml").text
    assert f"<loc>{site.url}/node/attic</loc><lastmod>2024-03-01T00:00:00Z</lastmod>" in text
    assert f"<loc>{site.url}/node/cellar</loc></url>" in text


def test_a_sitemap_that_would_be_too_long_is_several(serve: Serve, tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        db.execute(
            "with recursive counted (n) as"
            " (select 1 union all select n + 1 from counted limit 40001)"
            " insert into nodes (name, uid, created_ms) select 'n' || n, n, 0 from counted"
        )
    site = serve(tmp_path / "tmon.db")
    parts = locations(site, "/sitemap.xml")
    assert parts == [f"{site.url}/sitemap-0.xml", f"{site.url}/sitemap-1.xml"]
    listed = [locations(site, part.removeprefix(site.url)) for part in parts]
    assert max(map(len, listed)) <= 50_000
    nodes = {url for part in listed for url in part if "/node/" in url}
    assert len(nodes) == 40_001
    assert f"{site.url}/" in listed[0]
    assert site.get("/sitemap-2.xml").status_code == 404


def may_crawl(robots: str, path: str) -> bool:
    """As RFC 9309 says: the longest rule that matches holds."""
    rules = re.findall(r"^(Allow|Disallow): (.+)$", robots, re.MULTILINE)
    matching = [
        (len(rule), allowed == "Allow")
        for allowed, rule in rules
        if re.match(re.escape(rule).replace(r"\*", ".*").replace(r"\$", "$"), path)
    ]
    return bool(max(matching)[1])


def test_crawlers_may_see_pages_and_not_what_has_no_end(site: Site) -> None:
    robots = site.get("/robots.txt")
    assert robots.headers["content-type"].startswith("text/plain")
    pages = ["/", "/-/", "/node/attic", "/node/attic/temperature", "/tmon/readings", "/tmon/day"]
    files = ["/static/tmon.css?_hash=1", "/-/static/app.css", "/datapackage.json", "/sitemap.xml"]
    compared = "/compare?s=attic/temperature&s=garden/temperature"
    for path in (*pages, *files, compared):
        assert may_crawl(robots.text, path), path
    for path in (
        *("/tmon/readings?_next=1", "/tmon/readings?_sort=value", "/tmon/readings/1,17092512"),
        *("/tmon/-/query?sql=select+1", "/tmon/readings.csv", "/tmon/readings.json", "/-/config"),
        *(f"{compared}&{more}" for more in ("range=1y", "from=2024-03-01", "before=year")),
        *("/node/attic?range=1y", "/node/attic.json", "/tmon/day?node=attic", "/?silent=first"),
    ):
        assert not may_crawl(robots.text, path), path
    assert f"Sitemap: {site.url}/sitemap.xml\n" in robots.text


def test_who_shows_a_shared_link_may_see_its_chart(site: Site) -> None:
    robots = RobotFileParser()
    robots.parse(site.get("/robots.txt").text.splitlines())
    picture = f"{site.url}/node/attic/temperature.png?range=24h"
    assert robots.can_fetch("Twitterbot", picture)
    assert robots.can_fetch("facebookexternalhit/1.1", picture)
