"""`hourly` says what the readings say at every commit, whoever writes and whenever hours close."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from tests.station import Station, hourly_equals_raw, wait_for
from tmon.core.reading import Batch, Node, Reading
from tmon.db.connect import open_database, open_for_reading, transaction
from tmon.maintenance.prune import plan, prune
from tmon.maintenance.rollup import differing_hours, rebuild, recompute
from tmon.store.commit import Store
from tmon.store.hours import close_hours, close_hours_of

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000
NOW_HOUR_MS = NOW_MS // HOUR_MS * HOUR_MS
SENSORS = ("a", "b")

instants = st.integers(-6 * HOUR_MS, 10 * 60_000).map(lambda ms: NOW_MS + ms)
few_instants = st.sampled_from([NOW_HOUR_MS + k * HOUR_MS // 2 for k in range(-8, 2)])
values = st.sampled_from((-20.0, 0.0, 0.1, 21.5, 1e9))
readings = st.tuples(st.sampled_from(SENSORS), instants | few_instants, values)
clocks = st.integers(-12 * HOUR_MS, 12 * HOUR_MS).map(lambda ms: NOW_MS + ms)
acts = st.one_of(
    st.tuples(st.just("store"), st.lists(readings, min_size=1, max_size=6)),
    st.tuples(st.just("insert by another program"), readings),
    st.tuples(st.just("close"), st.tuples(clocks, st.integers(1, 3))),
    st.tuples(st.just("close a sensor's"), st.tuples(few_instants, few_instants)),
    st.tuples(st.just("delete and remake"), st.sampled_from(range(-4, 1))),
    st.tuples(st.just("rebuild"), st.none()),
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'u', 0)")
        yield db


def hours(db: Database) -> list[tuple[int, int | None]]:
    rows = db.execute("select hour_ms, n from hours order by sensor, hour_ms").fetchall()
    return [((hour_ms - NOW_HOUR_MS) // HOUR_MS, n) for hour_ms, n in rows]


def insert(db: Database, *measured: tuple[int, float], sensor: int = 1) -> None:
    name = f"s{sensor}"
    db.execute("insert or ignore into sensors (id, node, name) values (?, 'n', ?)", [sensor, name])
    for measured_ms, value in measured:
        db.execute(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
            [sensor, measured_ms, value],
        )


def store(db: Database, told: list[tuple[str, int, float]]) -> None:
    batch = Batch(
        Node("u", "n", "n"),
        NOW_MS,
        [Reading(k, name, value, None, at) for k, (name, at, value) in enumerate(told)],
    )
    Store(db).commit([batch])


def act(db: Database, name: str, what: object) -> None:
    match name, what:
        case "store", list():
            store(db, what)
        case "insert by another program", (sensor, at, value):
            db.execute("insert or ignore into sensors (node, name) values ('n', ?)", [sensor])
            db.execute(
                "insert or ignore into readings (sensor, measured_ms, value)"
                " select id, ?, ? from sensors where name = ?",
                [at, value, sensor],
            )
        case "close", (int(now_ms), int(most)):
            with transaction(db):
                close_hours(db, now_ms, most)
        case "close a sensor's", (int(from_ms), int(to_ms)):
            with transaction(db):
                close_hours_of(db, 1, from_ms, to_ms)
        case "delete and remake", int():
            hour_ms = NOW_HOUR_MS + what * HOUR_MS
            with transaction(db):
                db.execute(
                    "delete from readings where sensor = 1 and measured_ms between ? and ?",
                    [hour_ms, hour_ms + HOUR_MS // 2],
                )
                recompute(db, 1, [hour_ms])
        case "rebuild", None:
            rebuild(db, None)


@settings(max_examples=40, deadline=None, database=None)
@given(done=st.lists(acts, max_size=12))
def test_hours_are_right_after_each_of_any_acts(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("hours") / "tmon.db"
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('n', 'u', 0)")
        db.execute("pragma synchronous = off")
        for name, what in done:
            act(db, name, what)
            assert hourly_equals_raw(db)
            assert db.execute("select count(*) from hours where n = 0").fetchone()[0] == 0
            assert not list(differing_hours(db, None))


def test_an_hour_is_written_when_it_begins_and_when_it_is_over(db: Database) -> None:
    insert(db, (NOW_HOUR_MS, 1.0), (NOW_HOUR_MS + 1, 2.0))
    assert hours(db) == [(0, None)]
    for late_ms, closed in ((5 * 60_000, None), (5 * 60_000 + 1, 2)):
        close_hours(db, NOW_HOUR_MS + HOUR_MS + late_ms, 10)
        assert hours(db) == [(0, closed)]
    insert(db, (NOW_HOUR_MS + 2, 3.0))
    assert hours(db) == [(0, 3)]


def test_ingest_closes_the_hours_that_are_over(station: Station) -> None:
    now_ms = int(time.time() * 1000)
    readings = [
        {"sensor": "t", "value": n, "measured_ms": now_ms - 3 * HOUR_MS + n * HOUR_MS // 2}
        for n in range(7)
    ]
    assert station.post(readings).json()["accepted"] == 7
    closed = "select count(*) >= 2 from hours where n is not null"
    wait_for(lambda: station.query(closed) == [(1,)])
    assert station.query("select n from hours order by hour_ms desc limit 1") == [(None,)]
    with open_for_reading(station.path) as db:
        assert hourly_equals_raw(db)


def test_an_hour_from_which_another_program_deleted_all_is_gone(db: Database) -> None:
    insert(db, (NOW_HOUR_MS, 1.0))
    db.execute("delete from readings")
    assert db.execute("select count(*) from hourly").fetchone()[0] == 0
    close_hours(db, NOW_MS + 2 * HOUR_MS, 10)
    assert hours(db) == []
    insert(db, (NOW_HOUR_MS, 1.0))
    assert hourly_equals_raw(db)


def test_pruned_readings_leave_their_hours_though_these_were_open(db: Database) -> None:
    old_ms = NOW_HOUR_MS - 100 * HOUR_MS
    insert(db, (old_ms, 1.0), (old_ms + 1, 2.0), (NOW_MS, 3.0))
    db.execute("update nodes set last_received_ms = ?", [NOW_MS])
    assert prune(db, plan(db, 48 * 3600, NOW_MS)) == 2
    rows = db.execute("select n, sum, min, max from hourly order by hour_ms").fetchall()
    assert rows == [(2, 3.0, 1.0, 2.0), (1, 3.0, 3.0, 3.0)]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from hourly where sensor = 1 and hour_ms >= 5 order by hour_ms",
        "select min(hour_ms) from hourly where sensor = 1",
        "select name, n from sensors cross join hourly on hourly.sensor = sensors.id",
        "select name, (select max(max) from hourly where hourly.sensor = sensors.id) from sensors",
        "select * from daily where sensor = 1",
    ],
)
def test_a_sensors_hours_are_found_in_an_index(db: Database, sql: str) -> None:
    plan_ = [row[3] for row in db.execute(f"explain query plan {sql}").fetchall()]
    assert any(step.startswith("SEARCH hours USING") for step in plan_)
    assert not any(step.startswith("SCAN hours") or "TEMP B-TREE" in step for step in plan_)
