"""What machines are told of the data is what metadata.yml and SQL tell, and links to all of it."""

import asyncio
import csv
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.publish.published import HOSTILE, Serve, Site
from tests.station import Process, answers, wait_for
from tmon.db.connect import open_database
from tmon.importer import demo
from tmon.serve.datasette_app import datasette_for, start

PUBLIC = "https://air.example.org/cellar"
FILES = ("/robots.txt", "/sitemap.xml", "/datapackage.json")
ELSEWHERE = ("https://schema.org/", "https://creativecommons.org/", "http://www.sitemaps.org/")
METADATA = yaml.safe_load((Path(__file__).parents[2] / "metadata.yml").read_text(encoding="utf-8"))
LINKED_DATA = re.compile(r'<script type="application/ld\+json">(.*?)</script>', re.DOTALL)


def linked_data(html: str) -> dict[str, Any]:
    """The page's one ``Dataset``."""
    [text] = LINKED_DATA.findall(html)
    dataset: dict[str, Any] = json.loads(text)
    assert dataset["@type"] == "Dataset"
    return dataset


def dataset_of(site: Site, page: str) -> dict[str, Any]:
    return linked_data(site.get(page).text)


def at(site: Site, instant: str, where: str = "true") -> str:
    """The first (``min``) or last (``max``) instant of readings, without a zero fraction."""
    [text] = site.values(f"select {instant}(measured_at) from readings where {where}")
    return str(text).replace(".000Z", "Z")


def test_the_station_is_described_as_metadata_and_sql_tell(site: Site) -> None:
    dataset = dataset_of(site, "/")
    assert dataset["name"] == METADATA["title"]
    assert dataset["description"] == METADATA["description"]
    assert "license" not in dataset  # until the owner chooses one
    assert dataset["keywords"] == ["sensors", "readings", "time series"]
    assert dataset["url"] == site.url + "/"
    assert dataset["temporalCoverage"] == f"{at(site, 'min')}/.."
    assert dataset["dateModified"] == at(site, "max")
    assert dataset["variableMeasured"] == [
        {"@type": "PropertyValue", "name": "humidity", "unitText": "%", "unitCode": "P1"},
        {"@type": "PropertyValue", "name": "load"},
        {"@type": "PropertyValue", "name": "temperature", "unitText": "°C", "unitCode": "CEL"},
    ]


@pytest.mark.parametrize(
    ("page", "sensors", "goes_on"),
    [
        ("/node/attic", "1", False),
        ("/node/basement", "2, 3, 4", True),
        ("/node/basement/load", "4", True),
    ],
)
def test_a_node_and_a_sensor_have_their_own_times(
    site: Site, page: str, sensors: str, goes_on: bool
) -> None:
    dataset = dataset_of(site, page)
    where = f"sensor in ({sensors})"
    until = ".." if goes_on else at(site, "max", where)
    assert dataset["temporalCoverage"] == f"{at(site, 'min', where)}/{until}"
    assert dataset["url"] == site.url + page
    assert dataset["isPartOf"]["url"] == site.url + "/"


@pytest.mark.parametrize(
    ("page", "sensors"),
    [("/", "1, 2, 3, 4"), ("/node/attic", "1"), ("/node/basement", "2, 3, 4")],
)
def test_every_distribution_has_all_of_those_readings(site: Site, page: str, sensors: str) -> None:
    links = {
        each["encodingFormat"]: each["contentUrl"].removeprefix(site.url)
        for each in dataset_of(site, page)["distribution"]
    }
    rows = csv.DictReader(site.get(links["text/csv"]).text.splitlines())
    assert sorted(f"{row['sensor']},{row['measured_ms']}" for row in rows) == sorted(
        site.values(
            f"select sensor || ',' || measured_ms from readings where sensor in ({sensors})"
        )
    )
    assert site.get(links["application/json"]).json()["rows"]


def test_what_nobody_tells_is_left_out(site: Site) -> None:
    for page in ("/", "/node/cellar"):
        assert not {"creator", "spatialCoverage"} & set(dataset_of(site, page))
    mute = dataset_of(site, "/node/cellar")
    assert not {"temporalCoverage", "dateModified", "variableMeasured", "distribution"} & set(mute)
    assert mute["description"] == HOSTILE


def test_an_empty_station_is_described(empty: Site) -> None:
    assert "temporalCoverage" not in dataset_of(empty, "/")
    assert dataset_of(empty, "/")["distribution"]


