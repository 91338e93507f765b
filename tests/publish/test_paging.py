"""Older readings are as near as the newest, one after the other, none twice."""

from pathlib import Path

import pytest

from tests.publish.published import Serve, Site, two_sensors

READINGS = "select measured_ms || ' ' || sensor from readings order by measured_ms desc, sensor"


def test_readings_open_newest_first(site: Site) -> None:
    rows = site.rows("/tmon/readings")
    assert [f"{row['measured_ms']} {row['sensor']}" for row in rows] == site.values(READINGS)[:50]


def test_next_leads_through_all_of_them(site: Site) -> None:
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        answer = site.get("/tmon/readings.json", _size="100", _shape="objects", **after).json()
        seen += [f"{row['measured_ms']} {row['sensor']}" for row in answer["rows"]]
        if not answer["next"]:
            break
        after = {"_next": answer["next"]}
    assert seen == site.values(READINGS)


def test_the_page_after_a_reading_is_found_in_the_index(site: Site) -> None:
    answer = site.get(
        "/tmon/readings.json", _next="1709251200000,1,1709251200000", _extra="query"
    ).json()
    query = answer["query"]
    plan = site.get(
        "/tmon/-/query.json", **query["params"], sql="explain query plan " + query["sql"]
    )
    assert "SEARCH readings USING INDEX readings_measured_ms" in plan.text


def test_an_earlier_page_counts_nothing(site: Site) -> None:
    page = site.get("/tmon/readings", _next="1709251200000,1,1709251200000")
    assert page.status_code == 200
    assert "_nocount=1" in page.text  # in the link to the page after it


def test_another_order_is_left_as_it_is(site: Site) -> None:
    answer = site.get("/tmon/readings.json", _sort="value", _size="5", _shape="objects").json()
    after = site.get("/tmon/readings.json", _sort="value", _size="5", _next=answer["next"]).json()
    values = [row["value"] for row in answer["rows"] + after["rows"]]
    assert values == site.values("select value from readings order by value")[:10]


def test_readings_of_the_same_instant_are_on_one_page_or_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    site = serve(two_sensors(tmp_path))
    first = site.get("/tmon/readings.json", _size="1", _shape="objects").json()
    second = site.get("/tmon/readings.json", _size="1", _shape="objects", _next=first["next"])
    rows = first["rows"] + second.json()["rows"]
    assert [(row["measured_ms"], row["sensor"]) for row in rows] == [(12_000, 1), (12_000, 2)]


@pytest.mark.parametrize("page", ["readings", "hourly", "nodes", "rejected", "latest", "daily"])
def test_a_page_that_never_was_is_told_in_a_sentence(site: Site, page: str) -> None:
    answer = site.get(f"/tmon/{page}.json", _next="x,y,z,z")
    assert answer.status_code == 400
    assert "There is no such page" in answer.json()["error"]
