"""Older readings are as near as the newest, one after the other, none twice."""

from pathlib import Path

from ingest.schema import open_database
from tests.publish.published import Serve, Site

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


def test_another_order_is_left_as_it_is(site: Site) -> None:
    answer = site.get("/tmon/readings.json", _sort="value", _size="5", _shape="objects").json()
    after = site.get("/tmon/readings.json", _sort="value", _size="5", _next=answer["next"]).json()
    values = [row["value"] for row in answer["rows"] + after["rows"]]
    assert values == site.values("select value from readings order by value")[:10]


def test_readings_of_the_same_instant_are_on_one_page_or_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    site = serve(_station(tmp_path))
    first = site.get("/tmon/readings.json", _size="1", _shape="objects").json()
    second = site.get("/tmon/readings.json", _size="1", _shape="objects", _next=first["next"])
    rows = first["rows"] + second.json()["rows"]
    assert [(row["measured_ms"], row["sensor"]) for row in rows] == [(12_000, 1), (12_000, 2)]


def test_a_whole_table_as_csv_has_every_reading(serve: Serve, tmp_path: Path) -> None:
    page = serve(_station(tmp_path)).get("/tmon/readings.csv", _stream="on", _size="max").text
    lines = page.splitlines()
    assert len(lines) == 1 + 24_000
    assert lines[-1].startswith("2,12000,12000.0,")


def _station(folder: Path) -> Path:
    """Two sensors, each read at the same 12,000 instants."""
    path = folder / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        for sensor in (1, 2):
            db.execute(
                "insert into sensors (id, node, name) values (?, 'attic', ?)",
                (sensor, f"t{sensor}"),
            )
            db.execute(
                """
                with recursive counted (n) as (
                    select 1 union all select n + 1 from counted limit 12000
                )
                insert into readings (sensor, measured_ms, value) select ?, n, n from counted
                """,
                (sensor,),
            )
    return path
