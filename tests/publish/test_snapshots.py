"""Whatever strangers ask, pages show what was stored last, and the log can be written back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlite_utils import Database

from tests.publish.published import ENDLESS, PATIENT_MS, Serve, Site, fill
from tmon.db.connect import open_database

WIDE = "with recursive t (x, n) as (select 'a', 0 union all select x || x, n + 1 from t)"
LATER_MS = 4_000_000_000_000

QUERIES = (
    "with x as (select 1) delete from readings",
    "with x as (select 1) update nodes set description = 'x'",
    "with x as (select 1) insert into nodes (name, uid, created_ms) select 'x', 'x', 0",
    "with x as (select 1) replace into nodes (name, uid, created_ms) select 'x', 'x', 0",
    "/* a comment first */ with x as (select 1) delete from readings",
    "with x as (select 1) delete from readings returning *",
    "explain with x as (select 1) delete from readings",
    "select 1; begin",
    "select 1; begin immediate",
    "select 1; savepoint s",
    "explain select * from readings",
    "select * from readings limit 20000",  # more rows than an answer has
    "select * from readings cross join sensors as a cross join sensors as b cross join sensors",
    ENDLESS,
    f"select *, ({ENDLESS}) from readings",
    f"{WIDE}, w as (select x from t where n = 14 limit 1) select x from w cross join readings",
    "select *, abs(-9223372036854775808 + sensor - 1) from readings",  # fails at its first row
    "select value from readings where abs(iif(sensor = 4, -9223372036854775808, 1)) > 0",
    "select * from nowhere",
    "select value from readings where",
)
TABLES = (
    "/tmon/readings.json?_where=1=1) delete from readings where (1=1",
    "/tmon/readings.json?_where=1=1; begin",
    f"/tmon/readings.json?_where=({ENDLESS}) > 0",
    "/tmon/readings.json?_facet=sensor&_facet=value&_facet=measured_ms",
    "/tmon/readings.json?_size=max&_sort=value",
    "/tmon/latest_readings.json?node=') delete from readings --",
    "/tmon/readings.csv?_size=max",
)


@pytest.fixture
def changing(serve: Serve, tmp_path: Path) -> Site:
    """A site of its own, whose time limit is a tenth of the usual one."""
    with open_database(tmp_path / "tmon.db", create=True) as db:
        fill(db)
    site = serve(tmp_path / "tmon.db")
    site.limit_queries(100)
    return site


def on_all_threads(site: Site, page: str, **params: str) -> None:
    """Ask so many times at once that each of Datasette's threads has it."""
    with ThreadPoolExecutor(8) as asking:
        list(asking.map(lambda _: site.get(page, **params), range(8)))


@contextmanager
def writer(site: Site) -> Iterator[Database]:
    with open_database(site.path) as db:
        yield db


def store(db: Database, measured_ms: int) -> None:
    db.execute("insert into readings (sensor, measured_ms, value) values (3, ?, 1)", [measured_ms])


def assert_nobody_holds_a_snapshot(db: Database) -> None:
    busy, *_ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
    assert not busy


def assert_shown(site: Site, measured_ms: int) -> None:
    """All pages have a reading, whichever thread makes them."""
    site.limit_queries(PATIENT_MS)
    with ThreadPoolExecutor(8) as asking:
        shown = asking.map(
            lambda _: site.rows("/tmon/readings", sensor="3", _size="1", _ttl="0"), range(16)
        )
        assert {row["measured_ms"] for [row] in shown} == {measured_ms}


def test_nobody_freezes_what_is_published(changing: Site) -> None:
    """40 requests, each refused with a 400, once left every thread in an old snapshot."""
    with writer(changing) as db:
        before = changing.values("select count(*) from readings")
        for _ in range(40):
            assert changing.ask(QUERIES[0]).status_code == 400
        assert changing.values("select count(*) from readings") == before
        store(db, LATER_MS)
        assert_shown(changing, LATER_MS)
        assert_nobody_holds_a_snapshot(db)


def test_no_question_leaves_a_snapshot_behind(changing: Site) -> None:
    later_ms = count(LATER_MS)
    with writer(changing) as db:
        for sql in QUERIES:
            on_all_threads(changing, "/tmon/-/query.json", sql=sql)
            store(db, next(later_ms))
            assert_nobody_holds_a_snapshot(db)
        for page in TABLES:
            on_all_threads(changing, page)
            store(db, next(later_ms))
            assert_nobody_holds_a_snapshot(db)
        assert_shown(changing, next(later_ms) - 1)
