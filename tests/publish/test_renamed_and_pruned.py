"""Links that were shared before a node or sensor was renamed still lead to it."""

import pytest
import requests

from tests.maintenance.old_readings import NOW_MS, START_MS, made, minutes
from tests.publish.published import Serve, Site
from tmon.db.connect import open_database
from tmon.maintenance import names, prune, replace


@pytest.fixture(scope="module")
def moved(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Attic is loft now, and another attic; its t is air, u is the cellar's w, x merged with v."""
    path = tmp_path_factory.mktemp("moved") / "tmon.db"
    rows = minutes(3)
    made(path, *(("attic", name, rows) for name in "tuvx"), ("cellar", "t", rows))
    made(path, ("shed", "t/1", rows))
    with open_database(path) as db:
        names.rename_sensor(db, "attic", "t", "air", 1)
        names.rename_node(db, "attic", "loft", 2)
        names.move_sensor(db, "loft", "u", "cellar", "w", 3)
        replace.replace(db, "loft", "v", "x", 4)
        names.rename_node(db, "shed", "hut", 5)
    made(path, ("attic", "new", rows))
    return serve(path)


def led(site: Site, page: str) -> tuple[int, str | None]:
    answer = requests.get(site.url + page, timeout=60, allow_redirects=False)
    return answer.status_code, answer.headers.get("location")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/node/shed", "/node/hut"),
        ("/node/shed.json?range=7d&unit=F", "/node/hut.json?range=7d&unit=F"),
        ("/node/shed/t/1.svg?range=all", "/node/hut/t/1.svg?range=all"),
        ("/node/attic/t", "/node/loft/air"),
        ("/node/loft/t", "/node/loft/air"),
        ("/node/loft/u?range=24h", "/node/cellar/w?range=24h"),
        ("/node/attic/u", "/node/cellar/w"),
        ("/node/loft/x", "/node/loft/v"),
        ("/node/attic/v", "/node/loft/v"),
    ],
)
def test_an_old_link_leads_to_where_it_is_now(moved: Site, old: str, new: str) -> None:
    assert led(moved, old) == (301, new)
    answer = moved.get(old)
    assert (answer.status_code, answer.history[0].headers["cache-control"]) == (200, "no-cache")


def test_who_took_the_old_name_has_its_page(moved: Site) -> None:
    assert led(moved, "/node/attic") == (200, None)
    assert led(moved, "/node/attic/new") == (200, None)


@pytest.mark.parametrize(
    "page", ["/node/nowhere", "/node/shed/none", "/node/attic/nothing", "/node/hut/t"]
)
def test_what_never_was_is_nowhere(moved: Site, page: str) -> None:
    assert led(moved, page) == (404, None)


@pytest.fixture(scope="module")
def pruned(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Ten hours of minutes with a gap of two, of which the last hour is raw."""
    path = tmp_path_factory.mktemp("pruned") / "tmon.db"
    rows = [row for row in minutes(600) if not 180 <= (row[0] - START_MS) // 60_000 < 300]
    made(path, ("n", "t", rows))
    with open_database(path) as db:
        db.execute("update sensors set quantity = 'temperature'")
        prune.prune(db, prune.plan(db, 2 * 86_400, NOW_MS))
    return serve(path)


def test_a_chart_of_a_time_that_was_pruned_is_of_hours_and_says_so(pruned: Site) -> None:
    asked = {"from": str(START_MS), "to": str(START_MS + 36_000_000)}
    chart = pruned.get("/node/n/t.json", **asked).json()
    assert chart["resolution"] == "hourly"
    points = chart["charts"][0]["lines"][0]["points"]
    assert [point[4] for point in points] == [60] * 8
    page = pruned.get("/node/n", **asked).text
    assert "single readings this old are not kept" in page
    assert ">480 <" in page  # all of them are counted


def test_what_was_not_pruned_is_shown_reading_by_reading(pruned: Site) -> None:
    asked = {"from": str(START_MS + 32_400_000), "to": str(START_MS + 36_000_000)}
    chart = pruned.get("/node/n/t.json", **asked).json()
    assert chart["resolution"] == "raw"
    assert len(chart["charts"][0]["lines"][0]["points"]) == 60
    assert "this long ago" not in pruned.get("/node/n", **asked).text


def test_all_readings_begin_with_the_first_hour(pruned: Site) -> None:
    assert pruned.get("/node/n.json", range="all").json()["from_ms"] == START_MS


def test_a_gap_is_told_from_hour_to_hour(pruned: Site) -> None:
    assert pruned.rows("/tmon/gaps", node="n", sensor="t") == [
        {
            "node": "n",
            "sensor": "t",
            "from_ms": START_MS + 3 * 3_600_000,
            "until_ms": START_MS + 5 * 3_600_000,
            "gap_s": 7200,
        }
    ]


def test_extremes_are_still_known(pruned: Site) -> None:
    [row] = pruned.rows("/tmon/coldest_and_hottest")
    assert (row["lowest"], row["highest"]) == (-1, 39 / 8 - 1)
    assert (row["lowest_ms"], row["highest_ms"]) == (START_MS, START_MS)


@pytest.mark.parametrize("query", ["latest_readings", "year_by_day"])
def test_other_questions_are_answered(pruned: Site, query: str) -> None:
    assert pruned.rows(f"/tmon/{query}")


def test_a_day_that_was_pruned_is_empty_and_the_table_of_readings_ends(pruned: Site) -> None:
    assert pruned.rows("/tmon/day", node="n", day="2024-11-01") == []
    assert len(pruned.rows("/tmon/readings", _size="max")) == 60
