"""What another program wrote into the file and ingest never stores: no page fails because of it."""

import math
from collections.abc import Iterator

import pytest

from tests.publish.published import MARCH_MS, Site, fill, served
from tmon.db.connect import open_database

LATEST_MS, EARLIEST_MS = 2**63 - 1, -(2**63)
YEAR_10000_MS, YEAR_0_MS = 253_402_300_800_000, -62_135_596_800_001
READINGS = (
    (1, MARCH_MS, math.inf),
    (2, MARCH_MS, -math.inf),
    *((3, at_ms, 1.0) for at_ms in (EARLIEST_MS, YEAR_0_MS, YEAR_10000_MS, LATEST_MS)),
    (4, LATEST_MS, 1.0),
    *((5, MARCH_MS + step, value) for step, value in enumerate((1.5e308, -1.5e308, math.inf))),
    (6, EARLIEST_MS, math.inf),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("impossible") / "tmon.db"
    with open_database(path, create=True) as db:
        fill(db)
        for number, name in ((5, "both"), (6, "early")):
            sql = "insert into sensors (id, node, name, unit) values (?, 'cellar', ?, '°C')"
            db.execute(sql, [number, name])
        for place, (sensor, at_ms, value) in enumerate(READINGS):
            reading = [sensor, MARCH_MS + 1000 + place]
            db.execute(
                "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
                [*reading, value],
            )
            db.execute(
                "update or replace readings set measured_ms = ?"
                " where sensor = ? and measured_ms = ?",
                [at_ms, *reading],
            )
        db.execute(
            "insert into calibrations values (2, ?, 1e300, 9e999, null, ?)", [EARLIEST_MS] * 2
        )
        db.execute("insert into limits values (3, -9e999, 9e999, 0, 0, ?)", [LATEST_MS])
        db.execute(
            "insert into flags (sensor, from_ms, to_ms, reason, created_ms)"
            " values (3, ?, ?, 'odd', 0)",
            [EARLIEST_MS, LATEST_MS],
        )
        db.execute(
            "insert into incidents (finding, severity, node, sensor, reason, from_ms, to_ms)"
            " values ('T01', 'warning', 'cellar', 5, 'odd', ?, ?)",
            [EARLIEST_MS, LATEST_MS],
        )
        db.execute("update nodes set clock_skew_s = 9e999, last_received_ms = ?", [LATEST_MS])
        db.execute("update nodes set silent_after_s = ? where name = 'cellar'", [LATEST_MS])
    with served(path) as running:
        yield running


@pytest.mark.parametrize("unit", ["", "F"])
@pytest.mark.parametrize("form", ["", ".json", ".svg", "?embed"])
@pytest.mark.parametrize("span", ["", "24h", "all", "from"])
@pytest.mark.parametrize(
    "page",
    [
        *("attic", "basement", "cellar", "attic/temperature", "basement/temperature"),
        *("basement/humidity", "basement/load", "cellar/both", "cellar/early"),
    ],
)
def test_no_chart_fails(site: Site, page: str, span: str, form: str, unit: str) -> None:
    asked = {"from": "2024-01-01", "to": "2025-01-01"} if span == "from" else {"range": span}
    path, _, embed = f"/node/{page}{form}".partition("?")
    answer = site.get(path, unit=unit, **asked, **({embed: ""} if embed else {}))
    expected = {200, 404} if form == ".svg" and "/" not in page else {200}
    assert answer.status_code in expected, answer.text[:500]


@pytest.mark.parametrize("resolution", ["raw", "1-minute", "hourly", "daily", "4-weekly"])
@pytest.mark.parametrize("values", ["clean", "raw"])
def test_nor_at_another_resolution(site: Site, resolution: str, values: str) -> None:
    for node in ("attic", "basement", "cellar"):
        asked = {"resolution": resolution, "values": values, "range": "all"}
        assert site.get(f"/node/{node}", **asked).status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        *("/", "/?sort=silent", "/?unit=F", "/?values=raw", "/incidents.atom", "/datapackage.json"),
        *("/sitemap.xml", "/-/health", "/tmon"),
        *(
            f"/tmon/{table}{form}"
            for form in ("", ".json", ".csv")
            for table in (
                *("readings", "readings_clean", "latest", "latest_clean", "hourly", "daily"),
                *("daily_clean", "nodes", "sensors", "limits", "flags", "incidents"),
                *("calibrations", "gaps", "silent_nodes"),
            )
        ),
    ],
)
def test_no_other_page_fails(site: Site, page: str) -> None:
    assert site.get(page).status_code < 500
    assert site.get(page, sensor="3").status_code < 500


def test_nor_a_row(site: Site) -> None:
    for sensor, at_ms, _ in READINGS:
        assert site.get(f"/tmon/readings/{sensor},{at_ms}").status_code == 200