@pytest.fixture(scope="module")
def hostile(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Names, places and an owner's metadata.yml; names that only another tool could store."""
    path = tmp_path_factory.mktemp("hostile") / "tmon.db"
    with open_database(path, create=True) as db:
        for name, latitude, longitude in (("<!--<script>", 47.5, 8.25), ("b&'\"", -1.0, 9.5)):
            db.execute(
                "insert into nodes (name, uid, description, latitude, longitude, created_ms)"
                " values (?, ?, ?, ?, ?, 0)",
                (name, name, HOSTILE, latitude, longitude),
            )
            db.execute("insert into sensors (node, name) values (?, ?)", (name, HOSTILE))
    told = {"title": HOSTILE, "creator": HOSTILE, "creator_type": "Person", "license": "CC0 1.0"}
    (path.parent / "metadata.yml").write_text(yaml.safe_dump(told))
    return serve(path)


@pytest.mark.parametrize("page", ["/", "/node/%3C!--%3Cscript%3E", "/node/b&'%22"])
def test_no_text_ends_the_script_that_tells_it(hostile: Site, page: str) -> None:
    html = hostile.get(page).text
    assert "<script>document" not in html
    dataset = linked_data(html)
    assert HOSTILE in dataset["name"]
    assert dataset["creator"] == {"@type": "Person", "name": HOSTILE}
    assert dataset["license"] == {"@type": "CreativeWork", "name": "CC0 1.0"}
    assert dataset["variableMeasured"] == [{"@type": "PropertyValue", "name": HOSTILE}]


def test_places_are_a_point_for_a_node_and_a_box_for_the_station(hostile: Site) -> None:
    point = {"@type": "GeoCoordinates", "latitude": -1.0, "longitude": 9.5}
    assert dataset_of(hostile, "/node/b&'%22")["spatialCoverage"]["geo"] == point
    box = {"@type": "GeoShape", "box": "-1.0 8.25 47.5 9.5"}
    assert dataset_of(hostile, "/")["spatialCoverage"]["geo"] == box


def absolute_links(text: str) -> set[str]:
    links = set(re.findall(r"https?://[^\"<\s]+", text))
    return {url for url in links if not url.startswith(ELSEWHERE)}


def test_the_public_address_begins_every_absolute_link(site: Site) -> None:
    pages = ("/", "/node/attic", "/node/basement/load")

    async def texts() -> list[str]:
        datasette = datasette_for(site.path, public_url=PUBLIC)
        await start(datasette)
        answers = [await datasette.client.get(page) for page in (*pages, *FILES)]
        return [LINKED_DATA.findall(each.text)[0] for each in answers[:3]] + [
            each.text for each in answers[3:]
        ]

    for text in asyncio.run(texts()):
        links = absolute_links(text)
        assert links
        assert all(url.startswith(f"{PUBLIC}/") for url in links)


@pytest.mark.parametrize("name", ["datasette.yml", "metadata.yml"])
def test_the_public_address_leaves_an_owners_plugins_as_they_are(tmp_path: Path, name: str) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    owners = {"tmon": {"public_url": "https://other.example.org", "more": 1}, "other": {"a": 2}}
    (tmp_path / name).write_text(yaml.safe_dump({"plugins": owners}))
    set_here = datasette_for(tmp_path / "tmon.db", public_url=PUBLIC)
    assert set_here.plugin_config("tmon") == {"public_url": PUBLIC, "more": 1}
    assert set_here.plugin_config("other") == {"a": 2}
    assert datasette_for(tmp_path / "tmon.db").plugin_config("tmon") == owners["tmon"]


def test_tmon_serve_hands_the_public_address_over(tmp_path: Path) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ports = ("--datasette-port", str(port))
    process = Process(tmp_path, "serve", "datasette", *ports, "--public-url", PUBLIC)
    try:
        url = f"http://127.0.0.1:{port}/robots.txt"
        wait_for(lambda: answers(url))
        assert f"Sitemap: {PUBLIC}/sitemap.xml" in requests.get(url, timeout=60).text
    finally:
        process.kill()


def test_the_demo_keeps_its_own_licence(serve: Serve, tmp_path: Path) -> None:
    data = Path(__file__).parents[2] / "data/ambient_temperature.csv"
    with open_database(tmp_path / "tmon.db", create=True) as db:
        demo.add(db, data, time.time_ns() // 10**6, 0)
        db.execute("insert into nodes (name, uid, created_ms) values ('own', 'u', 0)")
    (tmp_path / "metadata.yml").write_text("license: CC0\nlicense_url: https://example.org/cc0\n")
    site = serve(tmp_path / "tmon.db")
    assert dataset_of(site, "/node/own")["license"] == "https://example.org/cc0"
    dataset = dataset_of(site, "/node/cellar")
    assert "numenta" in dataset["license"]
    assert "moved in time" in dataset["description"]
    assert not dataset["temporalCoverage"].endswith("..")
