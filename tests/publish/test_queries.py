"""Every stored query answers whoever just opens it, and says what SQL says."""

from pathlib import Path

import pytest
import yaml

from tests.publish.published import HOUR_MS, MARCH_MS, Serve, Site
from tmon.db.connect import open_database

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "datasette.yml").read_text(encoding="utf-8"))
QUERIES = CONFIG["databases"]["tmon"]["queries"]


@pytest.mark.parametrize("name", QUERIES)
def test_an_empty_database_gives_an_empty_table(empty: Site, name: str) -> None:
    assert empty.rows(f"/tmon/{name}") == []
    assert empty.get(f"/tmon/{name}").status_code == 200


@pytest.mark.parametrize("name", sorted(set(QUERIES) - {"gaps"}))  # the basement has none
def test_opened_with_nothing_filled_in_each_shows_something(site: Site, name: str) -> None:
    assert site.rows(f"/tmon/{name}")
    assert site.rows(f"/tmon/{name}", **dict.fromkeys(QUERIES[name].get("params", ()), ""))
    assert "<tbody>" in site.get(f"/tmon/{name}").text


@pytest.mark.parametrize("name", QUERIES)
def test_what_does_not_exist_gives_an_empty_table(site: Site, name: str) -> None:
    params = QUERIES[name].get("params", ())
    if params:
        assert site.rows(f"/tmon/{name}", **dict.fromkeys(params, "';--")) == []


def test_latest_readings_has_every_sensor(site: Site) -> None:
    rows = site.rows("/tmon/latest_readings")
    assert [row["value"] for row in rows] == site.values(
        "select value from latest order by node, name"
    )
    assert [row["silent"] for row in rows] == [1, 0, 0, 0]


def test_a_day_has_all_readings_of_a_node_on_a_utc_day(site: Site) -> None:
    rows = site.rows("/tmon/day", node="attic", day="2024-03-02")
    assert [row["measured_ms"] for row in rows] == [
        MARCH_MS + hour * HOUR_MS for hour in range(24, 48)
    ]


def test_left_open_the_day_is_the_last_one(site: Site) -> None:
    rows = site.rows("/tmon/day", node="attic")
    assert rows[0]["measured_ms"] == MARCH_MS + 19 * 24 * HOUR_MS


def test_a_year_by_day_equals_daily(site: Site) -> None:
    rows = site.rows("/tmon/year_by_day", node="attic", year="2024")
    daily = site.rows("/tmon/daily", sensor="1", _size="max")
    assert [(r["day"], r["n"], r["min"], r["mean"], r["max"]) for r in rows] == [
        (r["day"], r["n"], r["min"], r["mean"], r["max"]) for r in daily
    ]


def test_silent_nodes_names_those_that_stopped_and_those_that_never_sent(site: Site) -> None:
    rows = site.rows("/tmon/silent_nodes")
    assert [(r["node"], r["silent_sensors"], r["sensors"]) for r in rows] == [
        ("attic", 1, 1),
        ("cellar", 0, 0),
    ]


def test_a_node_that_was_only_imported_is_not_waited_for(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        db.execute("insert into sensors (id, node, name, imported) values (1, 'attic', 't', 1)")
        db.execute("insert into readings (sensor, measured_ms, value) values (1, 0, 1)")
        site = serve(path)
        assert site.rows("/tmon/silent_nodes") == []
        assert [row["silent"] for row in site.rows("/tmon/latest")] == [0]
        db.execute("update nodes set silent_after_s = 3600")
        assert [row["node"] for row in site.rows("/tmon/silent_nodes")] == ["attic"]


def test_coldest_and_hottest_knows_each_sensors_extremes_and_when(site: Site) -> None:
    rows = {row["node"]: row for row in site.rows("/tmon/coldest_and_hottest")}
    attic = rows["attic"]
    assert (attic["lowest"], attic["lowest_ms"]) == (10, MARCH_MS)
    assert (attic["highest"], attic["highest_ms"]) == (21.5, MARCH_MS + 23 * HOUR_MS)
    assert set(rows) == {"attic", "basement"}
    assert rows["basement"]["sensor"] == "temperature"  # not its humidity


def test_gaps_are_told_from_reading_to_reading(site: Site) -> None:
    assert site.rows("/tmon/gaps", node="attic", sensor="temperature") == [
        {
            "node": "attic",
            "sensor": "temperature",
            "from_ms": MARCH_MS + 5 * 24 * HOUR_MS,
            "until_ms": MARCH_MS + 12 * 24 * HOUR_MS,
            "gap_s": 7 * 24 * 3600,
        }
    ]
