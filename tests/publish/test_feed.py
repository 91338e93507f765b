"""Incidents as an Atom feed."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import requests

from tests.publish.published import HOSTILE, MARCH_MS, Serve, Site
from tmon.db.connect import open_database

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module")
def watched(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("watched") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        db.execute("insert into sensors (id, node, name) values (1, 'attic', 'door/left')")
        rows = [
            ("T02", "critical", None, 1, "", "-3 °C is above -15 °C", None),
            ("T01", "warning", "attic", None, "", f"silent {HOSTILE} & ]]> \x00\x1b\ufffe", 60_000),
            ("T10", "warning", None, None, "disk", "nearly full", None),
        ]
        for number, (*row, lasted_ms) in enumerate(rows):
            from_ms = MARCH_MS + number
            db.execute(
                "insert into incidents (finding, severity, node, sensor, subject, reason, from_ms,"
                " to_ms) values (?, ?, ?, ?, ?, ?, ?, ?)",
                [*row, from_ms, lasted_ms and from_ms + lasted_ms],
            )
    return serve(path)


def feed_of(site: Site) -> ET.Element:
    answer = site.get("/incidents.atom")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    return ET.fromstring(answer.content)


def text(element: ET.Element, name: str) -> str:
    [found] = element.findall(ATOM + name)
    return found.text or ""


def href(element: ET.Element, rel: str) -> str:
    [link] = [one for one in element.findall(f"{ATOM}link") if one.get("rel") == rel]
    return link.get("href") or ""


def test_each_incident_is_an_entry_that_leads_to_its_page(watched: Site) -> None:
    feed = feed_of(watched)
    disk, silent, thaws = feed.findall(f"{ATOM}entry")
    assert text(thaws, "title") == "Critical: attic door/left: -3 °C is above -15 °C"
    assert text(thaws, "updated") == "2024-03-01T00:00:00Z"
    assert href(thaws, "alternate") == f"{watched.url}/node/attic/door/left"
    assert text(silent, "title").startswith("Over: attic: silent <script>")
    assert text(silent, "published") == "2024-03-01T00:00:00.001Z"
    assert text(silent, "updated") == "2024-03-01T00:01:00.001Z"
    assert text(disk, "title") == "Warning: disk: nearly full"
    assert href(disk, "alternate") == f"{watched.url}/tmon/incidents/3"
    for entry in (disk, thaws):
        assert requests.get(href(entry, "alternate"), timeout=60).status_code == 200


def test_the_feed_has_what_atom_requires(watched: Site) -> None:
    feed = feed_of(watched)
    assert text(feed, "id") == href(feed, "self") == f"{watched.url}/incidents.atom"
    assert text(feed, "updated") == "2024-03-01T00:01:00.001Z"
    assert text(feed, "title")
    assert feed.find(f"{ATOM}author/{ATOM}name") is not None
    ids = [text(entry, "id") for entry in feed.findall(f"{ATOM}entry")]
    assert len({*ids}) == len(ids) == 3
    for entry in feed.findall(f"{ATOM}entry"):
        assert {"id", "title", "updated"} <= {one.tag.removeprefix(ATOM) for one in entry}


def test_a_reader_that_has_it_is_told_no_more(watched: Site) -> None:
    tag = watched.get("/incidents.atom").headers["etag"]
    for known in (tag, f'"other", {tag}'):
        answer = requests.get(
            f"{watched.url}/incidents.atom", headers={"if-none-match": known}, timeout=60
        )
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag


def test_without_incidents_it_is_a_feed_all_the_same(empty: Site) -> None:
    feed = feed_of(empty)
    assert feed.findall(f"{ATOM}entry") == []
    assert text(feed, "updated") == "1970-01-01T00:00:00Z"


def test_it_is_short(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        for number in range(150):
            db.execute(
                "insert into incidents (finding, severity, subject, reason, from_ms)"
                " values ('T10', 'warning', ?, 'full', ?)",
                [f"disk {number}", MARCH_MS],
            )
    entries = feed_of(serve(path)).findall(f"{ATOM}entry")
    assert len(entries) == 100
    assert "disk 149" in text(entries[0], "title")


def test_our_pages_name_it(watched: Site) -> None:
    for page in ("/", "/node/attic"):
        assert 'type="application/atom+xml"' in watched.get(page).text
